/*
 * A thread for what would block the loop: jobs are run one after another in the order they were put, and each
 * one's `done` is called on the loop's thread.
 */
#ifndef AGENT_WORKER_H
#define AGENT_WORKER_H

#include "base/err.h"
#include "base/loop.h"

struct worker;

/* The caller's own object; it must stay where it is until `done` was called, or the worker was freed. */
struct worker_job {
    void (*run)(struct worker_job *job);  /* on the worker's thread */
    void (*done)(struct worker_job *job); /* on the loop's thread; may free the job, or put it again */
    struct worker_job *next;              /* the worker's own */
};

int worker_new(struct loop *loop, struct worker **out, struct err *err) MUST_CHECK;
void worker_put(struct worker *worker, struct worker_job *job);

/*
 * Waits for the job that runs; those that wait are not run, and no `done` is called any more. On the loop's
 * thread. Blocks.
 */
void worker_free(struct worker *worker);

#endif
