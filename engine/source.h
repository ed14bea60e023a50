/*
 * One source snapshot that somebody holds, as sources.c (its life, changes, writers) and source_hold.c (what
 * a capture does to it) see it. A capture:
 *
 *   source_capture_begin -> blob_capture_scan -> { source_hold -> look -> source_let_go } ... ->
 *   source_commit_begin -> the catalog -> source_commit_end -> source_capture_end
 *
 * What a capture remembers of the tree may be kept with the source: changes are then listed all the time, and
 * the next capture looks at what is listed instead of scanning.
 */
#ifndef ENGINE_SOURCE_H
#define ENGINE_SOURCE_H

#include <pthread.h>

#include "blob/capture.h"
#include "gate.h"
#include "sources.h"

/* What memory knows of the catalog's note "unchanged since". */
enum source_mark {
    SOURCE_UNKNOWN, /* not asked yet: neither may be believed */
    SOURCE_CLEAN,   /* it equals the running snapshot `clean_running`, or (0) what is `prepared` */
    SOURCE_DIRTY,   /* the catalog knows that it changed */
    SOURCE_BUSY,    /* somebody reads or writes the note; wait */
};

struct writer {
    uint64_t inode;
    int fd;
};

struct sources {
    pthread_mutex_t lock;
    struct catalog *catalog;
    struct engine_source *first;
    struct engine_source *queue; /* those that changed */
    void (*changed)(void *arg);
    void *changed_arg;
    int64_t started_ns;
    uint64_t *no_strangers; /* top inodes; trees that are gone stay in it, for another's inode is newer */
    size_t no_strangers_count, no_strangers_room;
};

/* A capture that rests, and the top directory that it was made of. */
struct kept {
    struct blob_capture *blob; /* NULL: there is none */
    int tree_fd;               /* owned */
};
void kept_free(struct kept *kept);
/* Under the source's lock: it changed. */
void source_changed(struct engine_source *source);
/* Under the source's lock: tells the table how much is kept, now. */
void source_note_kept(struct engine_source *source);

struct engine_source {
    struct sources *sources;
    uint64_t top_inode;

    struct engine_source *next; /* in the table; under sources->lock, and so is what follows */
    unsigned refs;
    struct engine_source *queue_next; /* of those that changed */
    uint64_t kept_bytes;              /* in `kept`, which has a reference; and when it was kept */
    int64_t kept_ms;

    /* Of the two locks, the source's is taken first. */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    char name[NAME_MAX_BYTES + 1];
    bool gone;
    enum source_mark mark;
    uint32_t clean_running;
    struct catalog_running prepared;
    uint64_t generation; /* counts changes that began */
    int64_t changed_ms;  /* the last of them */
    bool queued;         /* among those that changed; it holds a reference then */
    struct gate gate;
    bool capturing;
    struct capture_control *yields; /* of who captures, and gives way to a load; or NULL */
    struct kept kept;
    bool counts_anew;     /* a running snapshot was made since */
    struct inodes dirty;  /* while capturing, or with something kept: what changed since it was taken last */
    struct inodes inside; /* of the changes since the gate was empty */
    struct writer *writers;
    size_t writers_count, writers_room;
};

/* For the parts of sources: a wait on `changed` of `wait_ms` at most. */
void source_wait(struct engine_source *source, int64_t wait_ms);
int64_t source_now_ms(void);

/*
 * What it equals, nothing having been written since: 1 and the id of a running snapshot, or 2 and what is
 * prepared, as of `generation` (source_commit_begin); 0: neither, or it cannot be told. Blocks.
 */
int source_known(struct engine_source *source, uint32_t *running, struct catalog_running *prepared,
                 uint64_t *generation) MUST_CHECK;
/* What it equals is damaged: the next capture looks whether its content is stored. Blocks. */
void source_distrust(struct engine_source *source);
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

/*
 * From here on changes are listed, those under way included. `kept` is what was kept, the caller's now: then
 * they have been listed all the time since. Waits for another capture of the tree, or cancels it when it is
 * one that yields; `yields` (may be NULL): this one does, and does not wait either: -EBUSY.
 */
int source_capture_begin(struct engine_source *source, const struct source_wait *wait,
                         struct capture_control *yields, struct kept *kept, struct err *err) MUST_CHECK;
/* Takes `keep` over, which rests; with nothing in it, the list ends. */
void source_capture_end(struct engine_source *source, struct kept *keep);
/* Drops what is kept, unless a capture has it. */
void source_forget(struct engine_source *source);

/* Puts listed inodes back: a look at them failed. */
void source_put_back(struct engine_source *source, const uint64_t *inodes, size_t count);
/*
 * Takes what is listed, while changes go on: what is being changed now stays in the list, and so does what is
 * open for writing. False: the list was too long, everything must be scanned again.
 */
bool source_take(struct engine_source *source, struct inodes *taken) MUST_CHECK;

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
/* After a source_commit_begin that returned 1. `running`: what it equals now, else `prepared`; 0 and NULL:
 * the commit failed. */
void source_commit_end(struct engine_source *source, uint32_t running,
                       const struct catalog_running *prepared);

/* ---- for who captures ahead: eager.h ---- */

/* When it changed last, and whether a file of it is open for writing, or a change or a capture under way. */
struct source_rest {
    int64_t changed_ms;
    uint64_t generation;
    bool open, busy, gone;
};
void source_rest(struct engine_source *source, struct source_rest *out);
void source_name(struct engine_source *source, char out[NAME_MAX_BYTES + 1]);

#endif
