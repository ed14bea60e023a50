/*
 * Captures of source snapshots: each request for a name ends with the running snapshot that equals the source
 * at a moment after the request. Requests for one name that come while its capture is under way join it. Runs
 * on threads of its own.
 */
#ifndef ENGINE_CAPTURES_H
#define ENGINE_CAPTURES_H

#include "blob/store.h"
#include "catalog.h"
#include "engine/engine.h"
#include "runnings.h"
#include "sources.h"

struct captures;

int captures_new(struct blob_store *store, struct catalog *catalog, struct runnings *runnings,
                 struct sources *sources, int snapshots_fd, int level, struct captures **out,
                 struct err *err) MUST_CHECK;
/* `made` is called after a capture has made a new running snapshot of that source, on a thread of captures.
 * NULL: from when this returns nobody is told. */
typedef void (*captures_made)(void *arg, const char *name);
void captures_watch(struct captures *captures, captures_made made, void *arg);
/* Cancels what is under way, calls every `done`, joins the threads. */
void captures_free(struct captures *captures);

/*
 * Called once, on a thread of captures. `running`: its id, held once for the receiver (runnings_release); 0
 * on failure, with `err`: -ENOENT, -ETXTBSY (names the file), -ECANCELED, -ENOSPC, -EIO, -EINVAL, ...
 */
typedef void (*captures_done)(void *arg, uint32_t running, const struct err *err);

/* Returns the request's number (never 0), or 0 when there is no memory (`done` is not called then). */
uint64_t captures_request(struct captures *captures, const char *name, captures_done done, void *arg);
/* Ends that request with -ECANCELED, soon, and the capture when nobody else waits for it. Unknown: ignored.
 */
void captures_cancel(struct captures *captures, uint64_t request);

#endif
