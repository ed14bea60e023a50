/*
 * What is open: the kernel does not close what its users have open when the mount ends, so that what belongs
 * to each open file is given back then.
 */
#ifndef FS_OPENS_H
#define FS_OPENS_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct fs;
struct opens;

/* Part of what an open file has. */
struct opened {
    struct opened *next, **at; /* at NULL: not on the list */
    void (*end)(struct fs *fs, struct opened *opened);
    uint64_t written; /* the node, when it is open for writing; 0: it is not */
};

int opens_new(struct opens **out) MUST_CHECK;
void opens_free(struct opens *opens);
void opens_add(struct opens *opens, struct opened *opened, void (*end)(struct fs *fs, struct opened *opened));
void opens_remove(struct opens *opens, struct opened *opened); /* at its release */
/* The nodes that are open for writing, some perhaps more than once; `*nodes` is the caller's to free. */
int opens_written(struct opens *opens, uint64_t **nodes, size_t *count) MUST_CHECK;
/* Ends all; when no request comes any more. */
void opens_end(struct opens *opens, struct fs *fs);

#endif
