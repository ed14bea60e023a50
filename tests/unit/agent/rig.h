/* A controller's side of one load, for tests of the receive: it sends the descriptor, the seeds and the
 * chunks that are wanted, within the credit, and may do so badly. */
#ifndef TESTS_AGENT_RIG_H
#define TESTS_AGENT_RIG_H

#include "images.h"
#include "receive.h"
#include "tree_image.h"

struct rig_faults {
    uint32_t stop_after; /* chunks; then the load is cancelled (0: never) */
    bool bad_content;    /* of the first chunk that is sent */
    bool wrong_load;     /* each chunk is first sent with another load's number */
    bool out_of_range;   /* a chunk beyond the image's last */
    bool unwanted;       /* a chunk twice */
    bool long_descriptor;
    bool bad_descriptor;
    bool bad_seeds; /* out of range */
    bool overdraw;  /* chunks although there is no credit */
};

struct rig {
    char path[128];
    int dirfd;
    struct images *images;
    unsigned keep;

    /* What the last load came to. */
    int result;
    struct err err;
    uint32_t sent_chunks;
    uint64_t sent_bytes, done_bytes, total_bytes;
    bool cancelled;
};

/* A directory of its own below TMPDIR, or below `parent`. */
void rig_open(struct rig *rig, const char *parent);
void rig_reopen(struct rig *rig); /* as after a restart */
void rig_close(struct rig *rig);

/* Loads `t` as image `number`. `seed`: an image that is held as `seed_number`, or NULL. Returns rig->result.
 */
int rig_load(struct rig *rig, uint64_t number, const struct tree_image *t, uint64_t seed_number,
             const struct tree_image *seed, const struct rig_faults *faults);

/* The tree of a complete image, of a layer an overlay of its stack (mounted nowhere, read-only): the caller's
 * fd. */
int rig_tree(const struct rig *rig, uint64_t number);
/* How many trees it is stacked of: 1 is a whole tree. */
unsigned rig_depth(const struct rig *rig, uint64_t number);

#endif
