/*
 * Files that were open for writing under passthrough, and are released: a mapping of theirs may live on, and
 * stores through it change neither ctime nor mtime at once. Such a file is a writer until a read lease on the
 * backing file can be taken (fcntl(2), F_SETLEASE), which the kernel refuses as long as anybody can write to
 * it.
 */
#ifndef FS_LINGERING_H
#define FS_LINGERING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

struct lingering;

/* Part of a file that lingers. */
struct lingers {
    struct lingers *next;
    int fd;           /* of the backing file, open for reading only; the file's own */
    int64_t since_ms; /* CLOCK_MONOTONIC */
    int64_t next_ms;  /* when to look at it again */
};

/* `settled` is called, by any thread, when nobody can write to the file any more. */
int lingering_new(void (*settled)(void *arg, struct lingers *file), void *arg,
                  struct lingering **out) MUST_CHECK;
/* Settles all. */
void lingering_free(struct lingering *lingering);

/* From now on until it has settled, which may be at once. */
void lingering_add(struct lingering *lingering, struct lingers *file);

/* Can nobody write to the file? `fd` is open for reading only. */
bool lingering_is_over(int fd);
/* When to look next at a file that was released at `since_ms`. Pure. */
int64_t lingering_next_ms(int64_t since_ms, int64_t now_ms);

#endif
