#include "running.h"

#include <string.h>

#include "trees.h"
#include "virtual.h"

struct place {
    struct fs *fs;
    struct open_tree *open;
    uint32_t running, inode;
};
#define OWNED_PLACE __attribute__((cleanup(place_drop)))

static void place_drop(struct place *place)
{
    if (place->open)
        tree_put(place->fs->trees, place->open);
    place->open = NULL;
}

static int place_of(fuse_req_t req, fuse_ino_t ino, struct place *out)
{
    struct node_id id = node_id_decode(ino);
    struct place place = {.fs = fs_of(req), .running = (uint32_t)id.owner, .inode = id.inode};
    int r = tree_get(place.fs->trees, place.running, &place.open);
    if (r == 0)
        *out = place;
    return r;
}

static int stat_of(const struct place *place, uint32_t inode, struct stat *out)
{
    int r = engine_tree_stat(place->open->tree, inode, out);
    if (r == 0)
        out->st_ino = node_id_running(place->running, inode);
    return r == -ENOENT ? -ESTALE : r;
}

static int fill_entry(const struct place *place, uint32_t inode, struct fuse_entry_param *out)
{
    struct fuse_entry_param entry = {.attr_timeout = KEEP_SECONDS, .entry_timeout = KEEP_SECONDS};
    entry.ino = node_id_running(place->running, inode);
    if (!entry.ino)
        return -EOVERFLOW;
    int r = stat_of(place, inode, &entry.attr);
    if (r == 0)
        *out = entry;
    return r;
}

/* The top directory of one whose list of files cannot be read: it is there, to be removed. */
static int unreadable_top(struct fs *fs, uint32_t running, struct stat *out)
{
    struct engine_running row;
    int r = engine_running_get(fs->engine, running, &row);
    if (r < 0)
        return -ESTALE;
    *out = (struct stat){.st_ino = node_id_running(running, 0), .st_mode = S_IFDIR, .st_nlink = 2};
    out->st_mtim =
        (struct timespec){.tv_sec = row.created_ns / 1000000000, .tv_nsec = row.created_ns % 1000000000};
    out->st_atim = out->st_ctim = out->st_mtim;
    return 0;
}

int running_entry(struct fs *fs, uint32_t running, uint32_t inode, struct fuse_entry_param *out)
{
    OWNED_PLACE struct place place = {.fs = fs, .running = running};
    int r = tree_get(fs->trees, running, &place.open);
    if (r == 0)
        r = fill_entry(&place, inode, out);
    if (r == -EIO && inode == 0) {
        *out = (struct fuse_entry_param){.ino = node_id_running(running, 0)};
        return unreadable_top(fs, running, &out->attr);
    }
    if (r == 0 && inode == 0)
        out->entry_timeout = 0; /* its name may go at any time */
    return r;
}

static void running_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    OWNED_PLACE struct place place = {0};
    struct fuse_entry_param entry = {0};
    struct stat st;
    uint32_t inode = 0;
    int r = place_of(req, parent, &place);
    if (r == 0 && strcmp(name, ".") == 0) {
        r = fill_entry(&place, place.inode, &entry);
    } else if (r == 0 && strcmp(name, "..") == 0 && place.inode == 0) {
        r = virtual_entry(place.fs, node_id_plain(NODE_RUNNINGS), &entry);
    } else if (r == 0) {
        r = stat_of(&place, place.inode, &st);
        if (r == 0 && !S_ISDIR(st.st_mode))
            r = -ENOTDIR;
        if (r == 0 && strcmp(name, "..") == 0)
            inode = engine_tree_parent(place.open->tree, place.inode);
        else if (r == 0)
            r = engine_tree_find(place.open->tree, place.inode, name, &inode);
        if (r == 0)
            r = fill_entry(&place, inode, &entry);
    }
    if (r < 0)
        reply_result(req, r);
    else
        fuse_reply_entry(req, &entry);
}

static void running_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    OWNED_PLACE struct place place = {0};
    struct stat st;
    (void)fi;
    struct node_id id = node_id_decode(ino);
    int keep_seconds = KEEP_SECONDS;
    int r = place_of(req, ino, &place);
    if (r == 0)
        r = stat_of(&place, place.inode, &st);
    if (r == -EIO && id.inode == 0) {
        keep_seconds = 0;
        r = unreadable_top(fs_of(req), (uint32_t)id.owner, &st);
    }
    if (r < 0)
        reply_result(req, r);
    else
        fuse_reply_attr(req, &st, keep_seconds);
}

static void running_readlink(fuse_req_t req, fuse_ino_t ino)
{
    OWNED_PLACE struct place place = {0};
    const char *target;
    size_t len_bytes;
    int r = place_of(req, ino, &place);
    if (r == 0)
        r = engine_tree_readlink(place.open->tree, place.inode, &target, &len_bytes);
    OWNED char *text = r == 0 ? strndup(target, len_bytes) : NULL;
    if (r < 0)
        reply_result(req, r);
    else if (!text)
        fuse_reply_err(req, ENOMEM);
    else
        fuse_reply_readlink(req, text);
}

/* An open file keeps the tree: it stays readable when the running snapshot is removed. */
static void running_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    OWNED_PLACE struct place place = {0};
    int r = (fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC ? -EROFS : 0;
    if (r == 0)
        r = place_of(req, ino, &place);
    if (r < 0) {
        reply_result(req, r);
        return;
    }
    fi->fh = (uintptr_t)place.open;
    fi->keep_cache = 1;
    fi->noflush = 1;
    if (fuse_reply_open(req, fi) == 0)
        place.open = NULL; /* the open file's now */
}

