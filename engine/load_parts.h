/* One load, and what loads.c, load_steps.c and load_any.c share. The loop's thread. */
#ifndef ENGINE_LOAD_PARTS_H
#define ENGINE_LOAD_PARTS_H

#include "fleet_parts.h"
#include "load_machine.h"

#define TRIED_MAX 16
#define AWAY_MS 15000 /* for a blade that was told to start to come back */

struct load {
    struct load *next;
    struct fleet *fleet;
    struct slot *slot; /* NULL: `any`, and none is chosen */
    struct waiter *waiters;
    enum load_state state;
    unsigned under_way; /* answers that will still come, and calls further up: it must live */
    bool any;
    bool capturing, planning;               /* the answer is still to come */
    bool held;                              /* row.id, in runnings */
    bool without_plan;                      /* it was prepared as an image that the blade holds */
    bool begun;                             /* the blade has said that it knows of it */
    char value[RUNNING_NAME_MAX_BYTES + 1]; /* as it was asked for */

    uint64_t capture;
    struct loop_task captured_task;
    struct err captured_err;
    uint32_t captured_running;
    struct catalog_running row;

    struct plan *plan;
    struct sender *sender;
    uint32_t noted_slot; /* where it may be started, by the catalog; 0 none */

    uint64_t number; /* what the wire calls it; 0: the blade does not know of it */

    uint32_t tried[TRIED_MAX]; /* `any`: blades that were lost */
    unsigned tried_count;
    struct err err; /* why it fails */
    struct loop_op away_op;
};

/* Runs the machine and does what it says. The load may be gone afterwards. */
void load_event(struct load *load, enum load_event event);
/* The answer to something that counted as under way: the load may be gone afterwards. */
void load_put(struct load *load);

/* A load takes a slot, and leaves it. */
void load_take(struct load *load, struct slot *slot);
void load_leave(struct load *load);
/* Why it fails, as "blade <name>: ..." once it has one. */
#define load_fails(load, code, ...) (err_set(&(load)->err, (code), __VA_ARGS__), load_names_blade(load))
void load_names_blade(struct load *load);

/* load_any.c */
void load_choose(struct load *load);

/* load_steps.c */
void load_capture(struct load *load);
void load_stop_capture(struct load *load);
void load_plan(struct load *load);
void load_drop_plan(struct load *load);
void load_prepare(struct load *load, bool without_plan);
void load_tell_cancel(struct load *load);
void load_note(struct load *load);
void load_forget(struct load *load);
void load_start(struct load *load);
void load_await(struct load *load);
void load_commit(struct load *load);
void load_note_progress(struct load *load, uint64_t done_bytes, uint64_t total_bytes);

#endif
