/*
 * One source snapshot that somebody holds, as sources.c (its life, changes, writers) and source_hold.c (what
 * a capture does to it) see it. A capture:
 *
 *   source_capture_begin -> blob_capture_scan -> { source_hold -> look -> source_let_go } ... ->
 *   source_commit_begin -> the catalog -> source_commit_end -> source_capture_end
 */
#ifndef ENGINE_SOURCE_H
#define ENGINE_SOURCE_H

#include <pthread.h>

#include "gate.h"
#include "sources.h"

/* What memory knows of the catalog's note "unchanged since". */
enum source_mark {
    SOURCE_UNKNOWN, /* not asked yet: neither may be believed */
    SOURCE_CLEAN,   /* it equals the running snapshot `clean_running` */
    SOURCE_DIRTY,   /* the catalog knows that it changed */
    SOURCE_BUSY,    /* somebody reads or writes the note; wait */
};

struct writer {
    uint64_t inode;
    int fd;
};

struct engine_source {
    struct sources *sources;
    struct engine_source *next; /* in the table; under sources->lock, and so is `refs` */
    unsigned refs;
    uint64_t top_inode;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    char name[NAME_MAX_BYTES + 1];
    bool gone;
    enum source_mark mark;
    uint32_t clean_running;
    uint64_t generation; /* counts changes that began */
    struct gate gate;
    bool capturing;
    struct inodes dirty;  /* while capturing: what changed since it was taken last */
    struct inodes inside; /* while not: of the changes since the gate was empty */
    struct writer *writers;
    size_t writers_count, writers_room;
};

/* For the parts of sources: a wait on `changed` of `wait_ms` at most. */
void source_wait(struct engine_source *source, int64_t wait_ms);
int64_t source_now_ms(void);

/* The running snapshot that it equals, nothing having been written since; 0: none, or it cannot be told.
 * Blocks. */
uint32_t source_clean(struct engine_source *source);
/* Whether it still is the snapshot of that name. */
bool source_is(struct engine_source *source, const char *name);

/* Since when this controller serves; and the trees that are known to have no strangers (strangers.h). */
int64_t source_started_ns(const struct engine_source *source);
bool source_has_no_strangers(struct engine_source *source);
void source_set_no_strangers(struct engine_source *source);

/* The waits below end early with -ECANCELED when *cancelled becomes true (within 100 ms). */
struct source_wait {
    const bool *cancelled; /* read atomically */
    int timeout_ms;
};

/* Waits until nobody has a file open for writing; -ETXTBSY names one: "bin/app is open for writing". */
int source_wait_writers(struct engine_source *source, const struct source_wait *wait,
                        struct err *err) MUST_CHECK;

/* From here on changes are remembered, those under way included. Waits for another capture of the tree. */
int source_capture_begin(struct engine_source *source, const struct source_wait *wait,
                         struct err *err) MUST_CHECK;
void source_capture_end(struct engine_source *source);

/*
 * Closes the gate and waits until changes under way have ended. Then the tree stands still, for GATE_HOLD_MS
 * at most where somebody waits. `taken` gets what changed since the last time; -EBUSY: a file is open for
 * writing (nothing was taken, the gate is open). -ETXTBSY: a change does not end.
 */
int source_hold(struct engine_source *source, const struct source_wait *wait, struct inodes *taken,
                struct err *err) MUST_CHECK;
/* Opens the gate. True: the tree stood still all the time, and `generation` says for source_commit_begin
 * which moment that was. */
bool source_let_go(struct engine_source *source, uint64_t *generation);

/*
 * Before the catalog's commit of a capture: 1 when nothing has changed since `generation`, and then changes
 * wait until source_commit_end; 0 when something has; -ENOENT when it is no longer the snapshot of that name.
 */
int source_commit_begin(struct engine_source *source, const char *name, uint64_t generation) MUST_CHECK;
/* After a source_commit_begin that returned 1. `running`: what it equals now, 0: the commit failed. */
void source_commit_end(struct engine_source *source, uint32_t running);

#endif
