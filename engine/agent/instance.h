/*
 * The instance: what the blade runs. An overlay (an image's pristine tree below, an upper directory of its
 * own above) and a container of an OCI runtime in it, under a supervisor process of its own, so that it
 * outlives bladed.
 *
 *   DIR/instance/current/   upper/ work/ merged/ skeleton/ (overlay.h), bundle/ (config.json), spec and start
 *                           (instance_spec.h), status (what became of the start, written by the supervisor),
 *                           log, log.1, log.pos (bounded output), sock, supervisor.log (its own complaints)
 *   DIR/instance/previous/  what the one before wrote, set aside until the next load
 *   DIR/instance/next, older, gone-<number>   while they change places, and after: see instance_dirs.h
 *
 * The supervisor is this same program, started as `bladed --supervise DIR/instance/current`: it is a child
 * subreaper, runs the OCI runtime, owns the output's pipe and log, and waits for the container's first
 * process. bladed finds it again after a restart through `sock`.
 *
 * All of it runs on the agent's loop thread; nothing here blocks it for long: work that takes time is done by
 * the supervisor or by a thread, and comes back as a callback on the loop's thread.
 */
#ifndef AGENT_INSTANCE_H
#define AGENT_INSTANCE_H

#include "base/err.h"
#include "base/loop.h"
#include "base/names.h"
#include "images.h"
#include "wire/message.h"

struct instance;

struct instance_options {
    const char *dir;     /* the agent's directory, absolute */
    const char *runtime; /* --runtime, or NULL: the first of runc, crun that works here */
    const char **binds;  /* --bind SRC:DST, NULL-terminated */
    const char **caps;   /* --cap CAP_..., NULL-terminated: beyond the default ones */
    unsigned grace_ms;   /* between TERM and KILL; 0: 10,000 */
};

struct instance_state {
    uint64_t image; /* 0: nothing is loaded */
    char snapshot[RUNNING_NAME_MAX_BYTES + 1];
    enum wire_phase phase;
    int64_t since_ns; /* wall clock */
    uint32_t restarts;
    char sentence[512]; /* of WIRE_PHASE_FAILED */
};

struct instance_events {
    /* The state changed by itself or by a call: the program ended, was started, ... */
    void (*changed)(void *arg);
    /* New output; the bytes live as long as the call. What was written while bladed was away comes after a
     * restart. */
    void (*output)(void *arg, const void *bytes, size_t len_bytes);
    void *arg;
};

/*
 * Takes up again what is there: a running instance is adopted as it is; after the machine's restart what ran
 * is started again, with what it wrote. `slot`: for BLADE_SLOT, may change later. Fails when no runtime
 * works: the sentence says what was tried. Blocks shortly.
 */
int instance_open(struct loop *loop, struct images *images, const struct instance_options *options,
                  const struct instance_events *events, struct instance **out, struct err *err) MUST_CHECK;
/* Leaves what runs running. An operation under way is answered with -ECANCELED. Not from within a callback;
 * before loop_free and images_close. Blocks shortly. */
void instance_close(struct instance *instance);

void instance_set_slot(struct instance *instance, const char *slot);
const struct instance_state *instance_state(const struct instance *instance);
const char *instance_runtime(const struct instance *instance); /* path and version, for people */

/* Called once per accepted call, on the loop's thread. 0, or -errno with the sentence. */
typedef void (*instance_done)(void *arg, int result, const struct err *err);

/*
 * Makes the complete image `image` the instance and starts it. The same image as now: keeps what it wrote;
 * running already: success at once. Another: stops what runs, sets its upper directory aside as `previous`
 * (replacing an older one), and starts; if the new program does not start, the old one is put back with what
 * it wrote and started again, and the result is -EIO with the new one's reason. Success is on disk before
 * `done`: the phase is RUNNING or LOADED, or STOPPED when the program has already ended with 0. One such call
 * at a time (-EBUSY).
 */
int instance_load(struct instance *instance, uint64_t image, const char *snapshot, instance_done done,
                  void *arg) MUST_CHECK;

/* start, stop, restart, unload (stops, removes the instance and what it wrote). -EBUSY while a load is under
 * way. */
int instance_run(struct instance *instance, enum wire_verb verb, instance_done done, void *arg) MUST_CHECK;

/* The supervisor's main; never returns to the agent's. */
int supervise_main(int argc, char **argv);

#endif
