/* Files opened, made and let go. The engine knows each that is open for writing, from before to after. */
#include <fcntl.h>
#include <string.h>

#include "base/fdio.h"
#include "base/log.h"
#include "caller.h"
#include "passthrough.h"
#include "snap.h"

/* The kernel sends the right offset for O_APPEND, and does O_DIRECT with buffers that are not aligned here.
 */
#define NOT_PASSED (O_APPEND | O_DIRECT | O_CREAT | O_EXCL | O_NOFOLLOW)

static bool writes(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

static void file_free(struct snap_file *file)
{
    if (file->stores)
        file->node->stores--;
    if (file->caches)
        file->node->caches--;
    if (file->writes)
        engine_writer_closed(file->top->source, file->inode, file->fd);
    if (file->fd >= 0)
        close(file->fd);
    if (file->top)
        top_put(file->top);
    if (file->node)
        node_put(file->nodes, file->node);
    free(file);
}

static void cleanup_file_open(struct snap_file **file)
{
    if (*file)
        file_free(*file);
}
#define OWNED_FILE_OPEN __attribute__((cleanup(cleanup_file_open)))

/* Takes `fd` over, on an error too. */
static int file_new(int fd, uint64_t inode, struct top *top, int flags, struct snap_file **out)
{
    OWNED_FD mine = fd;
    OWNED_FILE_OPEN struct snap_file *file = calloc(1, sizeof(*file));
    if (!file)
        return -ENOMEM;
    file->fd = steal_fd(&mine);
    file->inode = inode;
    file->top = top ? top_ref(top) : NULL;
    if (writes(flags) && top) {
        int r = engine_writer_opened(top->source, inode, file->fd);
        if (r < 0)
            return r;
        file->writes = true;
    }
    *out = STEAL(file);
    return 0;
}

/* The mount has ended; what it passed through ended with it. */
static void file_end(struct fs *fs, struct opened *opened)
{
    (void)fs;
    file_free(CONTAINER_OF(opened, struct snap_file, open));
}

void snap_file_settled(void *fs, struct lingers *lingers)
{
    (void)fs;
    file_free(CONTAINER_OF(lingers, struct snap_file, lingers));
}

/* Under the same number, by which the engine knows it. Without that it stays a writer: nothing is wrong then,
 * but it cannot be loaded. */
static void stop_writing(struct snap_file *file)
{
    char path[PROC_PATH_BYTES];
    proc_path(path, file->fd);
    OWNED_FD reads = open(path, O_RDONLY | O_CLOEXEC);
    if (reads < 0 || dup3(reads, file->fd, O_CLOEXEC) < 0)
        log_warn("inode %llu stays open for writing (errno %d)", (unsigned long long)file->inode, errno);
}

/* Gives it back to nobody: who opened it is gone, or has closed it. */
static void file_close(struct fs *fs, struct snap_file *file)
{
    opens_remove(fs->opens, &file->open);
    passthrough_close(fs->passthrough, file->node, file->passed);
    if (file->stores) {
        stop_writing(file);
        file->lingers.fd = file->fd;
        lingering_add(fs->lingering, &file->lingers);
    } else {
        file_free(file);
    }
}

/* `node` is in use by the caller. */
static void file_give(struct fs *fs, struct node *node, struct snap_file *file, struct fuse_file_info *fi)
{
    file->nodes = fs->nodes;
    file->node = node_ref(fs->nodes, node);
    int id = passthrough_open(fs->passthrough, node, file->fd);
    file->passed = id > 0;
    bool mappable = (fi->flags & O_ACCMODE) == O_RDWR;
    if (file->passed && file->writes && mappable) {
        file->stores = true;
        node->stores++;
    }
    if (!file->passed && mappable) {
        file->caches = true;
        node->caches++;
    }
    if (file->writes && !file->passed)
        file->open.written = file->inode;
    opens_add(fs->opens, &file->open, file_end);
    fi->fh = (uintptr_t)file;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    fi->backing_id = id;
#endif
    /* What the kernel has of the file is right: every change passes through it, unless passthrough went
     * around what it has. Nothing is left to do at close. */
    fi->keep_cache = !passthrough_possible(fs->passthrough);
    fi->noflush = 1;
}

static int open_it(fuse_req_t req, const struct held *held, const struct fuse_file_info *fi,
                   struct snap_file **out)
{
    int flags = fi->flags;
    char path[PROC_PATH_BYTES];
    struct top *top = held->node->top;
    uint64_t inode = held->node->inode;
    bool cuts = flags & O_TRUNC;
    int r = cuts ? change_begin(top, inode, 0, 0, 0) : 0;
    if (r < 0)
        return r;
    OWNED_FILE_OPEN struct snap_file *file = NULL;
    proc_path(path, held->fd);
    int fd = open(path, (flags & ~NOT_PASSED) | O_CLOEXEC);
    r = fd < 0 ? -errno : file_new(fd, inode, top, flags, &file);
    if (r == 0 && file && cuts && snap_kills_set_id(req, NULL))
        r = snap_kill_set_id(held->fs, inode, file->fd);
    if (cuts)
        change_end(top);
    if (r == 0)
        *out = STEAL(file);
    return r;
}

void snap_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    OWNED_HELD struct held held = {0};
    struct snap_file *file = NULL;
    int r = held_get(fs_of(req), ino, &held);
    if (r == 0)
        r = open_it(req, &held, fi, &file);
    if (r < 0 || !file) {
        reply_result(req, r);
        return;
    }
    struct fs *fs = fs_of(req);
    struct stat st;
    file_give(fs, held.node, file, fi);
    /* From here on the kernel must ask for its times, or for its blocks: see snap_keep_seconds. */
    if (file->stores || (file->caches && fstat(file->fd, &st) == 0 && snap_is_without_blocks(&st)))
        (void)fuse_lowlevel_notify_inval_inode(fs->session, ino, -1, 0);
    if (fuse_reply_open(req, fi) < 0)
        file_close(fs, file);
}

