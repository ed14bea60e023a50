/* Held images as seeds of an arriving one: chunks read from their pristine trees, and whole files cloned
 * where the file system shares blocks (FICLONE, ioctl_ficlonerange(2)). What is read is checked by the
 * caller. */
#ifndef AGENT_SEED_COPY_H
#define AGENT_SEED_COPY_H

#include "images.h"
#include "receive_plan.h"
#include "tree_write.h"

struct seed_source {
    uint64_t number;
    const struct blob_image *image; /* borrowed: the image is pinned */
    int stack[IMAGES_STACK_MAX];    /* its tree or layer, and what that stands on */
    unsigned depth;
    struct tree tree; /* tree.fd is stack[0] */
    struct plan_places places;
    bool shared; /* all but the places is another's */
};

/* Holds the image (images_pin) until seed_source_close. */
int seed_source_open(struct images *images, uint64_t number, struct seed_source *out,
                     struct err *err) MUST_CHECK;
/* Where its chunks lie, which seed_read and seed_find_clones need. */
int seed_source_index(struct seed_source *source, struct err *err) MUST_CHECK;
/* Another of the same, without places, to be closed before it. */
void seed_source_share(const struct seed_source *of, struct seed_source *out);
void seed_source_close(struct images *images, struct seed_source *source);

/* The file that was read last stays open for the next chunk of it. One thread uses one of these. */
struct seed_reader {
    const struct seed_source *source; /* NULL at first */
    uint32_t inode;
    int fd;
};
void seed_reader_close(struct seed_reader *reader);
int seed_read_file(struct seed_reader *reader, const struct seed_source *source, uint32_t inode,
                   uint64_t offset_bytes, void *raw, uint32_t raw_bytes) MUST_CHECK;
/* A chunk of the held image, from its first place. -ENOENT when the image has it in no file, -EBADMSG when
 * its length is another. */
int seed_read(struct seed_reader *reader, const struct seed_source *source, uint32_t chunk, void *raw,
              uint32_t raw_bytes) MUST_CHECK;

/* A file of the new image all of whose chunks are seeded by one held file: same size, same offsets. */
struct seed_clone {
    uint32_t inode; /* of the new image */
    uint16_t source;
    uint32_t from; /* the held image's inode */
};
/* Finds them all, appended to `out` as struct seed_clone. 0 or -ENOMEM. */
int seed_find_clones(const struct plan *plan, const struct seed_source *sources, struct buf *out) MUST_CHECK;

/* Whether files below `dirfd` can share blocks. */
bool seed_can_clone(int dirfd);
/* Checks the held file's chunks against the new image, using `raw` (BLOB_CHUNK_MAX_BYTES), and clones it.
 * -ENODATA when they do not match, so that the chunks must come one by one. */
int seed_clone_file(struct seed_reader *reader, const struct seed_source *sources, const struct tree *tree,
                    const struct seed_clone *clone, void *raw) MUST_CHECK;

#endif
