/*
 * Checks of the store (blob/fsck.h and check_images.h together), on a thread of their own, one at a time; and
 * what the last one found, as text.
 */
#ifndef ENGINE_CHECKER_H
#define ENGINE_CHECKER_H

#include "blob/store.h"
#include "catalog.h"
#include "engine/engine.h"
#include "runnings.h"
#include "sources.h"

struct checker;

struct checker_parts {
    struct blob_store *store; /* all borrowed */
    struct catalog *catalog;
    struct runnings *runnings;
    struct sources *sources;
    int snapshots_fd;
    void (*changed)(void *arg);                                        /* the text has; may be NULL */
    void (*progress)(void *arg, unsigned percent, uint64_t all_bytes); /* may be NULL */
    void *arg;
};

int checker_new(const struct checker_parts *parts, struct checker **out, struct err *err) MUST_CHECK;
/* Cancels what is under way and answers who waits; refuses what comes. NULL is allowed, of both. */
void checker_stop(struct checker *checker);
void checker_free(struct checker *checker);

/* 0: `done` will be called, with 0 when everything is whole or repaired, -EIO when something is lost, or what
 * the check failed with; -EEXIST: one is under way. */
int checker_request(struct checker *checker, uint64_t request, engine_done done, void *arg) MUST_CHECK;
/* Ends that request's check, soon, and its wait with -EINTR. False: it is none. */
bool checker_cancel(struct checker *checker, uint64_t request);

/* On the caller's thread, with no request under way: an enum engine_check, or -errno. */
int checker_run(struct checker *checker, struct err *err) MUST_CHECK;

/* How far it is, or the last result. */
void checker_show(struct checker *checker, struct buf *out, int64_t *changed_ns);

#endif
