/*
 * What is to be done about an instance, decided: state, event and time in; state and actions out. Pure; who
 * carries the actions out is instance.c. Tested as a table.
 *
 * One operation (a load, a start, ...) is under way at a time; it goes from step to step as its works end and
 * the supervisor speaks. A work is something on disk that another thread does, in the order given.
 */
#ifndef AGENT_INSTANCE_MACHINE_H
#define AGENT_INSTANCE_MACHINE_H

#include "instance.h"
#include "supervise_state.h"

#define MACHINE_GONE_MS 15000   /* for a supervisor to end by itself when its program has ended */
#define MACHINE_START_MS 120000 /* for it to say what became of a start */
#define MACHINE_ACTIONS_MAX 6

enum machine_work {
    WORK_PREPARE,  /* instance_dirs_prepare for `load` */
    WORK_SWITCH,   /* instance_dirs_switch */
    WORK_COMMIT,   /* instance_dirs_commit */
    WORK_ROLLBACK, /* instance_dirs_recover */
    WORK_WANT,     /* the spec with `wanted` and `snapshot` as they are now */
    WORK_REMOVE,   /* instance_dirs_remove */
    WORK_KILL,     /* the container of a supervisor that died */
};

enum machine_action_kind {
    ACT_WORK,            /* `work`; comes back as EVENT_WORK */
    ACT_SPAWN,           /* a supervisor for current; EVENT_GONE when that failed at once */
    ACT_STOP,            /* tell the supervisor to stop, with grace */
    ACT_KILL_SUPERVISOR, /* it does not answer */
    ACT_ANSWER,          /* the operation is over: `result`, and the machine's `reason` */
    ACT_CHANGED,         /* the public state has changed */
    ACT_SWEEP,           /* something was thrown away */
};

struct machine_action {
    enum machine_action_kind kind;
    enum machine_work work;
    int result;
};

struct machine_actions {
    struct machine_action at[MACHINE_ACTIONS_MAX];
    size_t count;
};

enum machine_op { OP_NONE, OP_LOAD, OP_START, OP_STOP, OP_RESTART, OP_UNLOAD, OP_BOOT };

enum machine_step {
    STEP_NONE,
    STEP_PREPARE,   /* the work */
    STEP_STOP,      /* until the supervisor is gone */
    STEP_SWITCH,    /* the work */
    STEP_START,     /* until the supervisor says what became of it */
    STEP_COMMIT,    /* the work */
    STEP_FAILED,    /* the new one failed: until its supervisor is gone */
    STEP_ROLLBACK,  /* the work */
    STEP_START_OLD, /* the old one again */
    STEP_WANT,      /* the work */
    STEP_REMOVE,    /* the work */
};

enum machine_supervisor {
    SUPERVISOR_NONE,
    SUPERVISOR_LIVE, /* of a program that starts or runs */
    SUPERVISOR_OVER, /* the program has ended; it is about to go */
};

struct instance_machine {
    struct instance_state state;
    uint64_t previous, older; /* images of the directories set aside; 0: none */
    bool wanted;              /* as in the spec */
    enum machine_supervisor supervisor;
    bool killing; /* WORK_KILL is under way */

    enum machine_op op;
    enum machine_step step;
    bool switching;             /* the load is of another image */
    struct instance_state load; /* of a load: image and snapshot */
    struct instance_state old;  /* what was before the switch */
    bool old_ran, old_wanted;
    struct err reason;   /* why the operation fails */
    unsigned grace_ms;   /* configuration */
    int64_t deadline_ms; /* EVENT_TIME is wanted then; 0: never */
};

enum machine_event_kind {
    EVENT_LOAD,       /* image, snapshot: not while machine_is_busy */
    EVENT_RUN,        /* verb: not while machine_is_busy */
    EVENT_BOOT,       /* what is wanted, and was stopped by nobody's wish, is to run again */
    EVENT_WORK,       /* work, result, reason */
    EVENT_SUPERVISOR, /* supervised */
    EVENT_GONE,       /* the supervisor hung up */
    EVENT_TIME,
};

struct machine_event {
    enum machine_event_kind kind;
    int64_t now_ms, wall_ns; /* boot clock, wall clock */
    uint64_t image;
    const char *snapshot;
    enum wire_verb verb;
    enum machine_work work;
    int result;
    const struct err *reason;
    const struct supervise_state *supervised;
};

bool machine_is_busy(const struct instance_machine *m);
void machine_step(struct instance_machine *m, const struct machine_event *event, struct machine_actions *out);

#endif
