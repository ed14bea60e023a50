/* A growable queue of bytes that is eaten from the front without moving the rest each time. */
#ifndef WIRE_LINK_QUEUE_H
#define WIRE_LINK_QUEUE_H

#include "base/buf.h"

struct link_queue {
    struct buf buf;
    size_t at; /* what lies before it is eaten */
};

static inline size_t link_queue_len(const struct link_queue *q)
{
    return q->buf.len_bytes - q->at;
}

static inline const uint8_t *link_queue_front(const struct link_queue *q)
{
    return q->buf.bytes ? q->buf.bytes + q->at : NULL;
}

/* Room for `more_bytes` at the end (then buf_grew(&q->buf, n)), or NULL. May move what is there. */
uint8_t *link_queue_room(struct link_queue *q, size_t more_bytes);
/* Eats up to `n_bytes`; moves nothing. An emptied queue that had grown large gives its memory back. */
void link_queue_eat(struct link_queue *q, size_t n_bytes);

/* Gives all bytes into `out`, and goes on with the memory that `out` has; what that held is dropped. */
void link_queue_swap(struct link_queue *q, struct buf *out);

#endif
