/*
 * The snapshots that are in use here: the engine's object of each, found by the inode number of its top
 * directory. A top lives while some node or open file of its snapshot does.
 */
#ifndef FS_TOPS_H
#define FS_TOPS_H

#include "engine/engine.h"

struct tops;

struct top {
    uint64_t inode;               /* of the top directory */
    struct engine_source *source; /* held */
    struct tops *tops;
    struct top *next;
    uint32_t users;
};

int tops_new(struct engine *engine, struct tops **out) MUST_CHECK;
void tops_free(struct tops *tops); /* after every top was put */

/* The top of /snapshots/<name>; NULL: no memory. */
struct top *top_get(struct tops *tops, const char *name, uint64_t inode);
/* Its directory was removed: the number may come back as that of another. Blocks. */
void top_removed(struct top *top);
struct top *top_ref(struct top *top);
void top_put(struct top *top);
#define OWNED_TOP __attribute__((cleanup(cleanup_top)))

static inline void cleanup_top(struct top **top)
{
    if (*top)
        top_put(*top);
}

#endif
