/*
 * What the makers of images (the builder, captures) collect before an image can be written: chunks and xattr
 * sets, each kept once. Not for several threads at a time.
 */
#ifndef BLOB_IMAGE_TABLES_H
#define BLOB_IMAGE_TABLES_H

#include "blob/image.h"

/*
 * Room for one more in an array of `count` elements: the array, moved perhaps, or NULL (then it is as it
 * was).
 */
void *array_room(void *array, uint32_t count, uint32_t *cap, size_t each_bytes);

/* A table of u32 numbers by hash; the owner of the things compares them. 0: an empty slot. */
struct image_hash {
    uint32_t *slots;
    uint32_t mask;
};

struct image_chunks {
    struct blob_chunk *list;
    uint32_t count, cap;
    struct image_hash hash;
};

/* The chunk's number in the table; or -ENOMEM. */
int64_t image_chunks_add(struct image_chunks *t, const struct blob_chunk *chunk) MUST_CHECK;
void image_chunks_free(struct image_chunks *t);

/* Sets of xattrs, as their bytes in the format. Number 0 is the empty set. */
struct image_sets {
    struct buf bytes;
    struct image_set {
        uint32_t at, len_bytes;
    } * list;
    uint32_t count, cap;
    struct image_hash hash;
};

/*
 * Sorts `xattrs` (changed thereby) and keeps them as a set. Returns its number, counted from 1 (0 for no
 * xattrs), or -ENOMEM, -EFBIG, or -EINVAL for names or values that no file can have.
 */
int64_t image_sets_add(struct image_sets *t, struct blob_xattr *xattrs, size_t count) MUST_CHECK;
void image_sets_free(struct image_sets *t);

#endif
