/*
 * Which chunks of an image are in images that a blade holds already, as runs of chunks (WIRE_SEEDS). Pure:
 * images are seen as tables of ids.
 */
#ifndef ENGINE_SEEDS_H
#define ENGINE_SEEDS_H

#include "base/buf.h"
#include "blob/image.h"

struct seeds_table {
    uint64_t number; /* of the image; not used of the target */
    uint32_t count;  /* chunks */
    void (*chunk)(const void *of, uint32_t i, struct blob_chunk *out);
    const void *of;
};

/* A table over a parsed image with ids. */
struct seeds_table seeds_table_of(uint64_t number, const struct blob_image *image);

struct seeds_result {
    uint32_t seeds; /* records of wire_put_seed that were appended */
    uint32_t missing_chunks;
    uint64_t missing_bytes; /* expanded */
};

/* Appends the seeds to `out` (NULL: only counts). 0 or -ENOMEM. */
int seeds_find(const struct seeds_table *target, const struct seeds_table *held, size_t held_count,
               struct buf *out, struct seeds_result *result) MUST_CHECK;

#endif
