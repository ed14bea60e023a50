/*
 * Requests that are answered when the engine is done with them: loads, run, unload. They hold no worker.
 *
 * The kernel sends FUSE_INTERRUPT once, for whatever signal comes first, SIGCHLD and SIGWINCH included. So an
 * interrupted request is looked at again and again until it is answered: when a signal that ends a load is
 * pending for the caller, which waits in the kernel all the while, the request is cancelled.
 */
#ifndef FS_WAITS_H
#define FS_WAITS_H

#include "control.h"

struct waits;
struct wait;

int waits_new(struct engine *engine, struct waits **out) MUST_CHECK;
/* Stops its thread. Every request must have been answered: close the engine, or waits_end, before. */
void waits_free(struct waits *waits);
/* Cancels what waits, refuses what comes (-EINTR), and returns when everything was answered or after
 * `timeout_ms`. */
void waits_end(struct waits *waits, int timeout_ms);

/* Makes ready to answer this write later; NULL: no memory. */
struct wait *wait_new(struct waits *waits, const struct control_write *write);
/* The engine's `done`, its `arg` being the wait. */
void wait_done(void *arg, int result, const char *line);
/* What the engine said to the request, and its number when it took it: CONTROL_LATER, or -errno as it was. */
int wait_started(struct wait *wait, int result, uint64_t request) MUST_CHECK;

#endif
