/* The places of an image's files that need chunks which the store has not, or not well. */
#ifndef ENGINE_IMAGE_NEED_H
#define ENGINE_IMAGE_NEED_H

#include "blob/fsck.h"
#include "blob/image.h"

struct image_need {
    const char *path; /* "etc/passwd": one of the file's names */
    uint64_t offset_bytes;
    struct blob_chunk chunk;
};

/* Calls `each` for every such place, or once a file; what it returns below 0 ends the search and is returned.
 * -ENOMEM. May read chunks. */
int image_needs(const struct blob_image *image, struct blob_fsck *fsck, bool once_a_file,
                int (*each)(void *arg, const struct image_need *need), void *arg) MUST_CHECK;

#endif
