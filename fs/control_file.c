/*
 * The operations of control files, the same for every row: the whole value in one write at the beginning, the
 * content of now at each read.
 */
#include "control.h"

#include <poll.h>
#include <string.h>

#include "polls.h"
#include "value.h"
#include "virtual.h"

enum { WRITE_MAX_BYTES = VALUE_MAX_BYTES + 1 };

static struct control_file *file_of(const struct fuse_file_info *fi)
{
    return (struct control_file *)(uintptr_t)fi->fh;
}

void control_file_put(struct control_file *file)
{
    bool last;
    {
        HOLD_LOCK(&file->lock);
        last = --file->users == 0;
    }
    if (!last)
        return;
    pthread_mutex_destroy(&file->lock);
    buf_free(&file->answer);
    buf_free(&file->text);
    free(file);
}

void control_file_answer(struct control_file *file, const char *written, size_t written_bytes, off_t offset,
                         const char *line)
{
    struct buf answer = BUF_EMPTY;
    buf_put(&answer, written, written_bytes);
    buf_put(&answer, line, strlen(line));
    if (answer.error) {
        buf_free(&answer);
        return; /* the file then reads as when opened anew */
    }
    HOLD_LOCK(&file->lock);
    buf_free(&file->answer);
    file->answer = answer;
    file->answer_at = offset;
}

static void file_end(struct fs *fs, struct opened *opened)
{
    struct control_file *file = CONTAINER_OF(opened, struct control_file, open);
    polls_remove(fs->polls, file);
    control_file_put(file);
}

static void control_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct node_id id = node_id_decode(ino);
    const struct control *row = control_of_row(id.row);
    if (!row) {
        fuse_reply_err(req, ESTALE);
        return;
    }
    struct control_file *file = calloc(1, sizeof(*file));
    if (!file) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    pthread_mutex_init(&file->lock, NULL);
    file->row = row;
    file->owner = id.owner;
    file->flags = fi->flags;
    file->users = 1;
    fi->fh = (uintptr_t)file;
    fi->direct_io = 1;
    fi->noflush = 1;
    struct fs *fs = fs_of(req);
    opens_add(fs->opens, &file->open, file_end);
    if (fuse_reply_open(req, fi) < 0) {
        opens_remove(fs->opens, &file->open);
        control_file_put(file);
    }
}

static void control_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    opens_remove(fs_of(req)->opens, &file_of(fi)->open);
    file_end(fs_of(req), &file_of(fi)->open);
    fuse_reply_err(req, 0);
}

/* What this descriptor reads because of what it wrote; false: nothing, it reads as any other. */
static bool read_answer(fuse_req_t req, struct control_file *file, size_t size, off_t off)
{
    HOLD_LOCK(&file->lock);
    if (file->answer.len_bytes == 0)
        return false;
    uint64_t from = off > file->answer_at ? (uint64_t)(off - file->answer_at) : 0;
    if (from > file->answer.len_bytes)
        from = file->answer.len_bytes;
    size_t left = file->answer.len_bytes - (size_t)from;
    fuse_reply_buf(req, (const char *)file->answer.bytes + from, left < size ? left : size);
    return true;
}

static void read_part(fuse_req_t req, struct control_file *file, size_t size, off_t off)
{
    OWNED char *bytes = malloc(size ? size : 1);
    ssize_t n = -ENOMEM;
    if (bytes)
        n = file->row->read(fs_of(req), file->owner, bytes, size, (uint64_t)off);
    if (n < 0) {
        reply_result(req, value_errno((int)n));
        return;
    }
    {
        HOLD_LOCK(&file->lock);
        file->read_to = (uint64_t)off + (uint64_t)n;
    }
    fuse_reply_buf(req, bytes, (size_t)n);
}

/* Who reads on from where the last read ended goes on in the same text, whatever changed meanwhile. */
static bool read_on(fuse_req_t req, struct control_file *file, size_t size, off_t off)
{
    HOLD_LOCK(&file->lock);
    if (file->text.len_bytes == 0 || off != file->text_at)
        return false;
    size_t left = file->text.len_bytes - (size_t)off;
    size_t n = left < size ? left : size;
    file->text_at += (off_t)n;
    if (n == 0) /* the end was seen */
        buf_free(&file->text);
    fuse_reply_buf(req, n ? (const char *)file->text.bytes + off : NULL, n);
    return true;
}

static void read_whole(fuse_req_t req, struct control_file *file, size_t size, off_t off)
{
    OWNED_BUF struct buf text = BUF_EMPTY;
    int64_t changed_ns = 0;
    int r = file->row->show ? file->row->show(fs_of(req), file->owner, &text, &changed_ns) : 0;
    if (r == 0)
        r = text.error;
    if (r == 0)
        r = control_time(fs_of(req), file->row, file->owner, &changed_ns);
    if (r < 0) {
        reply_result(req, value_errno(r == -ENOENT ? -ESTALE : r));
        return;
    }
    size_t from = (uint64_t)off < text.len_bytes ? (size_t)off : text.len_bytes;
    size_t left = text.len_bytes - from;
    const char *bytes = left ? (const char *)text.bytes + from : NULL;
    HOLD_LOCK(&file->lock); /* to the answer: after that it may be released */
    file->seen_ns = changed_ns;
    if (left > size) {
        buf_free(&file->text);
        file->text = text;
        file->text_at = (off_t)(from + size);
        text = BUF_EMPTY;
    }
    fuse_reply_buf(req, bytes, left < size ? left : size);
}

