/* What the tests of captures share: a store and a tree in a directory of their own, and the comparison of an
 * image with the tree that it was made of, byte by byte and attribute by attribute. */
#ifndef TEST_BLOB_CAPTURE_TREE_H
#define TEST_BLOB_CAPTURE_TREE_H

#include <sys/stat.h>

#include "blob/capture.h"

struct bench {
    char path[256];
    int dir, tree; /* fds */
    struct blob_store *store;
};

int bench_setup(void **state);
int bench_teardown(void **state);

/* Captures `tree`: fails the test when that fails. The image is the caller's. */
struct blob_image *bench_capture(struct bench *b, int tree, unsigned threads,
                                 struct blob_capture_result *result);
/* The image of a finished capture. */
struct blob_image *bench_finish(struct bench *b, struct blob_capture *c, struct blob_capture_result *result);
/* Fails the test at the first difference. */
void bench_compare(struct bench *b, const struct blob_image *image, int tree);

/* Files of a tree. Paths are relative to `tree`. */
void put_file(int tree, const char *path, const void *bytes, size_t len_bytes);
void put_text(int tree, const char *path, const char *text);
void put_random(int tree, const char *path, uint64_t seed, uint64_t offset_bytes, size_t len_bytes);
uint64_t inode_of(int tree, const char *path);
void set_xattr(int tree, const char *path, const char *name, const void *value, size_t len_bytes);

#endif
