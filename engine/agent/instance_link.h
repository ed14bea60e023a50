/*
 * bladed's end of the connection to a supervisor: starts one, or finds the one that runs, hears its states
 * and output, tells it to stop. On the loop's thread.
 */
#ifndef AGENT_INSTANCE_LINK_H
#define AGENT_INSTANCE_LINK_H

#include "base/err.h"
#include "base/loop.h"
#include "supervise_state.h"

struct link_events {
    void (*state)(void *arg, const struct supervise_state *state);
    void (*output)(void *arg, const void *bytes, size_t len_bytes);
    void (*gone)(void *arg);   /* it hung up: it is dead, or about to be; the link is closed */
    void (*closed)(void *arg); /* see instance_link_close */
    void *arg;
};

struct instance_link {
    struct loop *loop;
    struct link_events events;
    struct loop_op op;
    int fd;       /* -1: no supervisor */
    int watched;  /* the fd that `op` polls: may still be an old one */
    int pidfd;    /* of the supervisor, -1: not known */
    bool closing; /* no callback any more */
};

void instance_link_init(struct instance_link *link, struct loop *loop, const struct link_events *events);

/*
 * Starts a supervisor for `current`, the absolute path of the instance's directory, as a daemon: no child of
 * ours remains. It inherits nothing but its end of a socket, and a file for its own complaints,
 * supervisor.log. Blocks for a fork.
 */
int instance_link_start(struct instance_link *link, const char *current, int current_fd,
                        struct err *err) MUST_CHECK;

/*
 * Finds the one that holds `current` and asks for its state, waiting at most 2 s. 1: found, and `state` is
 * filled, see instance_link_attach; 0: there is none, nor will there be. Blocks that long.
 */
int instance_link_find(struct instance_link *link, int current_fd, struct supervise_state *state) MUST_CHECK;
/* After _find: begins to hear. */
void instance_link_attach(struct instance_link *link);

void instance_link_stop(struct instance_link *link, unsigned grace_ms);
/* KILL of the supervisor itself, when it does not answer. `gone` comes. */
void instance_link_kill(struct instance_link *link);
/* After _find, instead of _attach: hangs up. */
void instance_link_drop(struct instance_link *link);
/* Hangs up for good; what runs goes on. False: `closed` is called when the loop has let go of it. */
bool instance_link_close(struct instance_link *link);

#endif