static void control_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct control_file *file = file_of(fi);
    (void)ino;
    if (off < 0)
        fuse_reply_err(req, EINVAL);
    else if (read_answer(req, file, size, off) || (off > 0 && read_on(req, file, size, off)))
        return;
    else if (file->row->read)
        read_part(req, file, size, off);
    else
        read_whole(req, file, size, off);
}

static int write_value(const struct control_write *write)
{
    const struct control *row = write->file->row;
    bool appends = write->file->flags & O_APPEND;
    ssize_t n = value_check(write->written, write->written_bytes, write->offset, appends, VALUE_MAX_BYTES);
    if (n < 0)
        return (int)n;
    if (!row->store)
        return -EPERM;
    char value[VALUE_MAX_BYTES + 1];
    memcpy(value, write->written, (size_t)n);
    value[n] = 0;
    struct control_write checked = *write;
    checked.value = value;
    checked.value_bytes = (size_t)n;
    return row->store(&checked);
}

static void control_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t off,
                              struct fuse_file_info *fi)
{
    char bytes[WRITE_MAX_BYTES];
    size_t len_bytes = fuse_buf_size(in);
    struct fuse_bufvec out = FUSE_BUFVEC_INIT(len_bytes);
    (void)ino;
    if (len_bytes == 0) {
        fuse_reply_write(req, 0);
        return;
    }
    if (len_bytes > sizeof(bytes)) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    out.buf[0].mem = bytes;
    ssize_t n = fuse_buf_copy(&out, in, 0);
    int r = n < 0 ? (int)n : -EIO;
    if (n == (ssize_t)len_bytes)
        r = write_value(&(struct control_write){.fs = fs_of(req),
                                                .req = req,
                                                .file = file_of(fi),
                                                .owner = file_of(fi)->owner,
                                                .written = bytes,
                                                .written_bytes = len_bytes,
                                                .offset = off});
    if (r == CONTROL_LATER)
        return;
    if (r < 0)
        reply_result(req, value_errno(r));
    else
        fuse_reply_write(req, len_bytes);
}

static void control_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    fuse_reply_err(req, 0);
}

static void control_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    (void)datasync;
    (void)fi;
    fuse_reply_err(req, 0);
}

/* There are no holes. */
static void control_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    struct node_id id = node_id_decode(ino);
    struct stat st;
    (void)fi;
    int r = control_stat(fs_of(req), &id, ino, &st);
    if (r == 0 && (off < 0 || off >= st.st_size))
        r = -ENXIO;
    if (r < 0)
        reply_result(req, r);
    else
        fuse_reply_lseek(req, whence == SEEK_HOLE ? st.st_size : off);
}

/*
 * As a file of sysfs: always readable, and POLLPRI | POLLERR when it changed since this descriptor read it.
 * What is too long to be read anew each time, a log, is as a pipe: readable when there is more behind what
 * was read.
 */
static unsigned poll_events(const struct control_file *file, const struct stat *st)
{
    unsigned events = POLLOUT | POLLWRNORM;
    if (!file->row->read)
        events |= POLLIN | POLLRDNORM;
    else if ((uint64_t)st->st_size != file->read_to)
        events |= POLLIN | POLLRDNORM; /* less, too: it was cut off in front */
    if (!file->row->read && file->row->topic >= 0 &&
        (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec != file->seen_ns)
        events |= POLLPRI | POLLERR;
    return events;
}

static void control_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
                         struct fuse_pollhandle *ph)
{
    struct control_file *file = file_of(fi);
    struct node_id id = node_id_decode(ino);
    struct stat st;
    unsigned events;
    /* First the handle, then the look: what changes in between wakes. */
    if (ph)
        polls_add(fs_of(req)->polls, file, ph);
    if (control_stat(fs_of(req), &id, ino, &st) < 0) {
        events = POLLIN | POLLRDNORM | POLLERR | POLLHUP;
    } else {
        HOLD_LOCK(&file->lock);
        events = poll_events(file, &st);
    }
    fuse_reply_poll(req, events);
}

const struct fuse_lowlevel_ops control_ops = {
    .lookup = virtual_lookup,
    .getattr = virtual_getattr,
    .setattr = virtual_setattr,
    .setxattr = virtual_setxattr,
    .getxattr = virtual_getxattr,
    .listxattr = virtual_listxattr,
    .removexattr = virtual_removexattr,
    .open = control_open,
    .release = control_release,
    .read = control_read,
    .write_buf = control_write_buf,
    .flush = control_flush,
    .fsync = control_fsync,
    .lseek = control_lseek,
    .poll = control_poll,
};
