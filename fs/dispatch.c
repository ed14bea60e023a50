/*
 * What libfuse calls: each request goes to the operations of its node's kind. What a kind does not have is
 * answered here, never with ENOSYS where another kind has it: to that the kernel stops asking altogether.
 */
#include <poll.h>

#include "fs.h"
#include "session.h"
#include "unlisted.h"

static const struct fuse_lowlevel_ops no_ops;

static const struct fuse_lowlevel_ops *ops_of(fuse_ino_t ino)
{
    switch (node_id_decode(ino).kind) {
    case NODE_SNAPSHOT:
        return &snap_ops;
    case NODE_RUNNING:
        return &running_ops;
    case NODE_CONTROL:
        return &control_ops;
    case NODE_NONE:
        return &no_ops;
    default:
        return &virtual_ops;
    }
}

static bool is_snapshot(fuse_ino_t ino)
{
    return node_id_decode(ino).kind == NODE_SNAPSHOT;
}

/* For a change that its kind does not know. */
static void refuse_change(fuse_req_t req, fuse_ino_t ino)
{
    switch (node_id_decode(ino).kind) {
    case NODE_NONE:
        fuse_reply_err(req, ESTALE);
        break;
    case NODE_RUNNING:
    case NODE_RUNNINGS:
        fuse_reply_err(req, EROFS);
        break;
    default:
        fuse_reply_err(req, EPERM);
        break;
    }
}

/* For anything else that its kind does not know. */
static void refuse(fuse_req_t req, fuse_ino_t ino, int code)
{
    fuse_reply_err(req, node_id_decode(ino).kind == NODE_NONE ? ESTALE : code);
}

#define GO(op, ino, code, ...)                                                                               \
    do {                                                                                                     \
        if (ops_of(ino)->op)                                                                                 \
            ops_of(ino)->op(__VA_ARGS__);                                                                    \
        else                                                                                                 \
            refuse(req, ino, code);                                                                          \
    } while (0)

#define GO_CHANGE(op, ino, ...)                                                                              \
    do {                                                                                                     \
        if (ops_of(ino)->op)                                                                                 \
            ops_of(ino)->op(__VA_ARGS__);                                                                    \
        else                                                                                                 \
            refuse_change(req, ino);                                                                         \
    } while (0)

/* As GO_CHANGE, of what makes another listing of `dir`. */
#define GO_ENTRIES(op, dir, ...)                                                                             \
    do {                                                                                                     \
        if (is_snapshot(dir))                                                                                \
            snap_entries_change(fs_of(req), dir);                                                            \
        GO_CHANGE(op, dir, __VA_ARGS__);                                                                     \
    } while (0)

static void d_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    GO(lookup, parent, ESTALE, req, parent, name);
}

/* Only nodes of /snapshots are counted; the others are in no table. */
static void d_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    if (is_snapshot(ino))
        node_forget(fs_of(req)->nodes, ino, count);
    fuse_reply_none(req);
}

static void d_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        if (is_snapshot(forgets[i].ino))
            node_forget(fs_of(req)->nodes, forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

static void d_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    GO(getattr, ino, ESTALE, req, ino, fi);
}

static void d_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                      struct fuse_file_info *fi)
{
    GO_CHANGE(setattr, ino, req, ino, attr, to_set, fi);
}

static void d_readlink(fuse_req_t req, fuse_ino_t ino)
{
    GO(readlink, ino, EINVAL, req, ino);
}

static void d_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    GO_ENTRIES(mknod, parent, req, parent, name, mode, rdev);
}

static void d_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    GO_ENTRIES(mkdir, parent, req, parent, name, mode);
}

static void d_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    GO_ENTRIES(unlink, parent, req, parent, name);
}

static void d_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    GO_ENTRIES(rmdir, parent, req, parent, name);
}

static void d_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    GO_ENTRIES(symlink, parent, req, target, parent, name);
}

static void d_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
                     const char *newname, unsigned flags)
{
    if (ops_of(parent) != ops_of(newparent)) {
        fuse_reply_err(req, EXDEV);
        return;
    }
    if (newparent != parent && is_snapshot(newparent))
        snap_entries_change(fs_of(req), newparent);
    GO_ENTRIES(rename, parent, req, parent, name, newparent, newname, flags);
}

static void d_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    if (ops_of(ino) != ops_of(parent))
        fuse_reply_err(req, EXDEV);
    else
        GO_ENTRIES(link, parent, req, ino, parent, name);
}

static void d_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    GO(open, ino, EPERM, req, ino, fi);
}

static void d_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    GO(read, ino, EINVAL, req, ino, size, off, fi);
}

static void d_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t off,
                        struct fuse_file_info *fi)
{
    GO_CHANGE(write_buf, ino, req, ino, in, off, fi);
}

static void d_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (ops_of(ino)->flush)
        ops_of(ino)->flush(req, ino, fi);
    else
        fuse_reply_err(req, 0);
}

static void d_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    GO(release, ino, EINVAL, req, ino, fi);
}

static void d_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    GO(fsync, ino, EINVAL, req, ino, datasync, fi);
}

