/*
 * A set of chunk ids that is compact: 8 bytes of each are kept, in a table that is at most three quarters
 * full. Two ids of which these are the same count as one, which is as rare as it is harmless here: garbage
 * that is taken for something else stays.
 */
#ifndef BLOB_ID_SET_H
#define BLOB_ID_SET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "blob/id.h"

struct id_set {
    uint64_t *slots; /* 0: free */
    size_t room;     /* a power of two, or 0 */
    size_t count;
};

/* 0 or -ENOMEM: the set is as it was. */
int id_set_add(struct id_set *set, const struct blob_id *id) MUST_CHECK;
bool id_set_has(const struct id_set *set, const struct blob_id *id);
void id_set_free(struct id_set *set);

#endif
