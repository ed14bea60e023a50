/*
 * How a load goes, from its request to its answer: pure, (state, event) -> (state, actions). loads.c does
 * what it says.
 */
#ifndef ENGINE_LOAD_MACHINE_H
#define ENGINE_LOAD_MACHINE_H

#include <stdbool.h>
#include <stddef.h>

enum load_state {
    LOAD_CAPTURE, /* the running snapshot is being made */
    LOAD_CHOOSE,  /* `any`: blades are compared */
    LOAD_PLAN,    /* what the blade lacks is worked out */
    LOAD_PREPARE, /* the image goes over */
    LOAD_NOTE,    /* the catalog notes that the blade may run it from now on */
    LOAD_START,   /* the blade was told to start it: no way back */
    LOAD_AWAY,    /* the same, and the blade is out of reach: what came of it? */
    LOAD_COMMIT,  /* the catalog notes it */
    LOAD_ENDED,
    LOAD_STATES
};

enum load_event {
    LOAD_CAPTURED,  /* the running snapshot is there, the blade does not have it */
    LOAD_HELD,      /* it is there, and so is its image on the blade */
    LOAD_SAME,      /* it is there, and runs on the blade */
    LOAD_CHOSEN,    /* `any`: a blade was found that does not have the image */
    LOAD_PLANNED,   /* the descriptor and seeds are made */
    LOAD_NOT_HELD,  /* the blade does not have the image after all */
    LOAD_PREPARED,  /* the blade has the whole tree */
    LOAD_NOTED,     /* the catalog has that it may be started */
    LOAD_STARTED,   /* it runs: the blade's answer, or its report when it came back */
    LOAD_COMMITTED, /* the catalog has that it runs */
    LOAD_FAILED,    /* the step under way failed */
    LOAD_BROKEN,    /* what should be sent cannot be read */
    LOAD_LOST,      /* the connection broke */
    LOAD_TIMEOUT,   /* the blade did not come back */
    LOAD_CANCELLED, /* nobody waits for it any more */
    LOAD_EVENTS
};

enum load_action {
    LOAD_DO_CHOOSE = 1,
    LOAD_DO_PLAN = 2,
    LOAD_DO_PREPARE = 4,
    LOAD_DO_PREPARE_HELD = 8, /* without a descriptor: the blade has it */
    LOAD_DO_START = 16,
    LOAD_DO_AWAIT = 32, /* for its report, some seconds */
    LOAD_DO_COMMIT = 64,
    LOAD_DO_SUCCEED = 128,
    LOAD_DO_FAIL = 256,
    LOAD_DO_STOP_CAPTURE = 512,
    LOAD_DO_TELL_CANCEL = 1024, /* the blade, if it can be told */
    LOAD_DO_LEAVE = 2048,       /* `any`: this blade is no good; free it */
    LOAD_DO_NOTE = 4096,
    LOAD_DO_FORGET = 8192, /* what was noted: the blade does not run it */
};

struct load_step {
    enum load_state state;
    unsigned actions; /* a set of enum load_action */
};

/* `any`: the blade is ours to choose, so that another may be tried. An event that does not belong to the
 * state changes nothing. */
struct load_step load_next(enum load_state state, enum load_event event, bool any);

#endif
