/*
 * Directories being read. The kernel opens no directory here (it was told so: FUSE_CAP_NO_OPENDIR_SUPPORT),
 * it asks for what follows an offset; so where a reader stopped is kept, for the case that it goes on there.
 * Without a cursor a reader is right too, only slower: offsets are those of the backing file system.
 */
#ifndef FS_CURSORS_H
#define FS_CURSORS_H

#include <sys/types.h>

#include <stdint.h>

#include "base/cleanup.h"

struct cursors;

struct cursor {
    struct cursor *older; /* the table's own */
    uint64_t inode;       /* of the directory, as the kernel names it */
    int fd;               /* owned */
    off_t next;           /* the offset after what was last taken out of the buffer */
    size_t at, len_bytes; /* in the buffer */
    uint8_t buffer[];     /* CURSOR_BUFFER_BYTES */
};
enum { CURSOR_BUFFER_BYTES = 32768 };

/* The oldest goes when there are more than `max`. Threads: each call takes a lock for a moment. */
int cursors_new(size_t max, struct cursors **out) MUST_CHECK;
void cursors_free(struct cursors *cursors);

/* Of a directory just opened; `fd` is taken over, on an error too. Freed by cursor_keep or cursor_free. */
int cursor_new(int fd, uint64_t inode, struct cursor **out) MUST_CHECK;
void cursor_free(struct cursor *cursor);
/* The one that stopped there, the caller's from now on; NULL: there is none. */
struct cursor *cursor_take(struct cursors *cursors, uint64_t inode, off_t off);
/* Takes it over, for the next reader, whoever that is. */
void cursor_keep(struct cursors *cursors, struct cursor *cursor);
/* The directory changes: what was read ahead of it is for nobody any more. Comes before the change; the
 * kernel has nobody read a directory that it changes. */
void cursors_drop(struct cursors *cursors, uint64_t inode);

#define OWNED_CURSOR __attribute__((cleanup(cleanup_cursor)))
static inline void cleanup_cursor(struct cursor **cursor)
{
    cursor_free(*cursor);
}

#endif
