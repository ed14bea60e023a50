/* What an engine is made of. engine.c opens and closes the parts in this order; engine.h's functions reach
 * them here. */
#ifndef ENGINE_PARTS_H
#define ENGINE_PARTS_H

#include "blob/store.h"
#include "captures.h"
#include "catalog.h"
#include "checker.h"
#include "collector.h"
#include "eager.h"
#include "engine/engine.h"
#include "fleet.h"
#include "runnings.h"
#include "sources.h"

struct engine {
    int store_fd; /* STORE; STORE/lock is held through lock_fd */
    int lock_fd;
    int snapshots_fd; /* STORE/snapshots */
    struct blob_store *store;
    struct blob_cache *cache; /* of expanded chunks, for engine_tree_read */
    struct catalog *catalog;
    struct runnings *runnings;
    struct sources *sources;
    struct captures *captures;
    struct eager *eager; /* NULL: it is switched off */
    struct fleet *fleet;
    struct collector *collector;
    struct checker *checker;
    struct blob_gc_roots roots[2]; /* of collections */
    unsigned keep;                 /* running snapshots of a name, 0: all */
};

/* runnings_list.c. After a new one of that source: removes unused ones beyond those that are to be kept. A
 * captures_made. */
void runnings_keep_newest(void *engine, const char *name);

#endif
