/* The operations of /snapshots. Locks are not among them: the kernel keeps them for a mount on one machine.
 */
#include "snap.h"

const struct fuse_lowlevel_ops snap_ops = {
    .lookup = snap_lookup,
    .forget = snap_forget,
    .getattr = snap_getattr,
    .setattr = snap_setattr,
    .readlink = snap_readlink,
    .mknod = snap_mknod,
    .mkdir = snap_mkdir,
    .unlink = snap_unlink,
    .rmdir = snap_rmdir,
    .symlink = snap_symlink,
    .rename = snap_rename,
    .link = snap_link,
    .open = snap_open,
    .read = snap_read,
    .write_buf = snap_write_buf,
    .flush = snap_flush,
    .release = snap_release,
    .fsync = snap_fsync,
    .readdir = snap_readdir,
    .readdirplus = snap_readdirplus,
    .fsyncdir = snap_fsyncdir,
    .statfs = snap_statfs,
    .setxattr = snap_setxattr,
    .getxattr = snap_getxattr,
    .listxattr = snap_listxattr,
    .removexattr = snap_removexattr,
    .create = snap_create,
    .fallocate = snap_fallocate,
    .lseek = snap_lseek,
    .copy_file_range = snap_copy_file_range,
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    .tmpfile = snap_tmpfile,
#endif
};
