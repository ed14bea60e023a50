#include "instance_machine.h"

#include <string.h>

struct turn {
    struct instance_machine *m;
    const struct machine_event *event;
    struct machine_actions *out;
};

static void act(struct turn *t, enum machine_action_kind kind, enum machine_work work, int result)
{
    if (t->out->count < MACHINE_ACTIONS_MAX)
        t->out->at[t->out->count++] = (struct machine_action){.kind = kind, .work = work, .result = result};
}

static void changed(struct turn *t)
{
    for (size_t i = 0; i < t->out->count; i++)
        if (t->out->at[i].kind == ACT_CHANGED)
            return;
    act(t, ACT_CHANGED, 0, 0);
}

static void set_phase(struct turn *t, enum wire_phase phase, int64_t since_ns, const char *sentence)
{
    struct instance_state *s = &t->m->state;
    s->phase = phase;
    s->since_ns = since_ns ? since_ns : t->event->wall_ns;
    snprintf(s->sentence, sizeof(s->sentence), "%s", sentence);
    changed(t);
}

static void work(struct turn *t, enum machine_step step, enum machine_work what)
{
    t->m->step = step;
    t->m->deadline_ms = 0;
    act(t, ACT_WORK, what, 0);
}

static void answer(struct turn *t, int result)
{
    struct instance_machine *m = t->m;
    enum machine_op op = m->op;
    m->op = OP_NONE;
    m->step = STEP_NONE;
    m->switching = false;
    m->deadline_ms = 0;
    if (op != OP_BOOT)
        act(t, ACT_ANSWER, 0, result);
}

static void fail(struct turn *t)
{
    answer(t, t->m->reason.code ? -t->m->reason.code : -EIO);
}

static void spawn(struct turn *t, enum machine_step step)
{
    struct instance_machine *m = t->m;
    m->step = step;
    m->supervisor = SUPERVISOR_LIVE;
    m->deadline_ms = t->event->now_ms + MACHINE_START_MS;
    set_phase(t, WIRE_PHASE_STARTING, 0, "");
    act(t, ACT_SPAWN, 0, 0);
}

/* The way is free: nothing of the old program is left. */
static void stopped(struct turn *t)
{
    struct instance_machine *m = t->m;
    switch (m->op) {
    case OP_LOAD:
        if (m->switching)
            work(t, STEP_SWITCH, WORK_SWITCH);
        else
            spawn(t, STEP_START);
        break;
    case OP_STOP:
        m->wanted = false;
        if (m->state.phase != WIRE_PHASE_LOADED && m->state.phase != WIRE_PHASE_STOPPED)
            set_phase(t, WIRE_PHASE_STOPPED, 0, "");
        work(t, STEP_WANT, WORK_WANT);
        break;
    case OP_UNLOAD:
        work(t, STEP_REMOVE, WORK_REMOVE);
        break;
    case OP_START:
    case OP_RESTART:
    case OP_BOOT:
        spawn(t, STEP_START);
        break;
    case OP_NONE:
        break;
    }
}

/* Stops what runs, if anything does, and goes on in `stopped`. */
static void stop(struct turn *t)
{
    struct instance_machine *m = t->m;
    if (m->supervisor == SUPERVISOR_NONE && !m->killing) {
        stopped(t);
        return;
    }
    m->step = STEP_STOP;
    m->deadline_ms = t->event->now_ms + MACHINE_GONE_MS;
    if (m->supervisor == SUPERVISOR_LIVE) {
        m->deadline_ms += m->grace_ms;
        act(t, ACT_STOP, 0, 0);
    }
}

static void begin_load(struct turn *t)
{
    struct instance_machine *m = t->m;
    enum wire_phase phase = m->state.phase;
    m->op = OP_LOAD;
    m->load = (struct instance_state){.image = t->event->image};
    snprintf(m->load.snapshot, sizeof(m->load.snapshot), "%s", t->event->snapshot);
    if (m->state.image != t->event->image) {
        m->switching = true;
        work(t, STEP_PREPARE, WORK_PREPARE);
    } else if (phase == WIRE_PHASE_RUNNING || phase == WIRE_PHASE_LOADED) {
        answer(t, 0);
    } else {
        memcpy(m->state.snapshot, m->load.snapshot, sizeof(m->state.snapshot));
        stop(t);
    }
}

