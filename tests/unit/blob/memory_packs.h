/* Packs in memory, as an object store would have them: sealed ones are put whole, those that grow are kept
 * apart, and there are no fds. They outlive the store that is opened over them. */
#ifndef TEST_BLOB_MEMORY_PACKS_H
#define TEST_BLOB_MEMORY_PACKS_H

#include "base/buf.h"
#include "pack_io.h"

#define MEMORY_PACKS_MAX 64

struct memory_pack {
    uint32_t number;
    bool sealed;
    struct buf bytes;
};

struct memory_packs {
    pthread_mutex_t lock;
    struct memory_pack packs[MEMORY_PACKS_MAX]; /* by number */
    unsigned count;
    unsigned puts, reads;
    bool full; /* nothing more can be written: -ENOSPC */
    /* Reads of a pack that touch what lies from one of these places up to the other are -EIO. */
    struct {
        uint32_t pack;
        uint64_t from, to;
    } spots[2];
};

void memory_packs_init(struct memory_packs *m);
void memory_packs_free(struct memory_packs *m);
struct pack_io memory_packs_io(struct memory_packs *m);

#endif
