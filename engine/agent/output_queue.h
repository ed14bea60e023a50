/* The instance's output on its way to the controller: a bounded queue of bytes. When it is full the oldest
 * go, and a line says how many. Pure. */
#ifndef AGENT_OUTPUT_QUEUE_H
#define AGENT_OUTPUT_QUEUE_H

#include "base/buf.h"

#define OUTPUT_QUEUE_BYTES (256u << 10)

struct output_queue {
    struct buf bytes;
    uint64_t dropped_bytes; /* before what is queued */
};

void output_queue_put(struct output_queue *queue, const void *bytes, size_t len_bytes);
/* The next piece, at most `max_bytes` (at least 128), into `out`, which is emptied first; false: nothing is
 * queued. */
bool output_queue_take(struct output_queue *queue, size_t max_bytes, struct buf *out);
void output_queue_free(struct output_queue *queue);

#endif
