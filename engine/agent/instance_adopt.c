#include "instance_parts.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "base/fdio.h"
#include "base/log.h"
#include "instance_dirs.h"

#define STOP_MS 5000
#define PIECE_BYTES 32768

/* Of a load that was not acknowledged: what it started goes. */
static void stop_uncommitted(struct instance *i)
{
    OWNED_FD current = openat(i->fd, "current", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct supervise_state state;
    if (current >= 0 && instance_link_find(&i->link, current, &state) == 1) {
        instance_link_stop(&i->link, 0);
        struct pollfd p = {.fd = i->link.pidfd, .events = POLLIN};
        if (poll(&p, 1, STOP_MS) <= 0)
            instance_link_kill(&i->link);
        instance_link_drop(&i->link);
    }
    runtime_delete_all(i->runtime.path, i->id_prefix);
}

static void set_phase(struct instance *i, enum wire_phase phase, int64_t since_ns, const char *sentence)
{
    struct instance_state *s = &i->machine.state;
    s->phase = phase;
    s->since_ns = since_ns ? since_ns : clock_wall_ns();
    snprintf(s->sentence, sizeof(s->sentence), "%s", sentence);
}

static void set_phase_of(struct instance *i, const struct supervise_state *state)
{
    if (state->phase == SUPERVISE_STARTING)
        set_phase(i, WIRE_PHASE_STARTING, state->since_ns, "");
    else if (state->phase == SUPERVISE_RUNNING)
        set_phase(i, WIRE_PHASE_RUNNING, state->since_ns, "");
    else if (state->phase == SUPERVISE_NOTHING)
        set_phase(i, WIRE_PHASE_LOADED, state->since_ns, "");
    else if (supervise_ended_well(state))
        set_phase(i, WIRE_PHASE_STOPPED, state->since_ns, "");
    else
        set_phase(i, WIRE_PHASE_FAILED, state->since_ns, state->sentence);
}

static void start_again(struct instance *i, const char *why)
{
    struct machine_event event = {.kind = EVENT_BOOT};
    set_phase(i, WIRE_PHASE_STOPPED, 0, ""); /* for a moment */
    log_info("%s: %s is started again", why, i->spec.snapshot);
    instance_feed(i, &event);
}

/* Stopped for a load or a restart that a killed bladed did not bring to its end. */
static bool stopped_halfway(const struct instance *i, const struct supervise_state *state)
{
    return supervise_is_over(state) && state->asked && i->spec.wanted;
}

/* No supervisor holds it: what it left tells the phase. */
static void judge_by_files(struct instance *i, int current)
{
    char boot_id[INSTANCE_BOOT_ID_BYTES], sentence[256];
    struct supervise_state state;
    runtime_boot_id(boot_id);
    bool same_boot = strcmp(boot_id, i->spec.boot_id) == 0;
    int r = supervise_status_read(current, &state);
    i->backlog = true;
    if (!same_boot && i->spec.wanted) {
        start_again(i, "the machine has restarted");
    } else if (r == 0 && state.start == i->spec.start && stopped_halfway(i, &state)) {
        start_again(i, "bladed ended while it was stopped");
    } else if (r == 0 && state.start == i->spec.start) {
        set_phase_of(i, &state);
    } else if (!same_boot || !i->spec.wanted) {
        set_phase(i, WIRE_PHASE_STOPPED, 0, "");
    } else {
        runtime_delete_all(i->runtime.path, i->id_prefix);
        snprintf(sentence, sizeof(sentence),
                 "%s: its supervisor died, and the program was stopped with it; start it again",
                 i->spec.snapshot);
        set_phase(i, WIRE_PHASE_FAILED, 0, sentence);
    }
}

static void take_up(struct instance *i, int current)
{
    struct supervise_state state;
    struct instance_machine *m = &i->machine;
    m->wanted = i->spec.wanted;
    m->state.image = i->spec.image;
    m->state.restarts = i->spec.restarts;
    memcpy(m->state.snapshot, i->spec.snapshot, sizeof(m->state.snapshot));
    if (!i->slot[0])
        memcpy(i->slot, i->spec.slot, sizeof(i->slot));
    instance_hold_images(i);

    if (instance_link_find(&i->link, current, &state) == 1) {
        set_phase_of(i, &state);
        m->supervisor = supervise_is_over(&state) ? SUPERVISOR_OVER : SUPERVISOR_LIVE;
        log_info("%s was taken up as it is", m->state.snapshot);
        instance_link_attach(&i->link);
        if (stopped_halfway(i, &state))
            start_again(i, "bladed ended while it was stopped");
    } else {
        judge_by_files(i, current);
    }
}

int instance_adopt(struct instance *i, struct err *err)
{
    if (instance_dirs_is_uncommitted(i->fd))
        stop_uncommitted(i);
    int r = instance_dirs_recover(i->fd, err);
    if (r < 0)
        return r;
    OWNED_FD previous = openat(i->fd, "previous", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OWNED_SPEC spec = {0};
    if (previous >= 0 && instance_spec_read(previous, INSTANCE_SPEC, &spec) == 0)
        i->machine.previous = spec.image;

    r = instance_read_current(i->fd, &i->spec);
    if (r < 0 && r != -ENOENT)
        return err_sys(err, -r, "%s/spec is damaged, or of a newer bladed: move %s away to begin anew",
                       i->current, i->current);
    OWNED_FD current = r < 0 ? -1 : openat(i->fd, "current", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (current >= 0)
        take_up(i, current);
    instance_hold_images(i);
    instance_sweep_put(i);
    return 0;
}

void instance_hand_on_backlog(struct instance *i)
{
    OWNED_FD current = openat(i->fd, "current", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct instance_log log;
    if (current < 0 || i->machine.supervisor != SUPERVISOR_NONE || instance_log_open(current, &log) < 0)
        return;
    OWNED char *piece = malloc(PIECE_BYTES);
    while (piece) {
        uint64_t offset = log.handed_on;
        ssize_t n = instance_log_read(&log, &offset, piece, PIECE_BYTES);
        if (n <= 0)
            break;
        log.handed_on = offset + (uint64_t)n;
        i->events.output(i->events.arg, piece, (size_t)n);
    }
    instance_log_close(&log);
}
