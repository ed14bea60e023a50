/*
 * When the store is collected (blob/gc.h), on a thread of its own: when somebody asks for it, and by itself
 * some seconds after running snapshots were removed or much was stored, if a quarter of the packs is garbage.
 */
#ifndef ENGINE_COLLECTOR_H
#define ENGINE_COLLECTOR_H

#include "blob/gc.h"
#include "engine/engine.h"

struct collector;

#define COLLECTOR_ROOTS_MAX 4

/* `collected` (may be NULL) is called on the collector's thread after the result has changed. */
int collector_new(struct blob_store *store, void (*collected)(void *arg), void *arg, struct collector **out,
                  struct err *err) MUST_CHECK;
/* Cancels what is under way and answers who waits; refuses what comes. NULL is allowed, of both. */
void collector_stop(struct collector *collector);
void collector_free(struct collector *collector);

/* Who knows objects that must stay; before collector_start. */
void collector_add_roots(struct collector *collector, const struct blob_gc_roots *roots);
/* All who know some were added: from now on it collects. */
void collector_start(struct collector *collector);

/* 0: `done` will be called; -EEXIST: a collection is under way. */
int collector_request(struct collector *collector, uint64_t request, engine_done done, void *arg) MUST_CHECK;
/* Ends that request's collection, soon, and its wait with -EINTR. False: it is none of these. */
bool collector_cancel(struct collector *collector, uint64_t request);
/* A running snapshot was removed. */
void collector_removed(struct collector *collector);

/* The last result. */
void collector_show(struct collector *collector, struct buf *out, int64_t *changed_ns);

#endif
