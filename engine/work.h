/*
 * A thread that does one thing after the other, for what would hold up the loop: commits, planning. Each
 * work's `run` is called on that thread, then its `finished` on the loop's thread.
 */
#ifndef ENGINE_WORK_H
#define ENGINE_WORK_H

#include "base/err.h"
#include "base/loop.h"

struct work_queue;

struct work {
    void (*run)(struct work *work);
    void (*finished)(struct work *work);
    struct work *next;     /* the queue's own, as what follows */
    struct loop_task task; /* brings it back to the loop */
};

/* `name`: the thread's, for people. */
int work_queue_new(struct loop *loop, const char *name, struct work_queue **out, struct err *err) MUST_CHECK;
/* Nothing may be under way. Joins the thread. NULL is allowed. */
void work_queue_free(struct work_queue *queue);

/* In the order of submission. Any thread. `work` must live until `finished` was called. */
void work_submit(struct work_queue *queue, struct work *work);

#endif
