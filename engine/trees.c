/* engine.h's engine_tree_*: the tree of a running snapshot, read from chunks. */
#include <inttypes.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/log.h"
#include "parts.h"

#define TREE_BLOCK_BYTES 4096

struct engine_tree {
    struct runnings *runnings;
    struct blob_cache *cache;
    struct shared_image *shared;
    const struct blob_image *image;
    char name[RUNNING_NAME_MAX_BYTES + 1];
};

int engine_tree_open(struct engine *engine, uint32_t running, struct engine_tree **out, struct err *err)
{
    struct catalog_running row;
    int r = runnings_get(engine->runnings, running, &row);
    if (r < 0)
        return err_set(err, ENOENT, "there is no such running snapshot");
    struct engine_tree *tree = calloc(1, sizeof(*tree));
    if (!tree)
        return err_set(err, ENOMEM, "%s@%" PRIu64 ": no memory", row.name, row.n);
    r = runnings_image_get(engine->runnings, row.image, &tree->shared, err);
    if (r < 0) {
        free(tree);
        /* A part of it is missing: the running snapshot is there. */
        if (r == -ENOENT && runnings_get(engine->runnings, running, &row) == 0)
            r = err_set(err, EIO, "%s@%" PRIu64 ": its list of files is damaged", row.name, row.n);
        return r;
    }
    tree->runnings = engine->runnings;
    tree->cache = engine->cache;
    tree->image = tree->shared->image;
    running_name_format(tree->name, row.name, row.n);
    *out = tree;
    return 0;
}

void engine_tree_put(struct engine_tree *tree)
{
    if (!tree)
        return;
    runnings_image_put(tree->runnings, tree->shared);
    free(tree);
}

static int inode_of(const struct engine_tree *tree, uint32_t number, mode_t type, struct blob_inode *out)
{
    if (number >= blob_image_inodes(tree->image))
        return -ENOENT;
    blob_image_inode(tree->image, number, out);
    if (type && (out->mode & S_IFMT) != type)
        return type == S_IFDIR ? -ENOTDIR : -EINVAL;
    return 0;
}

struct piece {
    uint64_t offset_bytes;
    struct blob_chunk chunk;
};

/* Extent `k` of the file, with its chunk. */
static void piece_of(const struct engine_tree *tree, const struct blob_inode *in, uint32_t k,
                     struct piece *out)
{
    struct blob_extent extent;
    blob_image_extent(tree->image, in->extents_first + k, &extent);
    blob_image_chunk(tree->image, extent.chunk, &out->chunk);
    out->offset_bytes = extent.offset_bytes;
}