static void begin_run(struct turn *t)
{
    static const enum machine_op ops[] = {[WIRE_RUN_START] = OP_START,
                                          [WIRE_RUN_STOP] = OP_STOP,
                                          [WIRE_RUN_RESTART] = OP_RESTART,
                                          [WIRE_RUN_UNLOAD] = OP_UNLOAD};
    struct instance_machine *m = t->m;
    enum wire_phase phase = m->state.phase;
    m->op = ops[t->event->verb];
    if (m->state.image == 0 && m->op == OP_UNLOAD) {
        answer(t, 0);
    } else if (m->state.image == 0) {
        err_set(&m->reason, ENOENT, "nothing is loaded here: load a snapshot first");
        fail(t);
    } else if (m->op == OP_START && (phase == WIRE_PHASE_RUNNING || phase == WIRE_PHASE_LOADED)) {
        answer(t, 0);
    } else {
        stop(t);
    }
}

/* ---- what the supervisor says ---- */

static void started_well(struct turn *t)
{
    struct instance_machine *m = t->m;
    if (m->step == STEP_START_OLD) {
        fail(t);
    } else if (m->switching) {
        m->wanted = true;
        work(t, STEP_COMMIT, WORK_COMMIT);
    } else if (m->wanted && m->op != OP_LOAD) {
        answer(t, 0);
    } else {
        m->wanted = true;
        work(t, STEP_WANT, WORK_WANT);
    }
}

/* The new instance is to go, and what was there before to come back. */
static void undo(struct turn *t)
{
    struct instance_machine *m = t->m;
    if (m->supervisor == SUPERVISOR_NONE && !m->killing) {
        work(t, STEP_ROLLBACK, WORK_ROLLBACK);
        return;
    }
    m->step = STEP_FAILED;
    m->deadline_ms = t->event->now_ms + MACHINE_GONE_MS;
    if (m->supervisor == SUPERVISOR_LIVE) {
        m->deadline_ms += m->grace_ms;
        act(t, ACT_STOP, 0, 0);
    }
}

static void started_badly(struct turn *t, const char *sentence)
{
    struct instance_machine *m = t->m;
    if (m->step == STEP_START_OLD) {
        struct err first = m->reason;
        err_set(&m->reason, EIO, "%.250s; and what ran before did not start again: %.200s", first.message,
                sentence);
        set_phase(t, WIRE_PHASE_FAILED, 0, sentence);
        fail(t);
        return;
    }
    err_set(&m->reason, EIO, "%s", sentence);
    if (m->switching) {
        undo(t);
    } else {
        set_phase(t, WIRE_PHASE_FAILED, 0, sentence);
        fail(t);
    }
}

/*
 * It was stopped for something that never came to its end: a load, a restart, whose bladed was killed. What
 * is wanted runs again when the supervisor is gone.
 */
static void begin_again(struct turn *t)
{
    struct instance_machine *m = t->m;
    m->reason = (struct err){0};
    m->op = OP_BOOT;
    m->state.restarts++;
    stop(t);
}

/* The program is there no more, or never was; `s` is over. */
static void ended(struct turn *t, const struct supervise_state *s)
{
    struct instance_machine *m = t->m;
    bool starting = m->step == STEP_START || m->step == STEP_START_OLD;
    bool well = s->phase == SUPERVISE_NOTHING || supervise_ended_well(s);
    m->supervisor = SUPERVISOR_OVER;
    if (starting && !well) {
        started_badly(t, s->sentence);
        return;
    }
    if (s->phase == SUPERVISE_NOTHING)
        set_phase(t, WIRE_PHASE_LOADED, s->since_ns, "");
    else if (well || m->step == STEP_STOP)
        set_phase(t, WIRE_PHASE_STOPPED, s->since_ns, "");
    else
        set_phase(t, WIRE_PHASE_FAILED, s->since_ns, s->sentence);
    if (starting)
        started_well(t);
    else if (m->op == OP_NONE && s->asked && m->wanted)
        begin_again(t);
}

static void heard(struct turn *t)
{
    struct instance_machine *m = t->m;
    const struct supervise_state *s = t->event->supervised;
    if (m->supervisor != SUPERVISOR_LIVE)
        return;
    if (supervise_is_over(s)) {
        ended(t, s);
    } else if (s->phase == SUPERVISE_RUNNING && m->state.phase == WIRE_PHASE_STARTING) {
        set_phase(t, WIRE_PHASE_RUNNING, s->since_ns, "");
        if (m->step == STEP_START || m->step == STEP_START_OLD)
            started_well(t);
    }
}

static void gone(struct turn *t)
{
    struct instance_machine *m = t->m;
    if (m->supervisor == SUPERVISOR_LIVE) {
        /* It died without a last word: the container is still there, perhaps. */
        if (!m->killing)
            act(t, ACT_WORK, WORK_KILL, 0);
        m->killing = true;
        return;
    }
    m->supervisor = SUPERVISOR_NONE;
    if (m->step == STEP_STOP)
        stopped(t);
    else if (m->step == STEP_FAILED)
        work(t, STEP_ROLLBACK, WORK_ROLLBACK);
}

