/*
 * What a blade's state is, and what follows from what it says: pure, (state, event, time) -> (state,
 * actions). What runs there is the blade's to say (REPORT); what should run is what was acknowledged (the
 * catalog).
 */
#ifndef ENGINE_BLADE_MACHINE_H
#define ENGINE_BLADE_MACHINE_H

#include "engine/engine.h"
#include "wire/message.h"

struct blade {
    uint64_t acknowledged; /* number of the image that the slot runs by the catalog, 0 none */
    bool in;               /* both connections came up and the blade has said what it runs */
    bool missing;          /* it came without what was acknowledged */
    bool loading;          /* a load holds the slot */
    uint64_t starting;     /* the image that a load told it to start, 0 none */
    uint64_t image;        /* what it said last */
    enum wire_phase phase;
    enum engine_state state;
    int64_t state_ns; /* when `state` last changed */
};

enum blade_event {
    BLADE_IN,           /* connected; with its first report: `phase`, `image` */
    BLADE_OUT,          /* the control connection is gone */
    BLADE_REPORT,       /* `phase`, `image` */
    BLADE_LOADING,      /* a load took the slot */
    BLADE_STARTING,     /* START goes out for `image` */
    BLADE_LOAD_OVER,    /* the load left the slot, well or not */
    BLADE_ACKNOWLEDGED, /* the catalog says `image` (0: nothing) from now on */
    BLADE_EVENTS
};

struct blade_input {
    enum blade_event event;
    enum wire_phase phase;
    uint64_t image;
};

enum blade_action {
    BLADE_STATE_CHANGED = 1,
    BLADE_ADOPT = 2,        /* it runs another image than was acknowledged: take that as the truth */
    BLADE_NOTE_MISSING = 4, /* what was acknowledged is gone from it: tell people to load again */
    BLADE_NOTE_FOUND = 16,  /* it came back with it after all: that was a false alarm */
    BLADE_NOTE_FAILED = 8,  /* its program ended badly by itself: its sentence is the error */
};

/* After a start of the controller: nothing is connected. */
void blade_begin(struct blade *b, uint64_t acknowledged, int64_t now_ns);

/* Returns a set of enum blade_action. */
unsigned blade_step(struct blade *b, const struct blade_input *in, int64_t now_ns) MUST_CHECK;

#endif
