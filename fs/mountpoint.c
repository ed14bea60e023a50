#include "mountpoint.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define FUSE_MAGIC 0x65735546L /* statfs(2) */

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
        return err_set(err, code, "%s is still mounted by a program that died: umount %s (or fusermount3 -u)",
                       path, path);
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

int mountpoint_check(const char *path, bool may_be_full, char **out, struct err *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return why_not(path, errno, err);
    if (!S_ISDIR(st.st_mode))
        return err_set(err, ENOTDIR, "the mount point %s is not a directory", path);
    OWNED char *whole = realpath(path, NULL);
    if (!whole)
        return why_not(path, errno, err);
    if (is_fuse_mount(whole, &st))
        return err_set(err, EBUSY, "something is mounted on %s already: umount it, or take another place",
                       path);
    if (!may_be_full) {
        int empty = is_empty(whole);
        if (empty < 0)
            return why_not(path, -empty, err);
        if (empty == 0)
            return err_set(err, ENOTEMPTY, "the mount point %s is not empty (-o nonempty mounts over it)",
                           path);
    }
    *out = STEAL(whole);
    return 0;
}
