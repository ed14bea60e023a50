/*
 * Putting the content of a tree's files in place, piece by piece. A file that is one piece, in a fresh tree
 * (tree_is_fresh), is made, written and given its attributes in one go; it needs no tree_finish_files.
 *
 * Plain system calls: opens that create are handed to a thread of the kernel's by io_uring, which took a
 * quarter more of the processors for a tree of 21,000 files than openat(2), pwrite(2) and close(2) do.
 *
 * What was opened last stays open for the next piece, which mostly belongs to the same file or directory. One
 * thread uses one of these.
 */
#ifndef AGENT_TREE_PUT_H
#define AGENT_TREE_PUT_H

#include "tree_write.h"

struct tree_put {
    const struct tree *tree; /* borrowed */
    uint32_t dir, inode;     /* what dir_fd and fd are */
    int dir_fd, fd;          /* -1: none */
    bool modes;              /* this thread's umask takes nothing from the modes of what it makes */
};

struct tree_piece {
    uint32_t inode;
    uint32_t len_bytes;
    uint64_t offset_bytes;
    const void *bytes;
};

/* For the calling thread, whose umask becomes 0 and its own. */
void tree_put_open(struct tree_put *put, const struct tree *tree);
void tree_put_close(struct tree_put *put);

/* Writes a piece, making the file when it is not there. 0, or -errno with the file's path in the sentence.
 * Blocks. */
int tree_put_piece(struct tree_put *put, const struct tree_piece *piece, struct err *err) MUST_CHECK;

#endif
