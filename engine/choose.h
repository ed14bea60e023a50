/* Which blade an `any` load takes. Pure. */
#ifndef ENGINE_CHOOSE_H
#define ENGINE_CHOOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct candidate {
    const char *name;
    uint64_t missing_bytes; /* of the image, on this blade */
    int64_t ready_ns;       /* ready since */
    uint32_t slot;
    bool available; /* connected, ready, taken by no load, not tried before */
};

/* The available one that lacks the fewest bytes; of equals the one that waits longest, then the first by
 * name. Returns its index, or -1. */
int choose_blade(const struct candidate *candidates, size_t count);

#endif
