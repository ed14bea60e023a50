/*
 * What the files of the fleet share. `lock` guards the slots' table and what people can see; it is held for
 * a few instructions, never over a wait. Everything else belongs to the loop's thread.
 */
#ifndef ENGINE_FLEET_PARTS_H
#define ENGINE_FLEET_PARTS_H

#include <stdatomic.h>

#include "base/loop.h"
#include "fleet.h"
#include "listener.h"
#include "plan.h"
#include "sender.h"
#include "slots.h"
#include "work.h"

struct fleet {
    struct fleet_options options;
    struct loop *loop;
    pthread_t thread;
    atomic_uint_fast64_t next_request;
    int logs_fd;

    pthread_mutex_t changes; /* one change of the slots' table at a time: the catalog first, then memory */
    pthread_mutex_t lock;
    struct slots slots;
    struct attr_list any_attrs;
    char any_choice[2 * NAME_MAX_BYTES + 40]; /* "<slot> <name>@<n>" */
    char any_error[512];
    int64_t any_choice_ns, any_error_ns, status_ns;
    engine_changed changed;
    void *changed_arg;

    /* the loop's thread */
    struct listener *listener;
    struct planner *planner;
    struct sender_pool *senders;
    struct work_queue *commits;
    struct peer *peers;
    unsigned unauthenticated;
    struct load *loads;
    struct run *runs;
    unsigned outstanding; /* commits under way */
    bool closing;
    uint64_t last_load, last_session, last_ping;
    int64_t ticked_ms;
    struct loop_op tick_op;
    struct loop_task close_task;
    atomic_bool drops_due; /* a running snapshot went away: images may be of no use any more */
};

/* Who waits for a load or a run request. */
struct waiter {
    uint64_t request;
    engine_done done;
    void *arg;
    struct waiter *next;
};
void waiters_answer(struct waiter **waiters, int result, const char *line); /* all; the list is empty then */
/* Answers and removes that one: true when it was there. */
bool waiters_have(const struct waiter *waiters, uint64_t request);
bool waiters_cancel(struct waiter **waiters, uint64_t request);

/* ---- slot_state.c: what people see of a slot, changed from the loop's thread ---- */

/* NULL: there is none of that id. The loop's thread, which alone frees slots. */
struct slot *fleet_slot(struct fleet *fleet, uint32_t id);
void slot_name(struct fleet *fleet, const struct slot *slot, char out[NAME_MAX_BYTES + 1]);
/* Runs the blade's machine and does what it says. */
void slot_event(struct fleet *fleet, struct slot *slot, enum blade_event event, uint64_t image);
void slot_reported(struct fleet *fleet, struct slot *slot, enum blade_event event); /* with slot->report */
void slot_set_error(struct fleet *fleet, struct slot *slot, const char *sentence);  /* "": it is good */
void any_set_error(struct fleet *fleet, const char *sentence);
/* The catalog has it: the slot runs `row` (NULL: nothing). Takes the caller's hold of it over. */
void slot_loaded(struct fleet *fleet, struct slot *slot, const struct catalog_running *row, bool stopped);
/* The catalog has it: its blade may start `running` from now on, or has not (0). */
void slot_starting(struct fleet *fleet, struct slot *slot, uint32_t running);
/* What a blade was told to start, and neither runs nor is about to, it will not run any more. */
void slot_settle_start(struct fleet *fleet, struct slot *slot);
/* Sends DROP for what no running snapshot has any more. */
void slot_drop_images(struct fleet *fleet, struct slot *slot);

/* ---- commits.c: changes of the catalog that the loop asks for ---- */

typedef void (*commit_done)(struct fleet *fleet, void *arg, int result, const struct err *err);
/* `done` is called on the loop's thread, unless the result is negative (no memory). */
int commit_starting(struct fleet *fleet, uint32_t slot, uint32_t running, commit_done done,
                    void *arg) MUST_CHECK;
int commit_loaded(struct fleet *fleet, uint32_t slot, uint32_t running, bool stopped, commit_done done,
                  void *arg) MUST_CHECK;
void commit_error(struct fleet *fleet, uint32_t slot, const char *sentence);
void commit_keys(struct fleet *fleet, uint32_t slot); /* as they are in memory when it is written */

/* ---- sessions.c: the connections ---- */

void session_accepted(void *arg, int fd, const char *address); /* a listener_accepted */
void sessions_tick(struct fleet *fleet);
void sessions_close(struct fleet *fleet);             /* every one */
void session_end(struct slot *slot, const char *why); /* what a slot has of them */
bool slot_connected(const struct slot *slot);         /* both, and it has reported */

/* ---- loads.c, runs.c ---- */

void loads_request(struct fleet *fleet, uint32_t slot, const char *value, struct waiter *waiter);
/* The same for a value of which there is no snapshot: it fails, and `error` says so. */
void loads_refuse_unknown(struct fleet *fleet, uint32_t slot, const char *value, struct waiter *waiter);
bool loads_cancel(struct fleet *fleet, uint64_t request);
void loads_close(struct fleet *fleet);
/* From the connections; a load that has no part in it ignores them. */
void loads_lost(struct slot *slot);
void loads_reported(struct slot *slot);
void loads_control_message(struct slot *slot, const struct wire_message *message);
int loads_bulk_message(struct slot *slot, const struct wire_message *message, struct err *err) MUST_CHECK;

void runs_request(struct fleet *fleet, uint32_t slot, enum engine_verb verb, struct waiter *waiter);
bool runs_cancel(struct fleet *fleet, uint64_t request);
void runs_close(struct fleet *fleet);
void runs_lost(struct slot *slot);
void runs_done(struct slot *slot, const struct wire_run_done *done);

/* What an agent's code means to who wrote the control file: one of DESIGN.md's. */
int answer_code(int code);

#endif
