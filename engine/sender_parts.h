/* What sender.c and sender_read.c share: the blocks, and what a sender takes out of them. */
#ifndef ENGINE_SENDER_PARTS_H
#define ENGINE_SENDER_PARTS_H

#include "pack_blocks.h"
#include "sender.h"

#define BATCH_CHUNKS 256
#define AHEAD_CHUNKS 256 /* that a read takes into account */
#define STRANGERS_MAX 8  /* that lie elsewhere, one after the other: then it takes no more into account */

struct batch_chunk {
    uint32_t chunk;
    uint32_t offset_bytes; /* in the block */
    uint32_t record_bytes;
};

/* What one sender takes out of a block. */
struct batch {
    struct batch *next; /* of the sender, in the order of the chunks */
    struct pack_block *block;
    uint32_t bytes; /* of its records */
    uint32_t count;
    struct batch_chunk chunks[BATCH_CHUNKS];
};

struct sender_pool {
    struct loop *loop;
    struct blob_store *store;
    struct pack_blocks *blocks;
    struct batch *free;     /* for the next one */
    struct sender *senders; /* whose turn is next is first */
    bool pumping, again;
};

struct sender {
    struct sender_pool *pool;
    struct sender *next;
    struct sender_events events;
    uint64_t load;
    const struct plan *plan;
    bool begun, dead, stopped;
    size_t descriptor_off_bytes;
    uint32_t seeds_sent;
    bool seeds_done;

    struct wire_range *ranges; /* wanted, from `ranges_first` on; the first one shrinks as it is read */
    size_t ranges_first, ranges_count, ranges_cap;
    uint64_t credit_bytes; /* not taken by a read yet */
    uint64_t reading_bytes;
    uint64_t sent_bytes;
    struct batch *first, **last;
    struct err err;
};

/* Starts one read of the chunks that come next: 1, 0 when it has to wait, or -errno with s->err. */
int sender_read_next(struct sender *s) MUST_CHECK;
/* Hands on what has been read, in order: 1 when something was, 0, or -errno with s->err (-EPIPE: closed). */
int sender_hand_on(struct sender *s) MUST_CHECK;
/* It waits for no block any more. */
void sender_let_go(struct sender *s);
void sender_batches_free(struct sender_pool *pool);

#endif
