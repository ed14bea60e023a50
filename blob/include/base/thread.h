/* Threads that live on after who made them has gone on. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

#include "base/cleanup.h"

/* As pthread_create(3), but the thread is scheduled as the process's first one is, on its processors, not as
 * the caller, who may be so only for the moment (fs/near.h). 0 or -errno. */
int thread_start(pthread_t *out, void *(*run)(void *arg), void *arg) MUST_CHECK;

#endif