static void running_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    tree_put(fs_of(req)->trees, (struct open_tree *)(uintptr_t)fi->fh);
    fuse_reply_err(req, 0);
}

static struct engine_tree *tree_of(const struct fuse_file_info *fi)
{
    return ((const struct open_tree *)(uintptr_t)fi->fh)->tree;
}

static void running_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    OWNED char *bytes = malloc(size ? size : 1);
    if (!bytes) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    ssize_t n = engine_tree_read(tree_of(fi), node_id_decode(ino).inode, bytes, size, (uint64_t)off);
    if (n < 0)
        reply_result(req, (int)n);
    else
        fuse_reply_buf(req, bytes, (size_t)n);
}

static void running_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    int64_t at =
        off < 0 ? -ENXIO : engine_tree_seek(tree_of(fi), node_id_decode(ino).inode, (uint64_t)off, whence);
    if (at < 0)
        reply_result(req, (int)at);
    else
        fuse_reply_lseek(req, at);
}

struct filling {
    fuse_req_t req;
    const struct place *place;
    char *at;
    size_t left_bytes;
    bool plus;
};

/* 0: taken; 1: no room. `next` is the offset that follows. */
static int add_entry(struct filling *filling, const char *name, uint32_t inode, off_t next)
{
    struct fuse_entry_param entry;
    size_t n;
    int r = fill_entry(filling->place, inode, &entry);
    if (r < 0)
        return r;
    if (filling->plus)
        n = fuse_add_direntry_plus(filling->req, filling->at, filling->left_bytes, name, &entry, next);
    else
        n = fuse_add_direntry(filling->req, filling->at, filling->left_bytes, name, &entry.attr, next);
    if (n > filling->left_bytes)
        return 1;
    filling->at += n;
    filling->left_bytes -= n;
    return 0;
}

/* Offsets: 0 `.`, 1 `..`, then the numbers of the entries. */
static int fill(struct filling *filling, off_t off)
{
    const struct place *place = filling->place;
    struct engine_tree *tree = place->open->tree;
    char text[256];
    int r = 0;
    for (uint64_t k = (uint64_t)off; r == 0 && k < (uint64_t)UINT32_MAX; k++) {
        const char *name;
        size_t name_bytes;
        uint32_t inode;
        if (k < 2) {
            inode = k == 0 ? place->inode : engine_tree_parent(tree, place->inode);
            r = add_entry(filling, k == 0 ? "." : "..", inode, (off_t)k + 1);
            continue;
        }
        int found = engine_tree_entry(tree, place->inode, (uint32_t)(k - 2), &name, &name_bytes, &inode);
        if (found <= 0)
            return found;
        if (name_bytes >= sizeof(text))
            return -EIO;
        memcpy(text, name, name_bytes);
        text[name_bytes] = 0;
        r = add_entry(filling, text, inode, (off_t)k + 1);
    }
    return r < 0 ? r : 0;
}

static void read_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
    OWNED_PLACE struct place place = {0};
    OWNED char *reply = malloc(size ? size : 1);
    int r = reply ? place_of(req, ino, &place) : -ENOMEM;
    struct filling filling = {.req = req, .place = &place, .at = reply, .left_bytes = size, .plus = plus};
    if (r == 0)
        r = off < 0 ? -EINVAL : fill(&filling, off);
    if (r < 0 && filling.left_bytes == size)
        reply_result(req, r);
    else
        fuse_reply_buf(req, reply, size - filling.left_bytes);
}

static void running_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    read_dir(req, ino, size, off, false);
}

static void running_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                                struct fuse_file_info *fi)
{
    (void)fi;
    read_dir(req, ino, size, off, true);
}

static void reply_bytes(fuse_req_t req, const void *bytes, size_t len_bytes, size_t size)
{
    if (size == 0)
        fuse_reply_xattr(req, len_bytes);
    else if (len_bytes > size)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, bytes, len_bytes);
}

static void running_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    OWNED_PLACE struct place place = {0};
    const void *value = NULL;
    size_t len_bytes = 0;
    int r = place_of(req, ino, &place);
    if (r == 0)
        r = engine_tree_getxattr(place.open->tree, place.inode, name, &value, &len_bytes);
    if (r < 0)
        reply_result(req, r);
    else
        reply_bytes(req, value, len_bytes, size);
}

static void running_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    OWNED_PLACE struct place place = {0};
    OWNED_BUF struct buf names = BUF_EMPTY;
    int r = place_of(req, ino, &place);
    if (r == 0)
        r = engine_tree_listxattr(place.open->tree, place.inode, &names);
    if (r < 0)
        reply_result(req, r);
    else
        reply_bytes(req, names.bytes, names.len_bytes, size);
}

static void running_statfs(fuse_req_t req, fuse_ino_t ino)
{
    snap_ops.statfs(req, ino);
}

static void running_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    (void)datasync;
    (void)fi;
    fuse_reply_err(req, 0);
}

const struct fuse_lowlevel_ops running_ops = {
    .lookup = running_lookup,
    .getattr = running_getattr,
    .readlink = running_readlink,
    .open = running_open,
    .release = running_release,
    .read = running_read,
    .lseek = running_lseek,
    .fsync = running_fsync,
    .readdir = running_readdir,
    .readdirplus = running_readdirplus,
    .fsyncdir = running_fsync,
    .getxattr = running_getxattr,
    .listxattr = running_listxattr,
    .statfs = running_statfs,
};
