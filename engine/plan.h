/*
 * Plans: what a blade lacks of an image, and what is sent to tell it. Worked out on a thread of its own, from
 * the images themselves.
 */
#ifndef ENGINE_PLAN_H
#define ENGINE_PLAN_H

#include <stdatomic.h>

#include "choose.h"
#include "runnings.h"
#include "slots.h"
#include "work.h"

struct planner;

int planner_new(struct loop *loop, struct runnings *runnings, struct planner **out,
                struct err *err) MUST_CHECK;
void planner_free(struct planner *planner); /* nothing may be under way; NULL is allowed */

/* The stripped image as a zstd frame: one for all blades that get it at a time. */
struct descriptor {
    atomic_uint refs;
    uint64_t image;
    uint64_t raw_bytes;
    struct buf frame;
};

struct plan {
    struct work work; /* `finished` and `arg` are the caller's */
    void *arg;
    struct planner *planner;
    uint64_t image;
    uint64_t holdings[HOLDINGS_MAX];
    uint32_t holdings_count;

    int result; /* 0 or -errno, with `err` */
    struct err err;
    struct shared_image *target;
    struct descriptor *descriptor;
    struct buf seeds; /* records of wire_put_seed */
    uint32_t seeds_count;
    uint64_t content_bytes;
};

/* Frees what it holds and itself. NULL is allowed. Any thread. */
void plan_free(struct plan *plan);
void plan_submit(struct plan *plan);

/* For `any`: how much of an image each of several blades lacks. */
struct estimate_row {
    uint32_t slot;
    uint64_t holdings[HOLDINGS_MAX];
    uint32_t holdings_count;
    bool holds; /* the whole image */
    uint64_t missing_bytes;
};

struct estimate {
    struct work work;
    void *arg;
    struct planner *planner;
    uint64_t image;
    int result;
    struct err err;
    size_t count;
    struct estimate_row rows[];
};

void estimate_submit(struct estimate *estimate);

bool holdings_have(const uint64_t *holdings, uint32_t count, uint64_t image);

#endif
