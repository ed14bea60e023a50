/* A check, and what it says. */
#ifndef TEST_BLOB_FSCK_HEARD_H
#define TEST_BLOB_FSCK_HEARD_H

#include "blob/fsck.h"
#include "store_fixture.h"

#define HEARD_MAX 16u

struct heard {
    struct blob_fsck_event events[HEARD_MAX]; /* the first */
    unsigned count;
    uint64_t done_bytes, all_bytes;
    bool cancel;
};

static inline void hear(void *arg, const struct blob_fsck_event *event)
{
    struct heard *heard = arg;
    if (heard->count < HEARD_MAX)
        heard->events[heard->count] = *event;
    heard->count++;
}

static inline void count_progress(void *arg, uint64_t done_bytes, uint64_t all_bytes)
{
    struct heard *heard = arg;
    assert_true(done_bytes >= heard->done_bytes && done_bytes <= all_bytes);
    heard->done_bytes = done_bytes;
    heard->all_bytes = all_bytes;
}

static inline struct blob_fsck *check(struct fixture *f, struct heard *heard, struct blob_fsck_result *result)
{
    struct blob_fsck_options options = {.progress = count_progress, .event = hear, .arg = heard};
    struct blob_fsck *fsck = NULL;
    struct err err = {0};
    *heard = (struct heard){0};
    if (blob_fsck_run(f->store, &options, &fsck, &err) < 0)
        fail_msg("%s", err.message);
    blob_fsck_result(fsck, result);
    assert_int_equal(heard->done_bytes, heard->all_bytes);
    return fsck;
}

#endif
