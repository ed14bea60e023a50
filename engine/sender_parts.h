/* What sender.c and sender_read.c share: the buffers, and a sender's queue of reads. */
#ifndef ENGINE_SENDER_PARTS_H
#define ENGINE_SENDER_PARTS_H

#include "sender.h"

#define BATCH_CHUNKS 256

struct batch_chunk {
    uint32_t chunk;
    uint32_t offset_bytes; /* in the buffer */
    uint32_t record_bytes;
};

/* One buffer and the read into it. */
struct batch {
    struct loop_op op;
    struct sender_pool *pool;
    struct sender *owner; /* NULL: nobody waits for it any more */
    struct batch *next;   /* of the pool's free ones, or of the owner's in their order */
    uint8_t *bytes;
    unsigned index;
    int fd;
    uint64_t pack;
    uint64_t offset_bytes;
    uint32_t len_bytes, got_bytes;
    uint32_t payload_bytes; /* of its chunks: the credit that it took */
    int result;
    bool done;
    uint32_t count;
    struct batch_chunk chunks[BATCH_CHUNKS];
};

struct sender_pool {
    struct loop *loop;
    struct blob_store *store;
    void *region;
    struct batch *batches;
    struct batch *free;
    unsigned busy;
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
    struct batch *first, **last; /* reads in the order of the chunks */
    struct err err;
};

/* Starts one read of the chunks that come next: 1, 0 when it has to wait, or -errno with s->err. */
int sender_read_next(struct sender *s) MUST_CHECK;
/* Hands on what has been read, in order: 1 when something was, 0, or -errno with s->err (-EPIPE: closed). */
int sender_hand_on(struct sender *s) MUST_CHECK;
/* Nobody waits for its reads any more. */
void sender_let_go(struct sender *s);

#endif
