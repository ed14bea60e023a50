#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#include "snap.h"

void snap_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    OWNED_HELD struct held held = {0};
    struct stat st;
    const struct node *node = NULL;
    int r;
    if (fi) {
        node = snap_file_of(fi)->node;
        r = fstat(snap_file_of(fi)->fd, &st) < 0 ? -errno : 0;
    } else {
        r = held_get(fs_of(req), ino, &held);
        node = held.node;
        if (r == 0 && fstatat(held.fd, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
            r = -errno;
    }
    double keep = r == 0 ? snap_keep_seconds(node, &st) : 0;
    if (r < 0)
        reply_result(req, r);
    else
        fuse_reply_attr(req, &st, keep);
}

bool snap_kills_set_id(fuse_req_t req, const struct fuse_file_info *fi)
{
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
    if (fi && fs_of(req)->features.kill_set_id)
        return fi->kill_suidgid;
#else
    (void)fi;
#endif
    return fuse_req_ctx(req)->uid != 0; /* who has no CAP_FSETID, as far as can be told */
}

int snap_kill_set_id(struct fs *fs, uint64_t inode, int fd)
{
    char path[PROC_PATH_BYTES];
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    mode_t drop = S_ISUID | (st.st_mode & S_IXGRP ? S_ISGID : 0);
    if (!S_ISREG(st.st_mode) || !(st.st_mode & drop))
        return 0;
    proc_path(path, fd);
    if (chmod(path, st.st_mode & ~(mode_t)S_IFMT & ~drop) < 0)
        return -errno;
    (void)fuse_lowlevel_notify_inval_inode(fs->session, inode, -1, 0);
    return 0;
}

static int set_size(const struct held *held, const struct fuse_file_info *fi, off_t size)
{
    char path[PROC_PATH_BYTES];
    if (fi && snap_file_of(fi)->writes)
        return ftruncate(snap_file_of(fi)->fd, size) < 0 ? -errno : 0;
    proc_path(path, held->fd);
    return truncate(path, size) < 0 ? -errno : 0;
}

static struct timespec time_to_set(int to_set, int set, int now, struct timespec value)
{
    if (to_set & now)
        return (struct timespec){.tv_nsec = UTIME_NOW};
    if (to_set & set)
        return value;
    return (struct timespec){.tv_nsec = UTIME_OMIT};
}

#define SET_OWNER (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)
#define SET_ATIME (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)
#define SET_MTIME (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)

#define SET_ANY (FUSE_SET_ATTR_MODE | SET_OWNER | FUSE_SET_ATTR_SIZE | SET_ATIME | SET_MTIME)

/* In this order: a new owner clears the set-id bits, a new size sets the times. */
static int set_attr(const struct held *held, const struct stat *attr, int to_set,
                    const struct fuse_file_info *fi, bool kill_set_id)
{
    char path[PROC_PATH_BYTES];
    proc_path(path, held->fd);
    if (to_set & SET_OWNER) {
        uid_t uid = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1;
        gid_t gid = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1;
        if (fchownat(held->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
            return -errno;
    }
    if (to_set & FUSE_SET_ATTR_SIZE) {
        int r = set_size(held, fi, attr->st_size);
        if (r < 0)
            return r;
    }
    if (kill_set_id) {
        int r = snap_kill_set_id(held->fs, held->node->inode, held->fd);
        if (r < 0)
            return r;
    }
    if (to_set & FUSE_SET_ATTR_MODE && chmod(path, attr->st_mode & ~(mode_t)S_IFMT) < 0)
        return -errno;
    if (to_set & (SET_ATIME | SET_MTIME)) {
        const struct timespec times[2] = {
            time_to_set(to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW, attr->st_atim),
            time_to_set(to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW, attr->st_mtim),
        };
        if (utimensat(held->fd, "", times, AT_EMPTY_PATH) < 0)
            return -errno;
    }
    return 0;
}

/* A new size by who may not keep the bits; or nothing at all: the kernel itself saw a write of such a one,
 * which passthrough took elsewhere. */
static bool kills(fuse_req_t req, int to_set)
{
    if (!fs_of(req)->features.kill_set_id)
        return false;
    return to_set & FUSE_SET_ATTR_SIZE ? fuse_req_ctx(req)->uid != 0 : !(to_set & SET_ANY);
}

void snap_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    OWNED_HELD struct held held = {0};
    struct stat st;
    int r = held_get(fs_of(req), ino, &held);
    if (r == 0)
        r = change_begin(held.node->top, ino, 0, 0, 0);
    if (r == 0) {
        r = set_attr(&held, attr, to_set, fi, kills(req, to_set));
        change_end(held.node->top);
    }
    if (r == 0 && fstatat(held.fd, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    double keep = r == 0 ? snap_keep_seconds(held.node, &st) : 0;
    if (r < 0)
        reply_result(req, r);
    else
        fuse_reply_attr(req, &st, keep);
}

void snap_readlink(fuse_req_t req, fuse_ino_t ino)
{
    OWNED_HELD struct held held = {0};
    char target[PATH_MAX + 1];
    int r = held_get(fs_of(req), ino, &held);
    if (r == 0) {
        ssize_t n = readlinkat(held.fd, "", target, sizeof(target) - 1);
        r = n < 0 ? -errno : 0;
        target[n < 0 ? 0 : n] = 0;
    }
    if (r < 0)
        reply_result(req, r);
    else
        fuse_reply_readlink(req, target);
}

void snap_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st;
    (void)ino;
    if (fstatvfs(fs_of(req)->backing.fd, &st) < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_statfs(req, &st);
}
