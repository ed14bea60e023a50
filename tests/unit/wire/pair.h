/* Two links back to back, for the tests: bytes go over whole, or in pieces of chosen lengths. */
#ifndef TEST_WIRE_PAIR_H
#define TEST_WIRE_PAIR_H

#include "wire/link.h"

/* What the controller's end knows: keys by id. */
struct keyring {
    struct wire_key current, before;
    int count;   /* of candidates; 0: no slot has that id */
    int lookups; /* how often it was asked */
};

struct pair {
    struct wire_link *agent, *controller;
    struct keyring ring;
};

/* A link for each end; the agent has `key`, the controller's ring has `current` and, when not NULL, `before`.
 */
void pair_open(struct pair *pair, const struct wire_key *key, const struct wire_key *current,
               const struct wire_key *before);
void pair_close(struct pair *pair);

/* Carries what `from` has to `to`, `piece_bytes` at a time (0: all at once). The result of the last feed. */
int carry(struct wire_link *from, struct wire_link *to, size_t piece_bytes, struct err *err);
/* Carries both ways until nothing moves. The first negative result, or 0; `err` is of that. */
int settle(struct pair *pair, size_t piece_bytes, struct err *err);

int ring_find(void *ring, const char *id, struct wire_key keys[2]);

#endif
