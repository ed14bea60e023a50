/*
 * Writing pieces of files through an io_uring of the caller's thread: the files of a batch are opened, then
 * written, then closed, each step for all of them at once. One thread uses one of these.
 */
#ifndef AGENT_TREE_WRITE_RING_H
#define AGENT_TREE_WRITE_RING_H

#include "tree_write.h"

#define TREE_RING_PIECES 32 /* at most in one batch */

struct tree_ring;

struct tree_piece {
    uint32_t inode;
    uint32_t len_bytes;
    uint64_t offset_bytes;
    const void *bytes; /* must live as long as the call */
};

int tree_ring_new(struct tree_ring **out, struct err *err) MUST_CHECK;
void tree_ring_free(struct tree_ring *ring);

/* Writes `count` pieces, making files that are not there. 0, or -errno with the file's path in the sentence.
 * Blocks. */
int tree_ring_write(struct tree_ring *ring, const struct tree *tree, const struct tree_piece *pieces,
                    unsigned count, struct err *err) MUST_CHECK;

#endif
