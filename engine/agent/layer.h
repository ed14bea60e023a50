/*
 * What of an image differs from another one, its base: so much of it a layer above the base's tree holds
 * (Documentation/filesystems/overlayfs.rst: upper and lower objects, whiteouts and opaque directories). Pure.
 *
 * An inode that is no directory stays below when the base has an equal one under exactly the same paths. A
 * directory is in the layer when its attributes differ, when anything in it is in the layer, or when a name
 * of the base is gone from it; the root always is.
 */
#ifndef AGENT_LAYER_H
#define AGENT_LAYER_H

#include "tree_write.h"

#define LAYER_NO_MATCH UINT32_MAX

struct layer {
    /* inode -> the base's equal inode; of a directory: the base's directory of the same path, equal or not */
    uint32_t *match;
    uint8_t *flags; /* by inode: TREE_KEPT and TREE_OPAQUE, for tree.flags */
    uint32_t equal_inodes;
    uint64_t equal_bytes; /* of content */
};

/* -ENOMEM. Fills all but the flags. */
int layer_compare(const struct tree *tree, const struct tree *base, struct layer *out) MUST_CHECK;
void layer_fini(struct layer *layer);

/* Whether a layer is worth it: at least half of the content stays below. Never when it would hide a directory
 * that the lowest layer of an instance stands in for (overlay.h). */
bool layer_pays(const struct layer *layer, const struct tree *tree, const struct tree *base);

/* Takes away matches of what lies in a directory that has none (any more), and counts anew. */
void layer_prune(struct layer *layer, const struct tree *tree);
/* Decides from the matches what is in the layer. */
void layer_settle(struct layer *layer, const struct tree *tree, const struct tree *base);

/* The next name, from entry `*at` of the base's directory on, that a directory of the image does not have;
 * false: none. `*at` moves behind it. */
bool layer_next_gone(const struct tree *tree, uint32_t dir, const struct tree *base, uint32_t base_dir,
                     uint32_t *at, struct blob_entry *out);

#endif
