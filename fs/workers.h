/*
 * The threads that answer requests, in place of libfuse's loop. One of them leads: it alone reads requests,
 * and answers them itself, so that a client and it go on in turns without a third to wake. It gives the lead
 * away before what may take long, and when requests queue up; a request that takes long unexpectedly has the
 * lead taken away from it within two milliseconds. While one client asks and asks the leader answers on its
 * processor (near.h); while requests of several follow closely it looks for the next one for a moment before
 * it sleeps: on a virtual machine waking up costs more than most answers.
 */
#ifndef FS_WORKERS_H
#define FS_WORKERS_H

#include "base/cleanup.h"
#include "fuse_api.h"

struct workers;

/* `fuse` is borrowed, mounted, and gets O_NONBLOCK. */
int workers_new(struct fuse_session *fuse, struct workers **out) MUST_CHECK;
/* Answers until the session ends; 0 or -errno. Threads: called once; the threads are ended when it returns.
 */
int workers_serve(struct workers *workers) MUST_CHECK;
/* Ends them, once what they are at is answered. Any thread. */
void workers_end(struct workers *workers);
void workers_free(struct workers *workers);

#endif
