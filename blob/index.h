/*
 * Which chunk lies where: a hash table in memory, keyed by the ids' own bytes, which are as good as random.
 * 32 to 36 bytes a chunk. It is many small tables, so that one of them at a time grows, in its place: no
 * growth holds anybody up, and none needs memory beyond what it adds.
 * Not locked: the store does that. What is said of an id touches one table only.
 */
#ifndef BLOB_INDEX_H
#define BLOB_INDEX_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "blob/id.h"

struct index_place {
    uint32_t pack;         /* not 0 */
    uint32_t offset_bytes; /* below 32 MiB */
    uint32_t stored_bytes; /* 1 to BLOB_STORED_MAX_BYTES */
    uint32_t raw_bytes;    /* 1 to BLOB_CHUNK_MAX_BYTES */
};

struct index_table;

struct index {
    struct index_table *tables; /* NULL while nothing was put */
    uint64_t expected;          /* see index_expect */
};

struct index_totals {
    uint64_t count;
    uint64_t raw_bytes, stored_bytes; /* sums over all entries */
};

void index_free(struct index *index);
void index_totals(const struct index *index, struct index_totals *out);
/* So many entries are expected in all (0: it is not known): until then growth takes longer steps, as far as
 * that. Who expects too many wastes that memory. -ENOMEM. */
int index_expect(struct index *index, uint64_t count) MUST_CHECK;
/* Which of `parts` (at most 256) parts of the index an id belongs to: after a first index_expect, threads
 * that work on different parts need no lock between them, nor one for index_expect. */
unsigned index_part_of(const struct blob_id *id, unsigned parts);
/* Makes sure that the next index_put, of this id, cannot fail. -ENOMEM. */
int index_reserve(struct index *index, const struct blob_id *id) MUST_CHECK;
/* Room must have been reserved. An id that is there gets the new place. */
void index_put(struct index *index, const struct blob_id *id, const struct index_place *place);
/* As index_put, but of two places that with the higher pack and offset stays, in whatever order they come. */
void index_put_later(struct index *index, const struct blob_id *id, const struct index_place *place);
bool index_find(const struct index *index, const struct blob_id *id, struct index_place *out);
/* Removes an id, if it lies at that place still. */
bool index_remove(struct index *index, const struct blob_id *id, uint32_t pack, uint32_t offset_bytes);
/* Calls `each` for every entry of a part, which changes nothing meanwhile; what it returns below 0 ends it,
 * and is returned. */
#define INDEX_PARTS 256u
int index_each(const struct index *index, unsigned part,
               int (*each)(void *arg, const struct blob_id *id, const struct index_place *place),
               void *arg) MUST_CHECK;
/* A hint that this id will be looked for soon: who has many calls it a few ids ahead. */
void index_prefetch(const struct index *index, const struct blob_id *id);

#endif
