/*
 * Answering on the processor of who asks. A client that is woken on another processor than the thread that
 * answers costs an interrupt between the two, which on a virtual machine takes longer than most answers. So
 * while one client asks and asks, the answering thread runs where the client does, as SCHED_IDLE: to the
 * scheduler a processor with nothing else to do is free (sched(7); sched_idle_cpu in the kernel's
 * kernel/sched/fair.c), so the client stays there too, and the two take turns. (Measured on two virtual
 * processors: 13 us a request, against 26 when the thread looks for requests on the other one, and 48 when it
 * sleeps there.)
 *
 * A processor that somebody else needs leaves such a thread next to nothing: whoever uses this must notice
 * and call near_leave.
 */
#ifndef FS_NEAR_H
#define FS_NEAR_H

#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/cleanup.h"

/* Whether a thread of this process may become SCHED_IDLE, and come back. Makes one to try it. */
bool near_is_possible(void);
/* The processor that a thread ran on last, or -errno. Reads a file of /proc: some microseconds. */
int near_processor_of(pid_t client) MUST_CHECK;
/* `thread` is one of this process. 0 or -errno, and then it is as it was. */
int near_go(pid_t thread, int processor) MUST_CHECK;
/* Keeps another thread away from there: awake for a moment only it would have the client moved elsewhere. */
void near_keep_off(pid_t thread, int processor, const cpu_set_t *all);
void near_leave(pid_t thread, const cpu_set_t *all);

#endif