/* The first extent that ends after `offset`; in->extents when none does. */
static uint32_t extent_after(const struct engine_tree *tree, const struct blob_inode *in, uint64_t offset)
{
    uint32_t low = 0;
    uint32_t high = in->extents;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct piece piece;
        piece_of(tree, in, middle, &piece);
        if (piece.offset_bytes + piece.chunk.raw_bytes <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint64_t allocated_bytes(const struct engine_tree *tree, const struct blob_inode *in)
{
    uint64_t sum = 0;
    for (uint32_t k = 0; k < in->extents; k++) {
        struct piece piece;
        piece_of(tree, in, k, &piece);
        sum += piece.chunk.raw_bytes;
    }
    return sum;
}

int engine_tree_stat(struct engine_tree *tree, uint32_t inode, struct stat *out)
{
    struct blob_inode in;
    int r = inode_of(tree, inode, 0, &in);
    if (r < 0)
        return r;
    memset(out, 0, sizeof(*out));
    out->st_ino = inode;
    out->st_mode = in.mode;
    out->st_nlink = in.nlink;
    out->st_uid = in.uid;
    out->st_gid = in.gid;
    out->st_size = (off_t)(S_ISDIR(in.mode) ? TREE_BLOCK_BYTES : in.size_bytes);
    out->st_blksize = TREE_BLOCK_BYTES;
    if (S_ISREG(in.mode))
        out->st_blocks = (blkcnt_t)((allocated_bytes(tree, &in) + TREE_BLOCK_BYTES - 1) / TREE_BLOCK_BYTES *
                                    (TREE_BLOCK_BYTES / 512));
    if (S_ISCHR(in.mode) || S_ISBLK(in.mode))
        out->st_rdev = makedev(in.rdev_major, in.rdev_minor);
    out->st_mtim = (struct timespec){.tv_sec = in.mtime_s, .tv_nsec = in.mtime_ns};
    out->st_atim = out->st_mtim;
    out->st_ctim = out->st_mtim;
    return 0;
}

int engine_tree_find(struct engine_tree *tree, uint32_t dir, const char *name, uint32_t *inode)
{
    struct blob_inode in;
    int r = inode_of(tree, dir, S_IFDIR, &in);
    if (r < 0)
        return r;
    uint32_t found = blob_image_find(tree->image, dir, name, strlen(name));
    if (found == BLOB_NO_INODE)
        return -ENOENT;
    *inode = found;
    return 0;
}

uint32_t engine_tree_parent(struct engine_tree *tree, uint32_t dir)
{
    struct blob_inode in;
    return inode_of(tree, dir, 0, &in) < 0 ? 0 : in.parent;
}

int engine_tree_entry(struct engine_tree *tree, uint32_t dir, uint32_t k, const char **name,
                      size_t *name_bytes, uint32_t *inode)
{
    struct blob_inode in;
    int r = inode_of(tree, dir, S_IFDIR, &in);
    if (r < 0)
        return r;
    if (k >= in.entries)
        return 0;
    struct blob_entry entry;
    blob_image_entry(tree->image, in.entries_first + k, &entry);
    *name = entry.name;
    *name_bytes = entry.name_bytes;
    *inode = entry.inode;
    return 1;
}

/* What of extent `piece` lies in [at, at + len_bytes), copied; the rest of `out` was zeroed. */
static int copy_piece(struct engine_tree *tree, const struct piece *piece, uint64_t at, uint8_t *out,
                      size_t len_bytes, struct err *err)
{
    uint64_t end = piece->offset_bytes + piece->chunk.raw_bytes;
    uint64_t from = piece->offset_bytes > at ? piece->offset_bytes : at;
    uint64_t to = end < at + len_bytes ? end : at + len_bytes;
    return blob_cache_read(tree->cache, &piece->chunk.id, piece->chunk.raw_bytes,
                           (uint32_t)(from - piece->offset_bytes), out + (from - at), (uint32_t)(to - from),
                           err);
}

ssize_t engine_tree_read(struct engine_tree *tree, uint32_t inode, void *out, size_t len_bytes,
                         uint64_t offset)
{
    struct blob_inode in;
    int r = inode_of(tree, inode, S_IFREG, &in);
    if (r < 0)
        return r;
    if (offset >= in.size_bytes)
        return 0;
    if (len_bytes > in.size_bytes - offset)
        len_bytes = (size_t)(in.size_bytes - offset);
    memset(out, 0, len_bytes);
    for (uint32_t k = extent_after(tree, &in, offset); k < in.extents; k++) {
        struct piece piece;
        struct err err = {0};
        piece_of(tree, &in, k, &piece);
        if (piece.offset_bytes >= offset + len_bytes)
            break;
        r = copy_piece(tree, &piece, offset, out, len_bytes, &err);
        if (r < 0) {
            log_error("running/%s: inode %u cannot be read at %" PRIu64 ": %s", tree->name, inode,
                      piece.offset_bytes, err.message);
            return r == -ENOMEM ? r : -EIO;
        }
    }
    return (ssize_t)len_bytes;
}

static int64_t seek_data(const struct engine_tree *tree, const struct blob_inode *in, uint64_t offset)
{
    uint32_t k = extent_after(tree, in, offset);
    if (k == in->extents)
        return -ENXIO;
    struct piece piece;
    piece_of(tree, in, k, &piece);
    return (int64_t)(piece.offset_bytes > offset ? piece.offset_bytes : offset);
}

static int64_t seek_hole(const struct engine_tree *tree, const struct blob_inode *in, uint64_t offset)
{
    for (uint32_t k = extent_after(tree, in, offset); k < in->extents; k++) {
        struct piece piece;
        piece_of(tree, in, k, &piece);
        if (piece.offset_bytes > offset)
            break;
        offset = piece.offset_bytes + piece.chunk.raw_bytes;
    }
    return (int64_t)(offset < in->size_bytes ? offset : in->size_bytes);
}

int64_t engine_tree_seek(struct engine_tree *tree, uint32_t inode, uint64_t offset, int whence)
{
    struct blob_inode in;
    int r = inode_of(tree, inode, S_IFREG, &in);
    if (r < 0)
        return r;
    if (offset >= in.size_bytes)
        return -ENXIO;
    if (whence == SEEK_DATA)
        return seek_data(tree, &in, offset);
    return whence == SEEK_HOLE ? seek_hole(tree, &in, offset) : -EINVAL;
}

int engine_tree_readlink(struct engine_tree *tree, uint32_t inode, const char **target, size_t *len_bytes)
{
    struct blob_inode in;
    int r = inode_of(tree, inode, S_IFLNK, &in);
    if (r < 0)
        return r;
    *target = in.target;
    *len_bytes = (size_t)in.size_bytes;
    return 0;
}

int engine_tree_getxattr(struct engine_tree *tree, uint32_t inode, const char *name, const void **value,
                         size_t *len_bytes)
{
    struct blob_inode in;
    struct blob_xattr xattr;
    int r = inode_of(tree, inode, 0, &in);
    if (r < 0)
        return r;
    if (!blob_image_xattr_find(tree->image, inode, name, &xattr))
        return -ENODATA;
    *value = xattr.value;
    *len_bytes = xattr.value_bytes;
    return 0;
}

int engine_tree_listxattr(struct engine_tree *tree, uint32_t inode, struct buf *out)
{
    struct blob_inode in;
    struct blob_xattr xattr;
    int r = inode_of(tree, inode, 0, &in);
    if (r < 0)
        return r;
    for (uint32_t k = 0; in.xattr_set && blob_image_xattr(tree->image, in.xattr_set, k, &xattr); k++) {
        buf_put(out, xattr.name, xattr.name_bytes);
        buf_put_u8(out, 0);
    }
    return out->error;
}
