/*
 * An image: the tree of a running snapshot, as one run of bytes that is read where it lies. FORMAT.md gives
 * them.
 *
 * It has inodes (number 0 is the root directory), directory entries sorted by name, extents (pieces of files;
 * what lies between them is a hole), and a table of chunks in the order of their first use. The same tree
 * makes the same bytes. With ids it is what the store keeps; without (blob_image_strip) it is what a blade is
 * sent: there a chunk is its place in the table, its length and a plain checksum.
 *
 * blob_image_parse takes bytes from anybody: an image that it returned is whole and safe to walk. That is:
 * every index and length is in range; names are 1 to 255 bytes, unique, without '/' and NUL, not "." nor
 * ".."; every inode but the root is reached, a directory exactly once and from its parent; extents ascend, do
 * not overlap, are of regular files and end within the file's size; symlink targets are 1 to 4095 bytes
 * without NUL; modes have one known type; the xattr sets are well-formed. An image never changes; any number
 * of threads may read it.
 */
#ifndef BLOB_IMAGE_H
#define BLOB_IMAGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "blob/id.h"

struct blob_image;

#define BLOB_IMAGE_MAX_BYTES ((size_t)1 << 30)
#define BLOB_NO_INODE UINT32_MAX

struct blob_inode {
    uint32_t mode; /* type and permissions, as st_mode */
    uint32_t uid, gid;
    uint32_t nlink;      /* names in the tree; of a directory 2 + its subdirectories */
    uint64_t size_bytes; /* of a regular file; of a symlink its target's length; else 0 */
    int64_t mtime_s;
    uint32_t mtime_ns;
    uint32_t rdev_major, rdev_minor; /* of device nodes, else 0 */
    uint32_t parent; /* of a directory (the root: itself); else the directory of its first name */
    uint32_t entries_first, entries; /* of a directory: its run of directory entries */
    uint32_t extents_first, extents; /* of a regular file */
    const char *target;              /* of a symlink: a view, not NUL-terminated; size_bytes long */
    uint32_t xattr_set;              /* 0: none, else for blob_image_xattr */
};

struct blob_entry {
    const char *name; /* a view, not NUL-terminated */
    uint16_t name_bytes;
    uint32_t inode;
};

struct blob_extent {
    uint64_t offset_bytes; /* in the file; the length is the chunk's */
    uint32_t chunk;
};

struct blob_chunk {
    struct blob_id id; /* zeros in a stripped image */
    uint32_t raw_bytes;
    uint64_t check; /* blob_check_of its content */
};

struct blob_xattr {
    const char *name; /* a view, not NUL-terminated */
    uint16_t name_bytes;
    const uint8_t *value;
    uint32_t value_bytes;
};

/* Takes `bytes` over (also on failure): BUF_EMPTY afterwards. -EBADMSG with the fault; -EPROTONOSUPPORT:
 * newer. */
int blob_image_parse(struct buf *bytes, struct blob_image **out, struct err *err) MUST_CHECK;
void blob_image_free(struct blob_image *image);

bool blob_image_has_ids(const struct blob_image *image);
uint32_t blob_image_inodes(const struct blob_image *image);
uint32_t blob_image_chunks(const struct blob_image *image);
uint64_t blob_image_content_bytes(const struct blob_image *image); /* the sum over all extents */
size_t blob_image_bytes(const struct blob_image *image,
                        const uint8_t **bytes); /* the image's own bytes: a view */

/* Indices must be in range: they come from the image itself or are below the counts. */
void blob_image_inode(const struct blob_image *image, uint32_t inode, struct blob_inode *out);
void blob_image_entry(const struct blob_image *image, uint32_t entry, struct blob_entry *out);
void blob_image_extent(const struct blob_image *image, uint32_t extent, struct blob_extent *out);
void blob_image_chunk(const struct blob_image *image, uint32_t chunk, struct blob_chunk *out);

/* The inode of a name in a directory (binary search), or BLOB_NO_INODE. */
uint32_t blob_image_find(const struct blob_image *image, uint32_t dir, const char *name, size_t name_bytes);

/* xattr number `k` of a set, sorted by name; false past the last. */
bool blob_image_xattr(const struct blob_image *image, uint32_t set, uint32_t k, struct blob_xattr *out);
/* A named xattr of an inode; false when it has none. */
bool blob_image_xattr_find(const struct blob_image *image, uint32_t inode, const char *name,
                           struct blob_xattr *out);

/* The same image without ids, appended to `out`. 0 or -ENOMEM. */
int blob_image_strip(const struct blob_image *image, struct buf *out) MUST_CHECK;

/*
 * Building one. Inodes are added in any order and numbered from 0, the first being the root; the builder
 * renumbers everything canonically when it ends: directories breadth first, names sorted by their bytes, so
 * that the order of adding does not show. It keeps what it is given in compact form (about 100 bytes an inode
 * plus its names).
 */
struct blob_image_builder;
int blob_image_builder_new(struct blob_image_builder **out) MUST_CHECK;
void blob_image_builder_free(struct blob_image_builder *b);
/* `in`: mode, uid, gid, size_bytes, mtime, rdev and, for a symlink, target are read. Returns the inode or
 * -errno. */
int64_t blob_image_add_inode(struct blob_image_builder *b, const struct blob_inode *in) MUST_CHECK;
int blob_image_add_entry(struct blob_image_builder *b, uint32_t dir, const char *name, size_t name_bytes,
                         uint32_t inode) MUST_CHECK;
/* Extents of one file are added in ascending order. */
int blob_image_add_extent(struct blob_image_builder *b, uint32_t inode, uint64_t offset_bytes,
                          const struct blob_chunk *chunk) MUST_CHECK;
int blob_image_add_xattr(struct blob_image_builder *b, uint32_t inode, const char *name, const void *value,
                         size_t value_bytes) MUST_CHECK;
/* Appends the image, with ids, to `out`. */
int blob_image_build(struct blob_image_builder *b, struct buf *out, struct err *err) MUST_CHECK;

#endif
