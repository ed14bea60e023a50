/*
 * What captures share, for a load (capture_job.c) and ahead of one (capture_eager.c): one run of a capture,
 * and how it gets the tree of one moment (capture_moment.c).
 */
#ifndef ENGINE_CAPTURE_RUN_H
#define ENGINE_CAPTURE_RUN_H

#include "blob/capture.h"
#include "capture_job.h"
#include "source.h"

#define WRITERS_MS 5000 /* how long a file may stay open for writing, or one change last */

/* A capture is kept for the next one if it takes no more than this, and so much of all are kept: some 200
 * bytes an inode. */
#define KEPT_BYTES_EACH (48u << 20)
#define KEPT_BYTES_ALL (96u << 20)

struct capture_run {
    const struct capture_parts *parts;
    const char *name;
    struct capture_control *control;
    struct engine_source *source; /* borrowed */
    struct source_wait wait;
    struct kept kept;    /* the capture, owned, and the tree; taken from the source, and given back */
    uint64_t generation; /* of the moment that the image shows */
    int64_t held_ms;     /* how long changes were held for the last look */
    int64_t began_ms;
};

/* A directory and the object of that name; both are the caller's. -ENOENT, -EINVAL. */
int capture_find_source(const struct capture_parts *parts, const char *name, int *tree_fd,
                        struct engine_source **out, struct err *err) MUST_CHECK;

/* Makes run->kept.blob in a first scan. */
int capture_scan(struct capture_run *run, struct err *err) MUST_CHECK;
/* Goes on with run->kept.blob: what an earlier look left undone is done. */
int capture_go_on(struct capture_run *run, struct err *err) MUST_CHECK;
/* Looks at what changed until nothing changed during a look. -EAGAIN: everything must be scanned again. */
int capture_settle(struct capture_run *run, struct err *err) MUST_CHECK;
/* Makes the image, which no collection touches from there on: when it returns 0 a commit has begun, which the
 * caller ends (blob_store_commit_end). What a collection removed since it was read is read again. */
int capture_finish(struct capture_run *run, struct blob_capture_result *result, struct err *err) MUST_CHECK;
/* Waits for who opened a file through an earlier controller and still has it, as for a writer; not at all
 * when `timeout_ms` is 0. -ETXTBSY names the file. */
int capture_wait_strangers(const struct capture_run *run, int timeout_ms, struct err *err) MUST_CHECK;
/* Nobody can cancel it any more; threads and files are let go. `drop`: it is of no use. */
void capture_end(struct capture_run *run, bool drop);
/* Between these the source is the run's to capture. begin: 0, -EBUSY, -ECANCELED, -ENOENT. */
int capture_begin(struct capture_run *run, struct capture_control *yields, struct err *err) MUST_CHECK;
void capture_keep(struct capture_run *run);

/* The row of a running snapshot, but for its id, its numbers and its time. */
void capture_row(const struct capture_run *run, const struct blob_capture_result *result,
                 struct catalog_running *row);

#endif
