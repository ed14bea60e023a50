/*
 * Looking at what of a base would stay below a layer: whether each type, owner, mode, size and mtime in its
 * trees is what its image says. Contents are not read. It is most of the time that a small change takes, and
 * is done by a few threads.
 */
#ifndef AGENT_LAYER_LOOK_H
#define AGENT_LAYER_LOOK_H

#include "layer.h"
#include "seed_copy.h"

/* Takes away the matches of what is not there as the base's image says. Returns how many, or -errno; -ESTALE
 * when the top directory itself is not. Blocks. */
int64_t layer_look(const struct tree *tree, const struct seed_source *base, struct layer *layer) MUST_CHECK;

#endif
