#include "output_queue.h"

#include <inttypes.h>

static void drop(struct output_queue *q, size_t n)
{
    buf_drop(&q->bytes, n);
    q->dropped_bytes += n;
}

void output_queue_put(struct output_queue *queue, const void *bytes, size_t len_bytes)
{
    const uint8_t *at = bytes;
    if (len_bytes > OUTPUT_QUEUE_BYTES) {
        drop(queue, queue->bytes.len_bytes);
        queue->dropped_bytes += len_bytes - OUTPUT_QUEUE_BYTES;
        at += len_bytes - OUTPUT_QUEUE_BYTES;
        len_bytes = OUTPUT_QUEUE_BYTES;
    }
    if (queue->bytes.len_bytes + len_bytes > OUTPUT_QUEUE_BYTES) {
        /* More than must go, so that the moving of the rest does not come with every line. */
        size_t over = queue->bytes.len_bytes + len_bytes - OUTPUT_QUEUE_BYTES + OUTPUT_QUEUE_BYTES / 8;
        drop(queue, over < queue->bytes.len_bytes ? over : queue->bytes.len_bytes);
    }
    size_t before = queue->bytes.len_bytes;
    buf_put(&queue->bytes, at, len_bytes);
    if (queue->bytes.error) {
        queue->bytes.error = 0;
        queue->bytes.len_bytes = before;
        queue->dropped_bytes += len_bytes;
    }
}

bool output_queue_take(struct output_queue *queue, size_t max_bytes, struct buf *out)
{
    out->len_bytes = 0;
    if (queue->dropped_bytes) {
        buf_printf(out, "[bladed: %" PRIu64 " bytes of output left out here: the link was too slow]\n",
                   queue->dropped_bytes);
        queue->dropped_bytes = 0;
    }
    size_t n = max_bytes > out->len_bytes ? max_bytes - out->len_bytes : 0;
    if (n > queue->bytes.len_bytes)
        n = queue->bytes.len_bytes;
    buf_put(out, queue->bytes.bytes, n);
    buf_drop(&queue->bytes, n);
    return out->len_bytes > 0 && !out->error;
}

void output_queue_free(struct output_queue *queue)
{
    buf_free(&queue->bytes);
    queue->dropped_bytes = 0;
}
