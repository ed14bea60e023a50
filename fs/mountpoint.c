#include "mountpoint.h"

#include <dirent.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "base/log.h"
#include "mountinfo.h"

#define FUSE_MAGIC 0x65735546L /* statfs(2) */
#define OWN_TYPE "fuse.bladefs"

enum { STACKED_MAX = 16 };

static int is_empty(const char *path)
{
    OWNED_DIR dir = opendir(path);
    if (!dir)
        return -errno;
    const struct dirent *entry;
    while ((entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return 0;
    return 1;
}

static int why_not(const char *path, int code, struct err *err)
{
    switch (code) {
    case ENOENT:
        return err_set(err, code, "the mount point %s is not there: make it with mkdir", path);
    case ENOTCONN:
        return err_set(err, code, "%s is below a mount whose program died: umount that first", path);
    default:
        return err_sys(err, code, "cannot use %s as mount point", path);
    }
}

static bool is_fuse_mount(const char *path, const struct stat *st)
{
    OWNED char *above = NULL;
    struct stat up;
    struct statfs fs;
    if (asprintf(&above, "%s/..", path) < 0)
        above = NULL;
    return above && stat(above, &up) == 0 && up.st_dev != st->st_dev && statfs(path, &fs) == 0 &&
           fs.f_type == FUSE_MAGIC;
}

/* As realpath(3), without asking what is mounted on it. NULL and errno. */
static char *resolve(const char *path)
{
    OWNED char *copy = strdup(path);
    if (!copy)
        return NULL;
    size_t len_bytes = strlen(copy);
    while (len_bytes > 1 && copy[len_bytes - 1] == '/')
        copy[--len_bytes] = '\0';
    char *slash = strrchr(copy, '/');
    const char *last = slash ? slash + 1 : copy;
    if (!*last || strcmp(last, ".") == 0 || strcmp(last, "..") == 0) {
        errno = ENOTCONN; /* what is meant can only be told by asking */
        return NULL;
    }
    OWNED char *up = NULL;
    if (slash == copy)
        up = strdup("");
    else if (!slash)
        up = realpath(".", NULL);
    else {
        *slash = '\0';
        up = realpath(copy, NULL);
    }
    char *whole = NULL;
    if (!up || asprintf(&whole, "%s/%s", strcmp(up, "/") == 0 ? "" : up, last) < 0)
        return NULL;
    return whole;
}

/* What does not answer any more (ENOTCONN): bladefs', and to be taken over? */
static int check_stale(const char *given, bool takes_stale, char **path, struct err *err)
{
    char type[64] = "";
    OWNED char *whole = resolve(given);
    if (!whole || mountinfo_type(whole, type, sizeof(type)) < 0)
        return why_not(given, ENOTCONN, err);
    if (strcmp(type, OWN_TYPE) != 0)
        return err_set(err, ENOTCONN,
                       "%s is still mounted by a program that died, and that was no bladefs (%s): umount it "
                       "first",
                       given, type);
    if (!takes_stale)
        return err_set(err, ENOTCONN,
                       "%s is still mounted by a bladefs that died: -o remount_stale takes it over (or "
                       "umount it)",
                       given);
    *path = STEAL(whole);
    return 0;
}

int mountpoint_check(const char *given, const struct mountpoint_wish *wish, char **path, bool *stale,
                     struct err *err)
{
    struct stat st;
    struct statfs fs;
    *stale = false;
    /* Attributes the kernel may still have; for the file system's room it asks. */
    if (stat(given, &st) < 0 || statfs(given, &fs) < 0) {
        if (errno != ENOTCONN)
            return why_not(given, errno, err);
        *stale = true;
        return check_stale(given, wish->takes_stale, path, err);
    }
    if (!S_ISDIR(st.st_mode))
        return err_set(err, ENOTDIR, "the mount point %s is not a directory", given);
    OWNED char *whole = realpath(given, NULL);
    if (!whole)
        return why_not(given, errno, err);
    if (is_fuse_mount(whole, &st))
        return err_set(err, EBUSY, "something is mounted on %s already: umount it, or take another place",
                       given);
    if (!wish->may_be_full) {
        int empty = is_empty(whole);
        if (empty < 0)
            return why_not(given, -empty, err);
        if (empty == 0)
            return err_set(err, ENOTEMPTY, "the mount point %s is not empty (-o nonempty mounts over it)",
                           given);
    }
    *path = STEAL(whole);
    return 0;
}

/* As an ordinary user. */
static int unmount_by_helper(const char *path)
{
    pid_t child = fork();
    int status;
    if (child < 0)
        return -errno;
    if (child == 0) {
        execlp("fusermount3", "fusermount3", "-u", "-z", "-q", "--", path, (char *)NULL);
        _exit(1);
    }
    if (waitpid(child, &status, 0) < 0)
        return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

int mountpoint_take_over(const char *path, const struct mountpoint_wish *wish, struct err *err)
{
    bool stale = true;
    for (int i = 0; stale && i < STACKED_MAX; i++) {
        OWNED char *same = NULL;
        int r = mountpoint_check(path, wish, &same, &stale, err);
        if (r < 0)
            return r;
        if (!stale)
            break;
        r = umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
        if (r == -EPERM)
            r = unmount_by_helper(path);
        if (r < 0)
            return err_sys(err, -r, "cannot take over %s", path);
        log_info("%s was mounted by a bladefs that died: taken over", path);
    }
    return stale ? err_set(err, EBUSY, "%s is mounted too often to be taken over: umount it", path) : 0;
}
