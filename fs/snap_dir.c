/* Reading directories: offsets are those of the backing file system, so they stay good over changes. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "cursors.h"
#include "snap.h"

void snap_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    OWNED_HELD struct held held = {0};
    (void)fi;
    int r = held_get(fs_of(req), ino, &held);
    if (r == 0) {
        OWNED_FD fd = openat(held.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = fd < 0 || (datasync ? fdatasync(fd) : fsync(fd)) < 0 ? -errno : 0;
    }
    reply_result(req, r);
}

/* The next entry, which stays until it is taken: 1, 0 at the end, or -errno. */
static int dir_peek(struct cursor *dir, const struct dirent64 **out)
{
    if (dir->at == dir->len_bytes) {
        ssize_t n = getdents64(dir->fd, dir->buffer, CURSOR_BUFFER_BYTES);
        if (n <= 0)
            return n < 0 ? -errno : 0;
        dir->at = 0;
        dir->len_bytes = (size_t)n;
    }
    *out = (const struct dirent64 *)(const void *)(dir->buffer + dir->at);
    return 1;
}

static void dir_take(struct cursor *dir, const struct dirent64 *entry)
{
    dir->next = entry->d_off;
    dir->at += entry->d_reclen;
}

/* At `off`, wherever the last reader is. */
static int dir_open(const struct held *held, fuse_ino_t ino, off_t off, struct cursor **out)
{
    OWNED_CURSOR struct cursor *dir = off ? cursor_take(held->fs->cursors, ino, off) : NULL;
    if (!dir) {
        OWNED_FD fd = openat(held->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || (off && lseek(fd, off, SEEK_SET) < 0))
            return -errno;
        int r = cursor_new(steal_fd(&fd), ino, &dir);
        if (r < 0)
            return r;
        dir->next = off;
    }
    *out = STEAL(dir);
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
            int r = snap_find_known(held, entry->d_name, entry->d_ino, &e);
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

static int fill(struct filling *filling, struct held *held, struct cursor *dir)
{
    const struct dirent64 *entry = NULL;
    int r;
    while ((r = dir_peek(dir, &entry)) > 0 && entry) {
        r = is_shown(held, entry) ? add_entry(filling, held, entry) : 0;
        if (r == 1)
            return 0;
        if (r < 0 && r != -ENOENT && r != -EXDEV) /* what is gone, or not ours, is left out */
            return r;
        dir_take(dir, entry);
    }
    return r;
}

static int read_entries(struct filling *filling, struct held *held, fuse_ino_t ino, off_t off)
{
    OWNED_CURSOR struct cursor *dir = NULL;
    size_t room_bytes = filling->left_bytes;
    int r = dir_open(held, ino, off, &dir);
    if (r == 0 && dir) {
        r = fill(filling, held, dir);
        /* At the end the kernel asks once more. */
        if (r == 0 && filling->left_bytes < room_bytes)
            cursor_keep(held->fs->cursors, STEAL(dir));
    }
    return r;
}

void snap_entries_change(struct fs *fs, fuse_ino_t dir)
{
    struct node *node = node_get(fs->nodes, dir);
    if (!node)
        return;
    if (atomic_load(&node->was_read) && atomic_exchange(&node->was_read, false)) {
        cursors_drop(fs->cursors, dir);
        (void)fuse_lowlevel_notify_inval_inode(fs->session, dir, 0, 0);
    }
    node_put(fs->nodes, node);
}

static void read_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
    OWNED_HELD struct held held = {0};
    OWNED char *reply = malloc(size);
    struct filling filling = {.req = req, .at = reply, .left_bytes = size, .plus = plus};
    int r = reply ? held_get(fs_of(req), ino, &held) : -ENOMEM;
    if (r == 0) {
        atomic_store(&held.node->was_read, true);
        r = read_entries(&filling, &held, ino, off);
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
    (void)fi;
    read_dir(req, ino, size, off, false);
}

void snap_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    read_dir(req, ino, size, off, true);
}
