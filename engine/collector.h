/*
 * When the store is collected (blob/gc.h), on a thread of its own: when somebody asks for it, and by itself
 * some seconds after running snapshots were removed or much was stored, if a quarter of the packs is garbage.
 */
#ifndef ENGINE_COLLECTOR_H
#define ENGINE_COLLECTOR_H

#include "blob/gc.h"
#include "engine/engine.h"

struct collector;

/* Called on the collector's thread. */
struct collector_events {
    void (*collected)(void *arg); /* the result has changed */
    /* What people call that object; false: nobody knows. */
    bool (*name)(void *arg, const struct blob_id *object, char out[RUNNING_NAME_MAX_BYTES + 1]);
    void *arg;
};

int collector_new(struct blob_store *store, const struct collector_events *events, struct collector **out,
                  struct err *err) MUST_CHECK;
/* Cancels what is under way and answers who waits; refuses what comes. NULL is allowed, of both. */
void collector_stop(struct collector *collector);
void collector_free(struct collector *collector);

/* From now on it collects. `roots` are all who know objects that must stay; borrowed. */
void collector_start(struct collector *collector, const struct blob_gc_roots *roots, size_t count);

/* 0: `done` will be called; -EEXIST: a collection is under way. */
int collector_request(struct collector *collector, uint64_t request, engine_done done, void *arg) MUST_CHECK;
/* Ends that request's collection, soon, and its wait with -EINTR. False: it is none of these. */
bool collector_cancel(struct collector *collector, uint64_t request);
/* A running snapshot was removed. */
void collector_removed(struct collector *collector);

/* The last result. */
int64_t collector_ended_ns(struct collector *collector); /* 0: there was none */
void collector_show(struct collector *collector, struct buf *out, int64_t *changed_ns);

#endif
