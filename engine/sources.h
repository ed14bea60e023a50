/*
 * The source snapshots that somebody holds: what changed in them, who writes, and the gate that a capture
 * closes for its last look. engine.h's engine_source_*, engine_change_* and engine_writer_* are made here.
 */
#ifndef ENGINE_SOURCES_H
#define ENGINE_SOURCES_H

#include "catalog.h"
#include "engine/engine.h"

struct sources;

int sources_new(struct catalog *catalog, struct sources **out) MUST_CHECK;
void sources_free(struct sources *sources);

struct engine_source *sources_get(struct sources *sources, const char *name, uint64_t top_inode);

#endif