/* What this directory lists changes without the kernel. */
static bool lists_anew(const struct fs *fs, fuse_ino_t ino)
{
    enum node_kind kind = node_id_decode(ino).kind;
    return kind == NODE_SNAPSHOT ? ino == fs->snapshots->inode : kind != NODE_RUNNING;
}

/* After the answer to a reader: the kernel is not to keep it. */
static void forget_listing(struct fs *fs, fuse_ino_t ino)
{
    if (lists_anew(fs, ino) && fs->features.no_opendir)
        (void)fuse_lowlevel_notify_inval_inode(fs->session, ino, 0, 0);
}

static void d_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    if (fs->features.no_opendir) {
        fuse_reply_err(req, ENOSYS); /* then it does not ask again, and keeps every listing */
        return;
    }
    fi->fh = 0;
    fi->cache_readdir = fi->keep_cache = !lists_anew(fs, ino);
    fuse_reply_open(req, fi);
}

static void d_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    if (!unlisted_readdir(req, ino, size, off, false))
        GO(readdir, ino, ENOTDIR, req, ino, size, off, fi);
    forget_listing(fs, ino);
}

static void d_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    if (!unlisted_readdir(req, ino, size, off, true))
        GO(readdirplus, ino, ENOTDIR, req, ino, size, off, fi);
    forget_listing(fs, ino);
}

static void d_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    fuse_reply_err(req, 0);
}

static void d_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    GO(fsyncdir, ino, ENOTDIR, req, ino, datasync, fi);
}

/* The room is the same everywhere: that of the store's file system. */
static void d_statfs(fuse_req_t req, fuse_ino_t ino)
{
    snap_ops.statfs(req, ino);
}

static void d_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                       int flags)
{
    if (ops_of(ino)->setxattr)
        ops_of(ino)->setxattr(req, ino, name, value, size, flags);
    else
        refuse(req, ino, node_id_decode(ino).kind == NODE_RUNNING ? EROFS : EOPNOTSUPP);
}

static void d_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    GO(getxattr, ino, ENODATA, req, ino, name, size);
}

static void d_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    if (ops_of(ino)->listxattr)
        ops_of(ino)->listxattr(req, ino, size);
    else if (size == 0)
        fuse_reply_xattr(req, 0);
    else
        fuse_reply_buf(req, NULL, 0);
}

static void d_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    if (ops_of(ino)->removexattr)
        ops_of(ino)->removexattr(req, ino, name);
    else
        refuse(req, ino, node_id_decode(ino).kind == NODE_RUNNING ? EROFS : EOPNOTSUPP);
}

static void d_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                     struct fuse_file_info *fi)
{
    GO_ENTRIES(create, parent, req, parent, name, mode, fi);
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
static void d_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
    GO(tmpfile, parent, EOPNOTSUPP, req, parent, mode, fi);
}
#endif

static void d_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                        struct fuse_file_info *fi)
{
    GO(fallocate, ino, EOPNOTSUPP, req, ino, mode, off, len, fi);
}

static void d_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    GO(lseek, ino, EINVAL, req, ino, off, whence, fi);
}

/* Between kinds the kernel copies by itself after EXDEV. */
static void d_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
                              fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len,
                              int flags)
{
    if (ops_of(ino_in) != ops_of(ino_out) || !ops_of(ino_in)->copy_file_range)
        fuse_reply_err(req, EXDEV);
    else
        ops_of(ino_in)->copy_file_range(req, ino_in, off_in, fi_in, ino_out, off_out, fi_out, len, flags);
}

static void d_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
    if (ops_of(ino)->poll) {
        ops_of(ino)->poll(req, ino, fi, ph);
        return;
    }
    if (ph)
        fuse_pollhandle_destroy(ph);
    fuse_reply_poll(req, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM);
}

const struct fuse_lowlevel_ops dispatch_ops = {
    .init = session_init,
    .lookup = d_lookup,
    .forget = d_forget,
    .forget_multi = d_forget_multi,
    .getattr = d_getattr,
    .setattr = d_setattr,
    .readlink = d_readlink,
    .mknod = d_mknod,
    .mkdir = d_mkdir,
    .unlink = d_unlink,
    .rmdir = d_rmdir,
    .symlink = d_symlink,
    .rename = d_rename,
    .link = d_link,
    .open = d_open,
    .read = d_read,
    .write_buf = d_write_buf,
    .flush = d_flush,
    .release = d_release,
    .fsync = d_fsync,
    .opendir = d_opendir,
    .readdir = d_readdir,
    .readdirplus = d_readdirplus,
    .releasedir = d_releasedir,
    .fsyncdir = d_fsyncdir,
    .statfs = d_statfs,
    .setxattr = d_setxattr,
    .getxattr = d_getxattr,
    .listxattr = d_listxattr,
    .removexattr = d_removexattr,
    .create = d_create,
    .fallocate = d_fallocate,
    .lseek = d_lseek,
    .copy_file_range = d_copy_file_range,
    .poll = d_poll,
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    .tmpfile = d_tmpfile,
#endif
};
