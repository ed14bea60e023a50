/* The content of open files. */
#include <fcntl.h>

#include "snap.h"

void snap_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct fuse_bufvec out = FUSE_BUFVEC_INIT(size);
    (void)ino;
    out.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
    out.buf[0].fd = snap_file_of(fi)->fd;
    out.buf[0].pos = off;
    fuse_reply_data(req, &out, FUSE_BUF_SPLICE_MOVE);
}

void snap_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t off,
                    struct fuse_file_info *fi)
{
    struct snap_file *file = snap_file_of(fi);
    struct fuse_bufvec out = FUSE_BUFVEC_INIT(fuse_buf_size(in));
    (void)ino;
    out.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
    out.buf[0].fd = file->fd;
    out.buf[0].pos = off;
    int r = change_begin(file->top, file->inode, 0, 0, 0);
    if (r < 0) {
        reply_result(req, r);
        return;
    }
    ssize_t n = 0;
    if (fs_of(req)->features.kill_set_id && snap_kills_set_id(req, fi))
        n = snap_kill_set_id(fs_of(req), ino, file->fd);
    if (n == 0)
        n = fuse_buf_copy(&out, in, 0);
    change_end(file->top);
    if (n < 0)
        reply_result(req, (int)n);
    else
        fuse_reply_write(req, (size_t)n);
}

void snap_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    fuse_reply_err(req, 0);
}

void snap_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    int fd = snap_file_of(fi)->fd;
    reply_result(req, (datasync ? fdatasync(fd) : fsync(fd)) < 0 ? -errno : 0);
}

void snap_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
    struct snap_file *file = snap_file_of(fi);
    (void)ino;
    int r = change_begin(file->top, file->inode, 0, 0, 0);
    if (r == 0) {
        r = fallocate(file->fd, mode, off, len) < 0 ? -errno : 0;
        change_end(file->top);
    }
    reply_result(req, r);
}

/* Bringing waits for writes that other threads of this process answer: some must be left. */
enum { BRINGING_MAX = 4 };

/* The kernel gives what was stored through mappings. */
static bool bring_stores(struct fs *fs, fuse_ino_t ino)
{
    bool brought =
        fs->bringing++ < BRINGING_MAX && fuse_lowlevel_notify_inval_inode(fs->session, ino, 0, 0) == 0;
    fs->bringing--;
    return brought;
}

/* As if there were no hole but the one at the end. */
static off_t seek_in_data(int fd, off_t off, int whence)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -1;
    if (off >= 0 && off < st.st_size)
        return whence == SEEK_HOLE ? st.st_size : off;
    errno = ENXIO;
    return -1;
}

/* Where a mapping has stored, the backing file may still have a hole: then it would not be copied. */
void snap_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    const struct snap_file *file = snap_file_of(fi);
    bool holes = whence == SEEK_DATA || whence == SEEK_HOLE;
    off_t at = holes && file->node->caches > 0 && !bring_stores(fs_of(req), ino)
                   ? seek_in_data(file->fd, off, whence)
                   : lseek(file->fd, off, whence);
    if (at < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_lseek(req, at);
}

void snap_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
                          fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len,
                          int flags)
{
    struct snap_file *to = snap_file_of(fi_out);
    (void)ino_in;
    (void)ino_out;
    int r = change_begin(to->top, to->inode, 0, 0, 0);
    if (r < 0) {
        reply_result(req, r);
        return;
    }
    ssize_t n = copy_file_range(snap_file_of(fi_in)->fd, &off_in, to->fd, &off_out, len, (unsigned)flags);
    r = n < 0 ? -errno : 0;
    change_end(to->top);
    if (r < 0)
        reply_result(req, r);
    else
        fuse_reply_write(req, (size_t)n);
}
