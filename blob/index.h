/*
 * Which chunk lies where: a hash table in memory, keyed by the ids' own bytes, which are as good as random.
 * 33 to 39 bytes a chunk: the entries lie densely in one array, the table of open addressing holds their
 * numbers. Not locked: the store does that.
 */
#ifndef BLOB_INDEX_H
#define BLOB_INDEX_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "blob/id.h"

struct index_place {
    uint32_t pack;
    uint32_t offset_bytes; /* below 32 MiB */
    uint32_t stored_bytes; /* 1 to BLOB_STORED_MAX_BYTES */
    uint32_t raw_bytes;    /* 1 to BLOB_CHUNK_MAX_BYTES */
};

struct index_entry;

struct index {
    struct index_entry *entries;
    uint32_t count;
    uint32_t room;                    /* of entries */
    uint32_t *slots;                  /* an entry's number + 1, 0: free */
    uint32_t slot_count;              /* a power of two */
    uint64_t raw_bytes, stored_bytes; /* sums over all entries */
};

void index_free(struct index *index);
/* Makes sure that the next `more` index_put of new ids cannot fail. -ENOMEM. */
int index_reserve(struct index *index, uint32_t more) MUST_CHECK;
/* Room must have been reserved. An id that is there gets the new place. */
void index_put(struct index *index, const struct blob_id *id, const struct index_place *place);
bool index_find(const struct index *index, const struct blob_id *id, struct index_place *out);
/* Removes an id, if it lies at that place still. */
bool index_remove(struct index *index, const struct blob_id *id, uint32_t pack, uint32_t offset_bytes);

#endif
