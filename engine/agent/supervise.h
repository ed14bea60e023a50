/*
 * The supervisor's own parts: one process with one thread and one poll(2) loop for each start of an instance.
 * bladed's end is instance_link.h; what they say to each other is supervise_state.h; its main,
 * supervise_main, is declared in instance.h.
 *
 * It leads a session of its own, is a child subreaper (prctl(2)), so that the container's first process
 * becomes its child when the runtime has gone, and has a mount namespace of its own for the overlay: whatever
 * is killed, no mount is left on the host. It holds a lock (flock(2)) on the instance's directory: there are
 * never two.
 */
#ifndef AGENT_SUPERVISE_H
#define AGENT_SUPERVISE_H

#include <limits.h>
#include <sys/types.h>

#include "exec_find.h"
#include "instance_log.h"
#include "instance_spec.h"
#include "supervise_state.h"

#define SUPERVISE_CLIENT_FD 3          /* the socket to the bladed that started it */
#define SUPERVISE_SETTLE_MS 25         /* a program that is there so long after its exec runs */
#define SUPERVISE_STEP_MS 2            /* between looks for that exec */
#define SUPERVISE_EXEC_TIMEOUT_MS 5000 /* then it is taken to run */
#define SUPERVISE_LEAVE_MS 2000        /* waits so long for bladed to hear of the end */
#define SUPERVISE_SHUTDOWN_GRACE_MS 8000

enum supervise_stage {
    STAGE_RUNTIME,  /* the OCI runtime is at work */
    STAGE_EXEC,     /* pid 1 is there; its program not yet */
    STAGE_SETTLING, /* the program was just exec'd */
    STAGE_RUNNING,
    STAGE_OVER, /* ended or never begun: what is left is put away */
};

struct supervisor {
    const char *current; /* DIR/instance/current */
    int agent_fd, current_fd;
    struct instance_spec spec;
    struct exec_plan plan;
    struct supervise_state state;
    struct instance_log log;
    struct last_line last;
    bool log_failed; /* and that was said */

    int signal_fd, pipe_fd;
    int listen_fd, client_fd;
    bool attached; /* the client asked for output and states */
    bool tell;     /* the state has changed since it was told */
    bool full;     /* its socket takes no more at present */
    uint64_t sent; /* output up to there went to the client */

    enum supervise_stage stage;
    int64_t stage_until_ms; /* CLOCK_BOOTTIME, of what the stage waits for */
    pid_t runtime_pid;      /* 0: none */
    pid_t delete_pid;       /* 0: none */
    pid_t pid;              /* the container's pid 1, a child; 0: none (any more) */
    bool made;              /* there may be a container to delete */
    bool stop;              /* asked for; sent as soon as there is a pid */
    int64_t started_ms;     /* when the pid was known */
    int64_t kill_at_ms;     /* KILL then; 0: never */
};

/* supervise_start.c: from the spec to a runtime at work, or to a state that says why not. Blocks shortly. */
void supervise_start(struct supervisor *s);
/* The runtime has ended with that wait status. */
void supervise_runtime_ended(struct supervisor *s, int wait_status);
/* The time of the stage has come. */
void supervise_look(struct supervisor *s);
void supervise_refuse(struct supervisor *s, const char *sentence);

/* supervise_peer.c: the sockets. */
int supervise_listen(struct supervisor *s) MUST_CHECK;
void supervise_accept(struct supervisor *s);
void supervise_receive(struct supervisor *s);
void supervise_pump(struct supervisor *s); /* sends what there is to send */

/*
 * supervise_mounts.c: lets go, in this mount namespace, of a controller that is mounted on the same machine.
 * Where / is not shared (mount_namespaces(7)), its end on the host would not reach us, and as long as we have
 * the mount the controller goes on with its store locked.
 */
void supervise_let_mounts_go(const struct supervisor *s);

/* supervise.c: decisions about the container. */
void supervise_over(struct supervisor *s);
void supervise_stop(struct supervisor *s, int64_t grace_ms);
void supervise_signal_stop(struct supervisor *s);

#endif
