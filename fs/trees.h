/* The trees of running snapshots that are open: those in use, and the last few that were. */
#ifndef FS_TREES_H
#define FS_TREES_H

#include "engine/engine.h"

struct trees;

struct open_tree {
    uint32_t running;
    struct engine_tree *tree; /* held */
    uint32_t users;
    uint64_t used; /* when, in uses of the table */
    struct open_tree *next;
};

int trees_new(struct engine *engine, struct trees **out) MUST_CHECK;
/* Gives back what it holds of the engine: nobody uses a tree, or will. */
void trees_end(struct trees *trees);
void trees_free(struct trees *trees);

/* In use by the caller until tree_put. -ESTALE: there is no such running snapshot (any more). Blocks. */
int tree_get(struct trees *trees, uint32_t running, struct open_tree **out) MUST_CHECK;
void tree_put(struct trees *trees, struct open_tree *tree);

/* Running snapshots were removed: trees of such that nobody uses are let go, others after their last use, so
 * that a collection finds their chunks unused. */
void trees_forget_removed(struct trees *trees);

#endif
