/* A test's own way from a directory tree to an image, and the content of its chunks: simple, all in memory.
 * It shares nothing with blob/'s capture. */
#ifndef TESTS_TREE_IMAGE_H
#define TESTS_TREE_IMAGE_H

#include "blob/image.h"

struct tree_image {
    struct blob_image *full; /* with ids */
    struct buf stripped;
    struct blob_id *ids; /* the content of ids[i] is contents[i] */
    struct buf *contents;
    size_t count, cap;
};

/* Of the tree below `dirfd`; fails the test when it cannot. */
void tree_image_make(int dirfd, struct tree_image *out);
void tree_image_free(struct tree_image *t);
/* The content of a chunk. */
const struct buf *tree_image_chunk(const struct tree_image *t, uint32_t chunk);

/* Makes a tree with one of everything below the empty directory `dirfd`; `version` 2 is a little changed.
 * As root also what only root can make. */
void tree_sample_make(int dirfd, unsigned version);

#endif
