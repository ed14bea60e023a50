#include <mntent.h>
#include <string.h>
#include <sys/mount.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "supervise.h"

#define LINE_BYTES (2 * PATH_MAX + 1024)

static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == ':' || path[len] == '\0');
}

static bool is_bound(const struct supervisor *s, const char *dir)
{
    for (char **bind = s->spec.binds; bind && *bind; bind++)
        if (is_below(*bind, dir))
            return true;
    return false;
}

void supervise_let_mounts_go(const struct supervisor *s)
{
    char line[LINE_BYTES];
    struct mntent entry;
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    if (!mounts)
        return;
    while (getmntent_r(mounts, &entry, line, sizeof(line)))
        if (strcmp(entry.mnt_type, "fuse.bladefs") == 0 && !is_bound(s, entry.mnt_dir) &&
            umount2(entry.mnt_dir, MNT_DETACH) < 0)
            log_debug("%s stays mounted here: %s", entry.mnt_dir, strerror(errno));
    endmntent(mounts);
}
