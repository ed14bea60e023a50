/*
 * The bytes of an image (FORMAT.md, chapter Image), and what parsing derives from them: for those who read
 * and write images inside blob/.
 *
 * No record holds the number of another one. What is new is always the next number, and what came before is
 * given by its distance, so that a change in one place leaves the bytes elsewhere as they were and the
 * chunks of two images of nearly the same tree are nearly the same. Parsing counts the numbers up.
 */
#ifndef BLOB_IMAGE_FORMAT_H
#define BLOB_IMAGE_FORMAT_H

#include <sys/stat.h>

#include "blob/cut.h"
#include "blob/image.h"

#define IMAGE_MAGIC_BYTES 8
static const uint8_t image_magic[IMAGE_MAGIC_BYTES] = {'b', 'l', 'a', 'd', 'I', 'M', 'A', 'G'};

#define IMAGE_VERSION 1u
#define IMAGE_FLAG_IDS 1u

/* The header. */
enum {
    IMAGE_AT_VERSION = 8,
    IMAGE_AT_FLAGS = 12,
    IMAGE_AT_INODES = 16,
    IMAGE_AT_ENTRIES = 20,
    IMAGE_AT_EXTENTS = 24,
    IMAGE_AT_CHUNKS = 28,
    IMAGE_AT_SETS = 32,
    IMAGE_AT_XATTRS = 36,
    IMAGE_AT_ENTRY_BYTES = 40,
    IMAGE_AT_XATTR_BYTES = 44,
    IMAGE_AT_TARGET_BYTES = 48,
    IMAGE_AT_TOTAL_BYTES = 52,
    IMAGE_HEADER_BYTES = 56,
};

/* An inode's record. */
enum {
    INODE_AT_MODE = 0,
    INODE_AT_UID = 4,
    INODE_AT_GID = 8,
    INODE_AT_MTIME_NS = 12,
    INODE_AT_MTIME_S = 16,
    INODE_AT_SIZE = 24,  /* of a device node: its minor number, then its major number */
    INODE_AT_COUNT = 32, /* entries of a directory, extents of a regular file */
    INODE_AT_SET = 36,
    INODE_BYTES = 40,
};

enum { ENTRY_AT_BACK = 0, ENTRY_AT_NAME_BYTES = 4, ENTRY_AT_NAME = 5 };
enum { EXTENT_AT_OFFSET = 0, EXTENT_AT_BACK = 8, EXTENT_BYTES = 12 };
enum { CHUNK_AT_RAW_BYTES = 0, CHUNK_AT_CHECK = 4, CHUNK_AT_ID = 12, CHUNK_BYTES = 12 };
enum { XATTR_AT_NAME_BYTES = 0, XATTR_AT_VALUE_BYTES = 1, XATTR_AT_NAME = 5 };

#define IMAGE_NAME_MAX_BYTES 255u
#define IMAGE_TARGET_MAX_BYTES 4095u
#define IMAGE_XATTR_VALUE_MAX_BYTES 65536u /* XATTR_SIZE_MAX, xattr(7) */
#define IMAGE_XATTR_LIST_MAX_BYTES 65536u  /* XATTR_LIST_MAX: a set's names, each with a NUL */

static inline uint32_t image_chunk_bytes(bool ids)
{
    return ids ? CHUNK_BYTES + BLOB_ID_BYTES : CHUNK_BYTES;
}

static inline bool image_is_device(uint32_t mode)
{
    return S_ISCHR(mode) || S_ISBLK(mode);
}

/* What parsing derives, so that everything is found at once; a few u32 an inode and an entry. */
struct blob_image {
    struct buf bytes;
    bool ids;
    uint32_t n_inodes, n_entries, n_extents, n_chunks, n_sets, n_xattrs;
    uint64_t content_bytes;
    const uint8_t *inodes, *entries, *extents, *chunks, *xattrs, *targets; /* the sections */
    uint32_t entry_bytes, xattr_bytes, target_bytes;

    struct image_inode_index {
        uint32_t parent;
        uint32_t nlink;
        uint32_t first; /* its first entry, its first extent, or where its target begins */
    } * inode_index;
    struct image_entry_index {
        uint32_t at; /* in the section */
        uint32_t inode;
    } * entry_index;
    uint32_t *extent_chunk;
    uint32_t *set_first; /* the number of each set's first xattr, and one more at the end */
    uint32_t *xattr_at;
};

/* memcmp order, the shorter one first where one begins the other. */
int image_name_compare(const void *a, size_t a_bytes, const void *b, size_t b_bytes);

#endif
