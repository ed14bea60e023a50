/* Reading directories: offsets are those of the backing file system, so they stay good over changes. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "snap.h"

enum { DIR_BUFFER_BYTES = 32768 };

struct snap_dir {
    struct opened open;
    pthread_mutex_t lock;
    int fd;
    uint64_t inode;
    off_t next; /* the offset after what was last taken out of the buffer */
    size_t at, len_bytes;
    uint8_t *buffer; /* owned; made at the first read */
};

static struct snap_dir *dir_of(const struct fuse_file_info *fi)
{
    return (struct snap_dir *)(uintptr_t)fi->fh;
}

static void dir_free(struct snap_dir *dir)
{
    pthread_mutex_destroy(&dir->lock);
    close(dir->fd);
    free(dir->buffer);
    free(dir);
}

static void dir_end(struct fs *fs, struct opened *opened)
{
    (void)fs;
    dir_free(CONTAINER_OF(opened, struct snap_dir, open));
}

static void dir_close(struct fs *fs, struct snap_dir *dir)
{
    opens_remove(fs->opens, &dir->open);
    dir_free(dir);
}

void snap_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    OWNED_HELD struct held held = {0};
    int r = held_get(fs_of(req), ino, &held);
    if (r < 0) {
        reply_result(req, r);
        return;
    }
    OWNED_FD fd = openat(held.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        fuse_reply_err(req, errno);
        return;
    }
    struct snap_dir *dir = calloc(1, sizeof(*dir));
    if (!dir) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    pthread_mutex_init(&dir->lock, NULL);
    dir->fd = steal_fd(&fd);
    dir->inode = ino;
    fi->fh = (uintptr_t)dir;
    /* All changes of a snapshot's directories pass through the kernel; /snapshots itself gets what `save`
     * makes. */
    fi->cache_readdir = fi->keep_cache = !held_is_snapshots(&held);
    opens_add(held.fs->opens, &dir->open, dir_end);
    if (fuse_reply_open(req, fi) < 0)
        dir_close(held.fs, dir);
}

void snap_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    dir_close(fs_of(req), dir_of(fi));
    fuse_reply_err(req, 0);
}

void snap_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    int fd = dir_of(fi)->fd;
    reply_result(req, (datasync ? fdatasync(fd) : fsync(fd)) < 0 ? -errno : 0);
}

/* The next entry, which stays until it is taken: 1, 0 at the end, or -errno. */
static int dir_peek(struct snap_dir *dir, const struct dirent64 **out)
{
    if (dir->at == dir->len_bytes) {
        ssize_t n = getdents64(dir->fd, dir->buffer, DIR_BUFFER_BYTES);
        if (n <= 0)
            return n < 0 ? -errno : 0;
        dir->at = 0;
        dir->len_bytes = (size_t)n;
    }
    *out = (const struct dirent64 *)(const void *)(dir->buffer + dir->at);
    return 1;
}

static void dir_take(struct snap_dir *dir, const struct dirent64 *entry)
{
    dir->next = entry->d_off;
    dir->at += entry->d_reclen;
}

static int dir_seek(struct snap_dir *dir, off_t off)
{
    if (!dir->buffer) {
        dir->buffer = malloc(DIR_BUFFER_BYTES);
        if (!dir->buffer)
            return -ENOMEM;
    }
    if (off == dir->next && off != 0)
        return 0;
    if (lseek(dir->fd, off, SEEK_SET) < 0)
        return -errno;
    dir->at = dir->len_bytes = 0;
    dir->next = off;
    return 0;
}

/* What a directory shows: below /snapshots only directories that are snapshots, in one no `.bladefs`. */
static bool is_shown(const struct held *held, const struct dirent64 *entry)
{
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return true;
    if (held_is_snapshots(held))
        return name_is_valid(name, strlen(name)) && (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN);
    return !(held_is_top(held) && strcmp(name, BLADEFS_DIR) == 0);
}

struct filling {
    fuse_req_t req;
    char *at;
    size_t left_bytes;
    bool plus;
};

/* 0: taken; 1: no room; -ENOENT: gone meanwhile; or -errno. */
static int add_entry(struct filling *filling, struct held *held, const struct dirent64 *entry)
{
    struct fuse_entry_param e = {0};
    size_t n;
    bool dots = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    e.attr.st_ino = entry->d_ino;
    e.attr.st_mode = (mode_t)entry->d_type << 12;
    if (!filling->plus) {
        n = fuse_add_direntry(filling->req, filling->at, filling->left_bytes, entry->d_name, &e.attr,
                              entry->d_off);
    } else {
        if (!dots) {
            int r = snap_find(held, entry->d_name, &e);
            if (r < 0)
                return r;
        }
        n = fuse_add_direntry_plus(filling->req, filling->at, filling->left_bytes, entry->d_name, &e,
                                   entry->d_off);
        if (n > filling->left_bytes && !dots)
            node_forget(held->fs->nodes, e.ino, 1);
    }
    if (n > filling->left_bytes)
        return 1;
    filling->at += n;
    filling->left_bytes -= n;
    return 0;
}

static int fill(struct filling *filling, struct held *held, struct snap_dir *dir, off_t off)
{
    const struct dirent64 *entry = NULL;
    int r = dir_seek(dir, off);
    while (r == 0 && (r = dir_peek(dir, &entry)) > 0 && entry) {
        r = is_shown(held, entry) ? add_entry(filling, held, entry) : 0;
        if (r == 1)
            return 0;
        if (r == 0 || r == -ENOENT || r == -EXDEV) { /* what is gone, or not ours, is left out */
            dir_take(dir, entry);
            r = 0;
        }
    }
    return r;
}

static void read_dir(fuse_req_t req, size_t size, off_t off, struct fuse_file_info *fi, bool plus)
{
    OWNED_HELD struct held held = {0};
    struct snap_dir *dir = dir_of(fi);
    OWNED char *reply = malloc(size);
    struct filling filling = {.req = req, .at = reply, .left_bytes = size, .plus = plus};
    int r = reply ? held_get(fs_of(req), dir->inode, &held) : -ENOMEM;
    if (r == 0) {
        HOLD_LOCK(&dir->lock);
        r = fill(&filling, &held, dir, off);
    }
    /* An error is for the next call when there is something to give now: entries already counted must go out.
     */
    if (r < 0 && filling.left_bytes == size)
        reply_result(req, r);
    else
        fuse_reply_buf(req, reply, size - filling.left_bytes);
}

void snap_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)ino;
    read_dir(req, size, off, fi, false);
}

void snap_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)ino;
    read_dir(req, size, off, fi, true);
}