/* A new file as the caller, in a directory; `name` NULL: one without a name. Returns its fd. */
static int make_file(fuse_req_t req, const struct held *dir, const char *name, mode_t mode, int flags)
{
    struct acting acting;
    int r = acting_begin(req, fuse_req_ctx(req)->umask, &acting);
    if (r < 0)
        return r;
    int how = flags & ~(O_APPEND | O_DIRECT);
    int fd = name ? openat(dir->fd, name, how | O_CREAT | O_NOFOLLOW | O_CLOEXEC, mode)
                  : openat(dir->fd, ".", (how & ~(O_CREAT | O_DIRECTORY)) | O_TMPFILE | O_CLOEXEC, mode);
    r = fd < 0 ? -errno : fd;
    acting_end(&acting);
    return r;
}

static int make_and_open(fuse_req_t req, struct held *dir, const char *name, mode_t mode, int flags,
                         struct fuse_entry_param *entry, struct snap_file **out)
{
    struct top *top = dir->node->top;
    int r = change_begin(top, dir->node->inode, 0, 0, 0);
    if (r < 0)
        return r;
    OWNED_FILE_OPEN struct snap_file *file = NULL;
    struct stat st;
    OWNED_FD fd = make_file(req, dir, name, mode, flags);
    r = fd < 0 ? fd : 0;
    if (r == 0 && fstat(fd, &st) < 0)
        r = -errno;
    if (r == 0)
        r = file_new(steal_fd(&fd), st.st_ino, top, flags, &file);
    change_end(top);
    if (r < 0 || !file)
        return r;
    /* A descriptor of the node's own, which leads to the same file. */
    char path[PROC_PATH_BYTES];
    proc_path(path, file->fd);
    int node = open(path, O_PATH | O_CLOEXEC);
    r = node < 0 ? -errno : snap_found(dir->fs, node, top, entry);
    if (r == 0)
        *out = STEAL(file);
    return r;
}

static void make_and_reply(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                           struct fuse_file_info *fi)
{
    OWNED_HELD struct held dir = {0};
    struct fuse_entry_param entry = {0};
    struct snap_file *file = NULL;
    int r = held_get(fs_of(req), parent, &dir);
    if (r == 0)
        r = snap_name_allowed(&dir, name ? name : "", false);
    if (r == 0)
        r = make_and_open(req, &dir, name, mode, fi->flags, &entry, &file);
    if (r < 0 || !file) {
        reply_result(req, r);
        return;
    }
    if (!name)
        node_keep_open(dir.fs->nodes, entry.ino);
    struct node *node = node_get(dir.fs->nodes, entry.ino);
    file_give(dir.fs, node, file, fi);
    node_put(dir.fs->nodes, node);
    if (file->stores)
        entry.attr_timeout = 0;
    if (fuse_reply_create(req, &entry, fi) < 0) {
        file_close(dir.fs, file);
        node_forget(dir.fs->nodes, entry.ino, 1);
    }
}

void snap_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    make_and_reply(req, parent, name, mode, fi);
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
void snap_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
    make_and_reply(req, parent, NULL, mode, fi);
}
#endif

void snap_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    file_close(fs_of(req), snap_file_of(fi));
    fuse_reply_err(req, 0);
}
