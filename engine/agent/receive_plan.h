/*
 * Where each chunk of an arriving image comes from and where it goes. Pure: no I/O, no clock, no thread; who
 * shares a plan between threads locks it.
 *
 * A chunk is first looked for in the tree itself (what an interrupted attempt wrote), then in a held image,
 * then wanted from the controller. It is in place when all its places are.
 */
#ifndef AGENT_RECEIVE_PLAN_H
#define AGENT_RECEIVE_PLAN_H

#include "base/buf.h"
#include "base/err.h"
#include "blob/image.h"
#include "tree_write.h"
#include "wire/message.h"

enum plan_source {
    PLAN_WANTED,  /* the controller sends it */
    PLAN_CLAIMED, /* `have` says that it is in the tree: to be checked */
    PLAN_SEEDED,  /* a held image has it: to be checked and copied */
    PLAN_ARRIVED, /* came from the controller, being written */
    PLAN_IN_PLACE,
};

/* A piece of a file that a chunk makes up. */
struct plan_place {
    uint32_t inode;
    uint32_t extent;
};

/* Which places each chunk has: of the new image, or of a held one that it is copied from. */
struct plan_places {
    uint32_t *first; /* chunk -> its first place; one more at the end */
    struct plan_place *place;
    uint32_t count;
};

struct plan_seed {
    uint16_t image; /* index into the plan's list */
    uint32_t chunk; /* of that image */
};

#define PLAN_SEED_IMAGES_MAX 64

struct plan {
    const struct blob_image *image; /* borrowed */
    struct plan_places places;
    uint8_t *source;        /* enum plan_source, by chunk */
    uint8_t *seeded;        /* by chunk: `seed` holds something, whatever its source is now */
    struct plan_seed *seed; /* by chunk */
    uint8_t *done;          /* by place: its bytes are there */
    uint64_t seed_images[PLAN_SEED_IMAGES_MAX];
    unsigned seed_image_count;
    uint32_t left; /* chunks that are not in place */
    uint64_t total_bytes, done_bytes;
};

/* -EBADMSG when the files share their extents, -ENOMEM. */
int plan_places_init(struct plan_places *places, const struct blob_image *image, struct err *err) MUST_CHECK;
void plan_places_fini(struct plan_places *places);

/* All chunks are wanted at first. */
int plan_init(struct plan *plan, const struct blob_image *image, struct err *err) MUST_CHECK;
void plan_fini(struct plan *plan);

/* What stays below a layer (tree_is_kept) is in place. Comes before anything is claimed or seeded. */
void plan_keep(struct plan *plan, const struct tree *tree);

/* Bit c of `have` (little-endian in each byte): chunk c is claimed. A shorter map claims less. */
void plan_claim(struct plan *plan, const uint8_t *have, size_t have_bytes);
/* The map of what is in place, or claimed and not yet looked at. */
int plan_have(const struct plan *plan, struct buf *out) MUST_CHECK;

/*
 * Takes a run of seeds in. `held_chunks`: how many chunks the held image has; a run beyond them is not used.
 * -EBADMSG when the run is beyond the new image. Lengths that differ are for who copies to notice.
 */
int plan_add_seed(struct plan *plan, const struct wire_seed *seed, uint32_t held_chunks,
                  struct err *err) MUST_CHECK;

/* The wanted chunks, as ranges, appended to `out` (wire_put_range); returns how many ranges, or -ENOMEM. */
int64_t plan_wants(const struct plan *plan, struct buf *out) MUST_CHECK;
/* What writing the chunks of a source takes, wherever they are missing. */
uint64_t plan_missing_bytes(const struct plan *plan, enum plan_source source);

/* A chunk came from the controller: 0, or -EBADMSG when it is none that was wanted. */
int plan_arrived(struct plan *plan, uint64_t chunk, struct err *err) MUST_CHECK;

/* The next thing to try for a chunk that was not found where it was looked for. Returns its new source. */
enum plan_source plan_not_found(struct plan *plan, uint32_t chunk);

/* One place is filled. */
void plan_place_done(struct plan *plan, uint32_t place, uint32_t raw_bytes);
/* All places of the chunk are filled. */
void plan_chunk_done(struct plan *plan, uint32_t chunk);

#endif
