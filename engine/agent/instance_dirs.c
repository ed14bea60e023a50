#include "instance_dirs.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/log.h"
#include "overlay.h"

#define GONE "gone-"
#define GONE_MAX 1000000u

static bool has(int fd, const char *name)
{
    return faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int move(int fd, const char *from, const char *to, struct err *err)
{
    if (renameat(fd, from, fd, to) < 0)
        return err_sys(err, errno, "cannot rename instance/%s to %s", from, to);
    return 0;
}

static int throw_away(int fd, const char *name, struct err *err)
{
    char gone[32];
    unsigned i = 0;
    do
        snprintf(gone, sizeof(gone), GONE "%u", i++);
    while (has(fd, gone) && i < GONE_MAX);
    return move(fd, name, gone, err);
}

static int settle(int fd, struct err *err)
{
    return fsync(fd) < 0 ? err_sys(err, errno, "cannot write the instance's directory to disk") : 0;
}

static int make_next(int agent_fd, int fd, struct instance_spec *spec, struct err *err)
{
    if (mkdirat(fd, "next", 0700) < 0)
        return err_sys(err, errno, "cannot make the directory of an instance");
    OWNED_FD next = openat(fd, "next", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (next < 0)
        return err_sys(err, errno, "cannot make the directory of an instance");
    int r = overlay_make(agent_fd, next, spec, err);
    if (r < 0)
        return r;
    r = instance_spec_write(next, INSTANCE_SPEC, spec, true);
    return r < 0 ? err_sys(err, -r, "cannot write the spec of an instance") : 0;
}

int instance_dirs_prepare(int agent_fd, int fd, struct instance_spec *spec, struct err *err)
{
    int r = has(fd, "next") ? throw_away(fd, "next", err) : 0;
    if (r == 0)
        r = make_next(agent_fd, fd, spec, err);
    struct err ignored;
    if (r < 0 && has(fd, "next") && throw_away(fd, "next", &ignored) < 0)
        log_warn("%s", ignored.message);
    return r;
}

int instance_dirs_switch(int fd, struct err *err)
{
    int r = has(fd, "previous") ? move(fd, "previous", "older", err) : 0;
    if (r == 0 && has(fd, "current"))
        r = move(fd, "current", "previous", err);
    return r == 0 ? move(fd, "next", "current", err) : r;
}

int instance_dirs_commit(int fd, const struct instance_spec *spec, struct err *err)
{
    /* The renames are on disk before the spec says that they hold. */
    int r = settle(fd, err);
    if (r < 0)
        return r;
    OWNED_FD current = openat(fd, "current", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = current < 0 ? -errno : instance_spec_write(current, INSTANCE_SPEC, spec, true);
    if (r < 0)
        return err_sys(err, -r, "cannot write the spec of the instance");
    struct err late = {0};
    if (has(fd, "older") && throw_away(fd, "older", &late) < 0)
        log_warn("%s", late.message); /* the next start throws it away */
    return 0;
}

bool instance_dirs_is_uncommitted(int fd)
{
    OWNED_FD current = openat(fd, "current", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OWNED_SPEC spec = {0};
    return current >= 0 && !has(fd, "next") && instance_spec_read(current, INSTANCE_SPEC, &spec) == 0 &&
           !spec.committed;
}

int instance_dirs_recover(int fd, struct err *err)
{
    int r = 0;
    bool undo = has(fd, "next");
    if (undo) /* before the last rename of the switch: the first two may have been made */
        r = throw_away(fd, "next", err);
    else if (instance_dirs_is_uncommitted(fd))
        r = throw_away(fd, "current", err);
    if (r == 0 && !has(fd, "current") && has(fd, "previous"))
        r = move(fd, "previous", "current", err);
    if (r == 0 && has(fd, "older"))
        r = has(fd, "previous") ? throw_away(fd, "older", err) : move(fd, "older", "previous", err);
    return r == 0 ? settle(fd, err) : r;
}

int instance_dirs_remove(int fd, struct err *err)
{
    /* The previous one first: left alone it would be put back. */
    static const char *const names[] = {"older", "previous", "next", "current"};
    int r = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && r == 0; i++)
        if (has(fd, names[i]))
            r = throw_away(fd, names[i], err);
    return r == 0 ? settle(fd, err) : r;
}

void instance_dirs_sweep(int fd)
{
    OWNED_DIR dir = NULL;
    if (dir_list(fd, &dir) < 0)
        return;
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (strncmp(entry->d_name, GONE, strlen(GONE)) != 0)
            continue;
        int r = tree_remove(fd, entry->d_name);
        if (r < 0)
            log_warn("instance/%s cannot be removed: %s", entry->d_name, strerror(-r));
    }
}
