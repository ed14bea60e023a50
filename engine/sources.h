/*
 * The source snapshots that somebody holds: what changed in them, who writes, and the gate that a capture
 * closes for its last look. engine.h's engine_source_*, engine_change_* and engine_writer_* are made here.
 */
#ifndef ENGINE_SOURCES_H
#define ENGINE_SOURCES_H

#include "blob/gc.h"
#include "catalog.h"
#include "engine/engine.h"

struct sources;

int sources_new(struct catalog *catalog, struct sources **out) MUST_CHECK;
void sources_free(struct sources *sources);

struct engine_source *sources_get(struct sources *sources, const char *name, uint64_t top_inode);

/* `changed` is called with the first change since sources_next_changed gave the source out, under locks of
 * the source: it only wakes somebody. Once, before anything changes. */
void sources_watch(struct sources *sources, void (*changed)(void *arg), void *arg);
/* One that changed since it was given out last; the reference is the caller's. NULL: none. */
struct engine_source *sources_next_changed(struct sources *sources);

/* Of captures that are kept, those stay that were used last, of `bytes_max` in all. */
void sources_trim(struct sources *sources, uint64_t bytes_max);

/* As blob/gc.h's `list`: what captures hold that are kept, and what is prepared, stays. */
int sources_roots(void *sources, blob_gc_root root, void *arg, struct err *err) MUST_CHECK;

#endif
