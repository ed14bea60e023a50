/* One capture of a source snapshot, on the thread of who calls. */
#ifndef ENGINE_CAPTURE_JOB_H
#define ENGINE_CAPTURE_JOB_H

#include <pthread.h>

#include "captures.h"

struct capture_parts {
    struct blob_store *store; /* all borrowed */
    struct catalog *catalog;
    struct runnings *runnings;
    struct sources *sources;
    int snapshots_fd;
    int level;
};

/* What other threads see and say of a capture under way. */
struct capture_control {
    pthread_mutex_t lock;
    bool cancelled;            /* atomic */
    bool late;                 /* atomic: its last look may be over, a new request cannot join it */
    struct blob_capture *blob; /* under the lock, NULL unless it is at work */
};

void capture_control_init(struct capture_control *control);
void capture_control_destroy(struct capture_control *control);
void capture_cancel(struct capture_control *control);
bool capture_is_late(const struct capture_control *control);

/* The running snapshot that the source equals, if nothing was written since it was captured: its id, held,
 * and 1, or 2 when it was made just now; 0: it must be captured; -ENOENT, -EINVAL. Blocks on the catalog
 * only. */
int capture_unchanged(const struct capture_parts *parts, const char *name, uint32_t *running,
                      struct err *err) MUST_CHECK;

/* Captures it: the running snapshot's id, held; 1: a new one was made, 0: it equals the newest. Blocks as
 * long as that takes. */
int capture_run(const struct capture_parts *parts, const char *name, struct capture_control *control,
                uint32_t *running, struct err *err) MUST_CHECK;

#endif
