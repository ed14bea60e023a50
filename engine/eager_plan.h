/*
 * When a source that changes is captured ahead of a load. Pure: what is known in, what to do out.
 *
 * Once it is quiet all of it is captured. While it changes, parts of it are, ever more seldom: so that what
 * is copied into it for minutes is nearly done when the copy is, and a file that is written without end costs
 * little. Nothing takes more than a fifth of a core's time (a twentieth where every capture reads all again).
 */
#ifndef ENGINE_EAGER_PLAN_H
#define ENGINE_EAGER_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#define EAGER_QUIET_MS 500 /* without a change */
#define EAGER_PART_MS 1000 /* from the first change to the first part; doubled from part to part */
#define EAGER_PART_MAX_MS 60000
#define EAGER_RETRY_MS 10000 /* after a failure that time may mend */

struct eager_memory {
    int64_t first_ms; /* the first change since all was captured; 0: there was none */
    int64_t ended_ms; /* of the last capture, and how long it took */
    int64_t took_ms;
    int64_t spacing_ms; /* before the next part */
    int64_t not_before_ms;
    uint64_t generation; /* of the source, when the last capture began */
    bool kept;           /* the last capture was kept */
};

struct eager_facts {
    int64_t now_ms, changed_ms; /* changed_ms: the last change */
    uint64_t generation;
    bool open; /* a file is open for writing */
    bool busy; /* a change or a load's capture is under way */
};

enum eager_step {
    EAGER_WAIT,  /* until *wait_ms have passed, or -1: until it changes */
    EAGER_PART,  /* what is not open for writing */
    EAGER_WHOLE, /* all, as the tree of one moment */
};

enum eager_result { EAGER_DONE, EAGER_PARTLY, EAGER_BROKEN_OFF, EAGER_FAILED };

enum eager_step eager_next(const struct eager_memory *memory, const struct eager_facts *facts,
                           int64_t *wait_ms);
/* It was changed (for the first time since it was taken out of memory, or again). */
void eager_changed(struct eager_memory *memory, int64_t changed_ms);
/* A capture that began with `facts` has ended. */
void eager_ended(struct eager_memory *memory, enum eager_step step, enum eager_result result, bool kept,
                 const struct eager_facts *facts, int64_t now_ms);

#endif
