/*
 * Programs that opened a file of a source for writing through a controller that has ended: under FUSE
 * passthrough they go on writing to the backing file, past everybody. Whoever is still there when this
 * controller starts can only go, so a tree that has none once has none for good.
 */
#ifndef ENGINE_STRANGERS_H
#define ENGINE_STRANGERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A file below `tree_fd` that somebody has open for writing, or has mapped so: 1 and its path, 0: none. */
int stranger_find(int tree_fd, char *path, size_t path_bytes) MUST_CHECK;
/* Was the tree there at that moment? Then it may have some. */
bool strangers_possible(int tree_fd, int64_t started_ns);

#endif
