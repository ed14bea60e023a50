/* The end of writing a tree: empty files, sizes, further names, attributes. */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "rights.h"
#include "tree_write.h"

#define XATTR_LIST_BYTES 65536 /* XATTR_LIST_MAX */

static void entry_name(const struct tree *t, uint32_t e, char name[NAME_MAX + 1])
{
    struct blob_entry entry;
    blob_image_entry(t->image, e, &entry);
    memcpy(name, entry.name, entry.name_bytes);
    name[entry.name_bytes] = '\0';
}

static int failed(const struct tree *t, uint32_t inode, int code, const char *what, struct err *err)
{
    char shown[256];
    tree_path_show(t, inode, shown);
    return err_sys(err, code, "cannot %s %s", what, shown);
}

/* There is no setxattrat(2) before Linux 6.13; the way through /proc reaches a symlink's own xattrs too and
 * is short however deep the entry lies. */
static void entry_path(int dirfd, const char *name, char out[NAME_MAX + 32])
{
    snprintf(out, NAME_MAX + 32, "/proc/self/fd/%d/%s", dirfd, name);
}

/* Takes away what the image does not have: default ACLs of a directory above are inherited at creation, and
 * an earlier attempt may have set its own. What a security module puts there is its own affair. */
static int remove_strange(const struct tree *t, uint32_t inode, const char *path, const char *names,
                          ssize_t len)
{
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
        struct blob_xattr x;
        if (blob_image_xattr_find(t->image, inode, names + at, &x))
            continue;
        if (lremovexattr(path, names + at) < 0 && errno != ENODATA &&
            strncmp(names + at, "security.", strlen("security.")) != 0)
            return -errno;
    }
    return 0;
}

/* Returns 1 when there are any xattrs, 0, or -errno. */
static int remove_strange_xattrs(const struct tree *t, uint32_t inode, const char *path)
{
    char small[512];
    ssize_t len = llistxattr(path, small, sizeof(small));
    if (len >= 0) {
        int r = remove_strange(t, inode, path, small, len);
        return r < 0 ? r : len > 0;
    }
    if (errno != ERANGE)
        return errno == ENOTSUP ? 0 : -errno;
    char *big = malloc(XATTR_LIST_BYTES);
    if (!big)
        return -ENOMEM;
    len = llistxattr(path, big, XATTR_LIST_BYTES);
    int r = len < 0 ? -errno : remove_strange(t, inode, path, big, len);
    free(big);
    return r < 0 ? r : 1;
}

/* Owners, and attributes that only root gives, are not kept on an ordinary user's blade. */
static bool beyond_us(int code)
{
    return (code == EPERM || code == EINVAL) && !rights_are_roots();
}

static int set_xattrs(const struct tree *t, uint32_t inode, uint32_t set, const char *path)
{
    char now[4096];
    int any = t->fresh ? 0 : remove_strange_xattrs(t, inode, path);
    if (any < 0)
        return any;
    struct blob_xattr x;
    for (uint32_t k = 0; set && blob_image_xattr(t->image, set, k, &x); k++) {
        char name[XATTR_NAME_MAX + 1];
        if (x.name_bytes > XATTR_NAME_MAX)
            return -ERANGE;
        memcpy(name, x.name, x.name_bytes);
        name[x.name_bytes] = '\0';
        if (any) { /* the same already, as after an interrupted attempt: setting could be refused */
            ssize_t len = lgetxattr(path, name, now, sizeof(now));
            if (len >= 0 && (size_t)len == x.value_bytes && memcmp(now, x.value, x.value_bytes) == 0)
                continue;
        }
        if (lsetxattr(path, name, x.value, x.value_bytes, 0) < 0 && !beyond_us(errno))
            return -errno;
    }
    return 0;
}

int tree_set_attributes(const struct tree *tree, int dirfd, const char *name, uint32_t inode, struct err *err)
{
    struct blob_inode in;
    blob_image_inode(tree->image, inode, &in);
    if (inode == 0) { /* the instance's `/` */
        in.uid = in.gid = 0;
        in.mode = S_IFDIR | 0755;
    }
    char path[NAME_MAX + 32];
    entry_path(dirfd, name, path);

    bool given = !tree->fresh || in.uid != tree->made_uid || in.gid != tree->made_gid;
    if (given && fchownat(dirfd, name, in.uid, in.gid, AT_SYMLINK_NOFOLLOW) < 0 && !beyond_us(errno))
        return failed(tree, inode, errno, "set the owner of", err);
    if (!S_ISLNK(in.mode) && fchmodat(dirfd, name, in.mode & 07777, 0) < 0)
        return failed(tree, inode, errno, "set the mode of", err);
    int r = set_xattrs(tree, inode, in.xattr_set, path);
    if (r == 0 && tree->flags && tree->flags[inode] & TREE_OPAQUE &&
        lsetxattr(path, "trusted.overlay.opaque", "y", 1, 0) < 0)
        r = -errno;
    if (r < 0)
        return failed(tree, inode, -r, "set the extended attributes of", err);
    struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = in.mtime_s, .tv_nsec = (long)in.mtime_ns}};
    if (utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return failed(tree, inode, errno, "set the time of", err);
    return 0;
}

