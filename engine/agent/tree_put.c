#include "tree_put.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/fdio.h"
#include "rights.h"

void tree_put_open(struct tree_put *put, const struct tree *tree)
{
    *put = (struct tree_put){.tree = tree, .dir_fd = -1, .fd = -1};
    put->modes = unshare(CLONE_FS) == 0; /* unshare(2): the umask is then this thread's */
    if (put->modes)
        umask(0);
}

static void close_file(struct tree_put *put)
{
    if (put->fd >= 0)
        close(steal_fd(&put->fd));
}

void tree_put_close(struct tree_put *put)
{
    close_file(put);
    if (put->dir_fd >= 0)
        close(steal_fd(&put->dir_fd));
}

static int failed(const struct tree_put *put, uint32_t inode, int code, const char *what, struct err *err)
{
    char shown[256];
    tree_path_show(put->tree, inode, shown);
    return err_sys(err, code, "cannot %s %s", what, shown);
}

static int enter(struct tree_put *put, uint32_t dir)
{
    if (put->dir_fd >= 0 && put->dir == dir)
        return 0;
    int fd = tree_open(put->tree, dir, O_PATH | O_DIRECTORY);
    if (fd < 0)
        return fd;
    if (put->dir_fd >= 0)
        close(put->dir_fd);
    put->dir_fd = fd;
    put->dir = dir;
    return 0;
}

/* A name of an image has no slash: opened without following it lies where it should. */
static int open_entry(struct tree_put *put, uint32_t inode, int flags, mode_t mode)
{
    struct blob_entry entry;
    char name[NAME_MAX + 1];
    blob_image_entry(put->tree->image, put->tree->entry_of[inode], &entry);
    memcpy(name, entry.name, entry.name_bytes);
    name[entry.name_bytes] = '\0';
    int fd =
        openat(put->dir_fd, name, flags | O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, mode);
    return fd < 0 ? -errno : fd;
}

static int put_xattrs(const struct tree_put *put, int fd, uint32_t set)
{
    struct blob_xattr x;
    for (uint32_t k = 0; set && blob_image_xattr(put->tree->image, set, k, &x); k++) {
        char name[XATTR_NAME_MAX + 1];
        if (x.name_bytes > XATTR_NAME_MAX)
            return -ERANGE;
        memcpy(name, x.name, x.name_bytes);
        name[x.name_bytes] = '\0';
        if (fsetxattr(fd, name, x.value, x.value_bytes, 0) < 0 &&
            (rights_are_roots() || (errno != EPERM && errno != EINVAL)))
            return -errno;
    }
    return 0;
}

/* What is not as it should be of a file that was just made: owner, mode, xattrs and mtime, in this order. */
static int put_attributes(const struct tree_put *put, int fd, const struct blob_inode *in)
{
    bool given = in->uid != put->tree->made_uid || in->gid != put->tree->made_gid;
    if (given && fchown(fd, in->uid, in->gid) < 0 &&
        (rights_are_roots() || (errno != EPERM && errno != EINVAL)))
        return -errno;
    if ((!put->modes || in->mode & 07000) && fchmod(fd, in->mode & 07777) < 0)
        return -errno;
    int r = put_xattrs(put, fd, in->xattr_set);
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW},
                                      {.tv_sec = in->mtime_s, .tv_nsec = (long)in->mtime_ns}};
    if (r == 0 && futimens(fd, times) < 0)
        r = -errno;
    return r;
}

/* Returns 1, or 0 when something has its name: what an earlier attempt left. */
static int put_whole(struct tree_put *put, const struct tree_piece *piece, const struct blob_inode *in,
                     struct err *err)
{
    OWNED_FD fd = open_entry(put, piece->inode, O_EXCL, in->mode & 0777);
    if (fd == -EEXIST)
        return 0;
    if (fd < 0)
        return failed(put, piece->inode, -fd, "make", err);
    int r = fd_write_at(fd, piece->bytes, piece->len_bytes, 0);
    if (r < 0)
        return failed(put, piece->inode, -r, "write", err);
    r = put_attributes(put, fd, in);
    if (r < 0)
        return failed(put, piece->inode, -r, "set the attributes of", err);
    put->tree->finished[piece->inode] = 1;
    return 1;
}

int tree_put_piece(struct tree_put *put, const struct tree_piece *piece, struct err *err)
{
    if (put->fd < 0 || put->inode != piece->inode) {
        struct blob_inode in;
        blob_image_inode(put->tree->image, piece->inode, &in);
        close_file(put);
        int r = enter(put, in.parent);
        if (r < 0)
            return failed(put, in.parent, -r, "open", err);
        if (put->tree->fresh && in.extents == 1 && piece->len_bytes == in.size_bytes) {
            r = put_whole(put, piece, &in, err);
            if (r != 0)
                return r < 0 ? r : 0;
        }
        put->fd = open_entry(put, piece->inode, 0, 0600);
        if (put->fd < 0)
            return failed(put, piece->inode, -put->fd, "open", err);
        put->inode = piece->inode;
    }
    int r = fd_write_at(put->fd, piece->bytes, piece->len_bytes, piece->offset_bytes);
    return r < 0 ? failed(put, piece->inode, -r, "write", err) : 0;
}