/* ---- what the works came to ---- */

static void killed(struct turn *t)
{
    struct instance_machine *m = t->m;
    struct supervise_state s = {.phase = SUPERVISE_ENDED, .exit_code = 1, .asked = m->step == STEP_STOP};
    snprintf(s.sentence, sizeof(s.sentence),
             "%s: its supervisor died, and the program was stopped with it; start it again",
             m->state.snapshot);
    m->killing = false;
    if (m->supervisor == SUPERVISOR_LIVE)
        ended(t, &s);
    gone(t);
}

static void switched(struct turn *t)
{
    struct instance_machine *m = t->m;
    if (t->event->result < 0) {
        m->reason = *t->event->reason;
        undo(t);
        return;
    }
    m->older = m->previous;
    m->previous = m->old.image;
    m->state.image = m->load.image;
    memcpy(m->state.snapshot, m->load.snapshot, sizeof(m->state.snapshot));
    m->state.restarts = 0;
    spawn(t, STEP_START);
}

static void rolled_back(struct turn *t)
{
    struct instance_machine *m = t->m;
    if (t->event->result < 0) {
        char sentence[sizeof(m->state.sentence)];
        snprintf(sentence, sizeof(sentence), "what was loaded before cannot be put back: %.350s",
                 t->event->reason->message);
        set_phase(t, WIRE_PHASE_FAILED, 0, sentence);
        fail(t);
        return;
    }
    if (m->state.image != m->old.image) { /* the switch had been made */
        m->previous = m->older;
        m->older = 0;
    }
    act(t, ACT_SWEEP, 0, 0);
    m->state = m->old;
    m->wanted = m->old_wanted;
    changed(t);
    if (m->old.image && m->old_ran)
        spawn(t, STEP_START_OLD);
    else
        fail(t);
}

static void removed(struct turn *t)
{
    struct instance_machine *m = t->m;
    if (t->event->result < 0) {
        m->reason = *t->event->reason;
        fail(t);
        return;
    }
    m->state = (struct instance_state){0};
    m->previous = m->older = 0;
    m->wanted = false;
    set_phase(t, WIRE_PHASE_EMPTY, 0, "");
    act(t, ACT_SWEEP, 0, 0);
    answer(t, 0);
}

static void worked(struct turn *t)
{
    struct instance_machine *m = t->m;
    int result = t->event->result;
    if (result < 0 && t->event->work != WORK_KILL)
        m->reason = *t->event->reason;
    switch (t->event->work) {
    case WORK_PREPARE:
        m->old = m->state;
        m->old_ran = m->supervisor == SUPERVISOR_LIVE;
        m->old_wanted = m->wanted;
        if (result < 0) {
            act(t, ACT_SWEEP, 0, 0);
            fail(t);
        } else {
            stop(t);
        }
        break;
    case WORK_SWITCH:
        switched(t);
        break;
    case WORK_COMMIT:
        if (result < 0) {
            undo(t);
            break;
        }
        m->older = 0;
        act(t, ACT_SWEEP, 0, 0);
        answer(t, 0);
        break;
    case WORK_ROLLBACK:
        rolled_back(t);
        break;
    case WORK_WANT:
        answer(t, result);
        break;
    case WORK_REMOVE:
        removed(t);
        break;
    case WORK_KILL:
        killed(t);
        break;
    }
}

/* ---- */

static void time_came(struct turn *t)
{
    struct instance_machine *m = t->m;
    if (!m->deadline_ms || t->event->now_ms < m->deadline_ms)
        return;
    /* Once a while until it has worked. */
    m->deadline_ms = t->event->now_ms + MACHINE_GONE_MS;
    if (m->supervisor != SUPERVISOR_NONE && !m->killing)
        act(t, ACT_KILL_SUPERVISOR, 0, 0);
}

bool machine_is_busy(const struct instance_machine *m)
{
    return m->op != OP_NONE;
}

void machine_step(struct instance_machine *m, const struct machine_event *event, struct machine_actions *out)
{
    struct turn t = {.m = m, .event = event, .out = out};
    out->count = 0;
    if (event->kind == EVENT_LOAD || event->kind == EVENT_RUN || event->kind == EVENT_BOOT)
        m->reason = (struct err){0};
    switch (event->kind) {
    case EVENT_LOAD:
        begin_load(&t);
        break;
    case EVENT_RUN:
        begin_run(&t);
        break;
    case EVENT_BOOT:
        begin_again(&t);
        break;
    case EVENT_WORK:
        worked(&t);
        break;
    case EVENT_SUPERVISOR:
        heard(&t);
        break;
    case EVENT_GONE:
        gone(&t);
        break;
    case EVENT_TIME:
        time_came(&t);
        break;
    }
}