/* A regular file without content, or one whose end is a hole. */
static int finish_size(const struct tree *t, int dirfd, const char *name, uint32_t inode,
                       const struct blob_inode *in, struct err *err)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if ((st.st_mode & S_IFMT) != (in->mode & S_IFMT))
            return failed(t, inode, EEXIST, "find what was written at", err);
        if (!S_ISREG(in->mode) || (uint64_t)st.st_size == in->size_bytes)
            return 0;
    } else if (errno != ENOENT || !S_ISREG(in->mode)) {
        return failed(t, inode, errno, "find", err);
    }
    OWNED_FD fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed(t, inode, errno, "make", err);
    if (ftruncate(fd, (off_t)in->size_bytes) < 0)
        return failed(t, inode, errno, "set the size of", err);
    return 0;
}

int tree_finish_files(const struct tree *tree, uint32_t dir, struct err *err)
{
    struct blob_inode d;
    if (tree_is_kept(tree, dir))
        return 0;
    blob_image_inode(tree->image, dir, &d);
    OWNED_FD fd = -1;
    for (uint32_t e = d.entries_first; e < d.entries_first + d.entries; e++) {
        struct blob_entry entry;
        struct blob_inode in;
        char name[NAME_MAX + 1];
        blob_image_entry(tree->image, e, &entry);
        blob_image_inode(tree->image, entry.inode, &in);
        if (S_ISDIR(in.mode) || tree->entry_of[entry.inode] != e || tree_is_kept(tree, entry.inode) ||
            tree->finished[entry.inode])
            continue;
        if (fd < 0)
            fd = tree_open(tree, dir, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
            return failed(tree, dir, -fd, "open", err);
        entry_name(tree, e, name);
        int r = finish_size(tree, fd, name, entry.inode, &in, err);
        if (r == 0)
            r = tree_set_attributes(tree, fd, name, entry.inode, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int make_link(const struct tree *t, int dirfd, uint32_t e, uint32_t inode, struct err *err)
{
    struct blob_inode in;
    blob_image_inode(t->image, inode, &in);
    char name[NAME_MAX + 1], first[NAME_MAX + 1];
    entry_name(t, e, name);
    entry_name(t, t->entry_of[inode], first);
    OWNED_FD home = tree_open(t, in.parent, O_PATH | O_DIRECTORY);
    if (home < 0)
        return failed(t, inode, -home, "open the folder of", err);
    if (linkat(home, first, dirfd, name, 0) == 0)
        return 0;
    if (errno == EEXIST) { /* by an interrupted attempt */
        struct stat a, b;
        if (fstatat(home, first, &a, AT_SYMLINK_NOFOLLOW) == 0 &&
            fstatat(dirfd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino)
            return 0;
        if (unlinkat(dirfd, name, 0) == 0 && linkat(home, first, dirfd, name, 0) == 0)
            return 0;
    }
    return failed(t, inode, errno, "make another name of", err);
}

int tree_finish_links(const struct tree *tree, struct err *err)
{
    for (uint32_t at = 0; at < tree->dir_count; at++) {
        struct blob_inode dir;
        blob_image_inode(tree->image, tree->dirs[at], &dir);
        OWNED_FD fd = -1;
        for (uint32_t e = dir.entries_first; e < dir.entries_first + dir.entries; e++) {
            struct blob_entry entry;
            blob_image_entry(tree->image, e, &entry);
            if (tree->entry_of[entry.inode] == e || tree_is_kept(tree, entry.inode))
                continue;
            if (fd < 0)
                fd = tree_open(tree, tree->dirs[at], O_RDONLY | O_DIRECTORY);
            if (fd < 0)
                return failed(tree, tree->dirs[at], -fd, "open", err);
            int r = make_link(tree, fd, e, entry.inode, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

int tree_finish_dirs(const struct tree *tree, struct err *err)
{
    for (uint32_t at = tree->dir_count; at-- > 0;) {
        if (tree_is_kept(tree, tree->dirs[at]))
            continue;
        OWNED_FD fd = tree_open(tree, tree->dirs[at], O_RDONLY | O_DIRECTORY);
        if (fd < 0)
            return failed(tree, tree->dirs[at], -fd, "open", err);
        int r = tree_set_attributes(tree, fd, ".", tree->dirs[at], err);
        if (r < 0)
            return r;
    }
    return 0;
}
