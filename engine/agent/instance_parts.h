/* What the files of the instance share: the object that carries the machine's actions out. */
#ifndef AGENT_INSTANCE_PARTS_H
#define AGENT_INSTANCE_PARTS_H

#include <limits.h>

#include "instance.h"
#include "instance_link.h"
#include "instance_log.h"
#include "instance_machine.h"
#include "instance_spec.h"
#include "runtime.h"
#include "worker.h"

#define INSTANCE_HELD_MAX 4

/* A work of the machine on the worker's thread. It sees what does not change, and its own fields. */
struct instance_work {
    struct worker_job job;
    struct instance *instance;
    enum machine_work work;
    bool queued;
    int result;
    struct err reason;
    /* what it is told */
    uint64_t image;
    char snapshot[RUNNING_NAME_MAX_BYTES + 1];
    char slot[NAME_MAX_BYTES + 1];
    char id[INSTANCE_ID_BYTES];
    bool wanted;
    /* what it found: the spec of current, where that has changed (exec is NULL when it has not) */
    struct instance_spec spec;
};

struct instance {
    struct loop *loop;
    struct images *images;
    struct instance_events events;
    char current[PATH_MAX]; /* DIR/instance/current */
    int agent_fd, fd;       /* DIR, DIR/instance */
    char **binds, **caps;
    char slot[NAME_MAX_BYTES + 1];
    char id_prefix[INSTANCE_ID_BYTES];
    struct runtime runtime;
    char runtime_words[PATH_MAX + 128];

    struct instance_machine machine;
    struct instance_spec spec; /* of current; exec is NULL when there is none */
    struct instance_link link;
    struct worker *worker, *sweeper;
    struct instance_work work, kill; /* at most one of each is under way */
    struct worker_job sweep;
    bool sweeping, sweep_again;

    uint64_t held[INSTANCE_HELD_MAX]; /* images held, 0: none */

    struct loop_op flush; /* callbacks are made from a turn of their own */
    struct loop_op alarm; /* the machine's deadline */
    int64_t alarm_at_ms;
    bool alarm_again; /* cancelled for an earlier time */
    bool changed, answered, backlog;
    instance_done done; /* of the operation under way, or answered and not told */
    void *done_arg;
    int result;
    struct err reason;
    struct err spawn_failed;
    bool closing;
};

/* instance.c */
void instance_feed(struct instance *i, struct machine_event *event);
void instance_flush_soon(struct instance *i);
void instance_hold_images(struct instance *i);

/* instance_works.c */
void instance_work_put(struct instance *i, enum machine_work work);
void instance_sweep_put(struct instance *i);
/* The spec of current with what its last start adds. -ENOENT: there is no current. */
int instance_read_current(int fd, struct instance_spec *out) MUST_CHECK;

/* instance_adopt.c: takes up what is on disk; i->fd and the runtime are there. Blocks shortly. */
int instance_adopt(struct instance *i, struct err *err) MUST_CHECK;
/* Hands on the output that nobody heard; there is no supervisor. */
void instance_hand_on_backlog(struct instance *i);

#endif
