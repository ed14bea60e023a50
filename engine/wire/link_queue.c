#include "link_queue.h"

#include <string.h>

/* What an idle queue may keep: more than a turn of bulk work needs, little enough for a thousand of them. */
#define KEEP_BYTES ((size_t)1 << 20)

uint8_t *link_queue_room(struct link_queue *q, size_t more_bytes)
{
    /* Moved only when at least as much was eaten as is moved: each byte is moved once at most on average. */
    if (q->at > 0 && q->at >= link_queue_len(q)) {
        buf_drop(&q->buf, q->at);
        q->at = 0;
    }
    return buf_room(&q->buf, more_bytes);
}

void link_queue_eat(struct link_queue *q, size_t n_bytes)
{
    size_t len_bytes = link_queue_len(q);
    q->at += n_bytes < len_bytes ? n_bytes : len_bytes;
    if (q->at < q->buf.len_bytes)
        return;
    q->at = 0;
    q->buf.len_bytes = 0;
    if (q->buf.cap_bytes > KEEP_BYTES)
        buf_free(&q->buf);
}

void link_queue_swap(struct link_queue *q, struct buf *out)
{
    struct buf old = *out;
    buf_drop(&q->buf, q->at);
    *out = q->buf;
    old.len_bytes = 0;
    old.error = 0;
    q->buf = old;
    q->at = 0;
    if (q->buf.cap_bytes > KEEP_BYTES)
        buf_free(&q->buf);
}
