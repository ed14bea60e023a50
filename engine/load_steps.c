/* What a load does at each step, and what comes of it. */
#include <string.h>

#include "base/container.h"
#include "base/fdio.h"
#include "load_parts.h"
#include "peer.h"

/* ---- the running snapshot ---- */

/* The row is held: what is to do depends on what the blade has. */
static void have_running(struct load *load)
{
    const struct slot *slot = load->slot;
    enum load_event event = LOAD_CAPTURED;
    if (slot) {
        const struct blade *b = &slot->blade;
        if (b->in && b->image == load->row.image &&
            (b->phase == WIRE_PHASE_RUNNING || b->phase == WIRE_PHASE_LOADED))
            event = LOAD_SAME;
        else if (holdings_have(slot->holdings, slot->holdings_count, load->row.image))
            event = LOAD_HELD;
    }
    load_event(load, event);
}

static void got_running(struct load *load, uint32_t id)
{
    load->row.id = id;
    load->held = true;
    int rc = runnings_get(load->fleet->options.runnings, id, &load->row);
    if (rc < 0) {
        err_set(&load->err, -rc, "the running snapshot of %s is gone", load->value);
        load_event(load, LOAD_FAILED);
        return;
    }
    have_running(load);
}

static void captured_on_loop(struct loop_task *task)
{
    struct load *load = CONTAINER_OF(task, struct load, captured_task);
    load->capturing = false;
    if (load->captured_running)
        fleet_notify(load->fleet, ENGINE_STORE, 0);
    if (load->state != LOAD_CAPTURE) { /* nobody wants it any more */
        if (load->captured_running)
            runnings_release(load->fleet->options.runnings, load->captured_running);
    } else if (load->captured_running) {
        got_running(load, load->captured_running);
    } else {
        err_set(&load->err, load->captured_err.code ? load->captured_err.code : EIO, "%s",
                load->captured_err.message[0] ? load->captured_err.message : "the capture failed");
        load_event(load, LOAD_FAILED);
    }
    load_put(load);
}

static void captured(void *arg, uint32_t running, const struct err *err)
{
    struct load *load = arg;
    load->captured_running = running;
    if (err)
        load->captured_err = *err;
    load->captured_task.run = captured_on_loop;
    /* The loop may end on account of this very task, while its posting is not over: see fleet_free. */
    struct fleet *fleet = load->fleet;
    HOLD_LOCK(&fleet->lock);
    loop_post(fleet->loop, &load->captured_task);
}

static void find_running(struct load *load, const char *name, uint64_t n)
{
    struct runnings *runnings = load->fleet->options.runnings;
    uint32_t id;
    int rc = runnings_find(runnings, name, n, &id);
    if (rc == 0)
        rc = runnings_hold(runnings, id);
    if (rc < 0) {
        err_set(&load->err, -rc, "there is no running snapshot %s", load->value);
        load_event(load, LOAD_FAILED);
        return;
    }
    got_running(load, id);
}

void load_capture(struct load *load)
{
    char name[NAME_MAX_BYTES + 1];
    uint64_t n;
    if (running_name_parse(load->value, strlen(load->value), name, &n)) {
        find_running(load, name, n);
        return;
    }
    load->under_way++;
    load->capturing = true;
    load->capture = captures_request(load->fleet->options.captures, load->value, captured, load);
    if (load->capture)
        return;
    load->capturing = false;
    load_fails(load, EIO, "the controller has no memory for a capture");
    load_event(load, LOAD_FAILED);
    load_put(load);
}

void load_stop_capture(struct load *load)
{
    if (load->capturing)
        captures_cancel(load->fleet->options.captures, load->capture);
}

/* ---- the plan ---- */

static void planned(struct work *work)
{
    struct plan *plan = CONTAINER_OF(work, struct plan, work);
    struct load *load = plan->arg;
    if (load->plan != plan) { /* of a blade that is no longer the one */
        plan_free(plan);
    } else {
        load->planning = false;
        if (plan->result < 0) {
            load_fails(load, -plan->result, "%s", plan->err.message);
            load_event(load, LOAD_FAILED);
        } else {
            load_event(load, LOAD_PLANNED);
        }
    }
    load_put(load);
}

void load_plan(struct load *load)
{
    struct slot *slot = load->slot;
    struct plan *plan = calloc(1, sizeof *plan);
    load_drop_plan(load);
    if (!plan) {
        load_fails(load, EIO, "the controller has no memory to plan the load");
        load_event(load, LOAD_FAILED);
        return;
    }
    plan->work.finished = planned;
    plan->arg = load;
    plan->planner = load->fleet->planner;
    plan->image = load->row.image;
    plan->holdings_count = slot->holdings_count;
    memcpy(plan->holdings, slot->holdings, slot->holdings_count * sizeof plan->holdings[0]);
    load->plan = plan;
    load->planning = true;
    load->under_way++;
    plan_submit(plan);
}

void load_drop_plan(struct load *load)
{
    struct plan *plan = STEAL(load->plan);
    if (!load->planning)
        plan_free(plan);
    load->planning = false; /* else the thread still works on it: see planned */
}

/* ---- over the wire ---- */

static size_t pending(void *arg)
{
    const struct load *load = arg;
    return load->slot && load->slot->bulk ? peer_pending(load->slot->bulk) : SIZE_MAX / 2;
}

static int send_bulk(void *arg, const struct wire_message *message)
{
    const struct load *load = arg;
    return load->slot && load->slot->bulk ? peer_send(load->slot->bulk, message) : -EPIPE;
}

static void unreadable(void *arg, const struct err *err)
{
    struct load *load = arg;
    err_set(&load->err, err->code ? err->code : EIO, "%s", err->message);
    load_event(load, LOAD_BROKEN);
}

void load_prepare(struct load *load, bool without_plan)
{
    struct fleet *fleet = load->fleet;
    struct slot *slot = load->slot;
    char snapshot[RUNNING_NAME_MAX_BYTES + 1];
    running_name_format(snapshot, load->row.name, load->row.n);
    load->without_plan = without_plan;
    load->begun = false;
    load->number = ++fleet->last_load;
    {
        HOLD_LOCK(&fleet->lock);
        slot->progress =
            (struct progress){.any = true,
                              .began_ms = loop_now_ms(fleet->loop),
                              .total_bytes = without_plan ? load->row.bytes : load->plan->content_bytes};
    }
    struct wire_message m = {
        .type = WIRE_PREPARE,
        .prepare = {.load = load->number, .image = load->row.image, .snapshot = wire_text(snapshot)}};
    if (!without_plan) {
        const struct sender_events events = {
            .pending = pending, .send = send_bulk, .failed = unreadable, .arg = load};
        m.prepare.descriptor_raw_bytes = load->plan->descriptor->raw_bytes;
        m.prepare.descriptor_bytes = load->plan->descriptor->frame.len_bytes;
        if (sender_new(fleet->senders, load->number, load->plan, &events, &load->sender) < 0) {
            load_fails(load, EIO, "the controller has no memory to send the image");
            load_event(load, LOAD_BROKEN);
            return;
        }
    }
    peer_send(slot->control, &m); /* that it cannot be sent is told as the connection's end */
}

void load_tell_cancel(struct load *load)
{
    if (!load->slot || !load->slot->control || load->number == 0)
        return;
    const struct wire_message m = {.type = WIRE_CANCEL, .load = {.load = load->number}};
    load->number = 0;
    peer_send(load->slot->control, &m);
}

void load_note_progress(struct load *load, uint64_t done_bytes, uint64_t total_bytes)
{
    struct fleet *fleet = load->fleet;
    struct slot *slot = load->slot;
    {
        HOLD_LOCK(&fleet->lock);
        struct progress *p = &slot->progress;
        if (total_bytes)
            p->total_bytes = total_bytes;
        p->done_bytes = done_bytes < p->total_bytes ? done_bytes : p->total_bytes;
        if (load->sender)
            p->sent_bytes = sender_sent_bytes(load->sender);
        slot->progress_ns = clock_wall_ns();
    }
    fleet_notify(fleet, ENGINE_SLOT, slot->id);
}

/*
 * Before the blade is told to start it, the catalog knows that it may run it: whatever happens to the
 * connection or to this program then, what runs there stays known by its name, and cannot be removed.
 */
static void noted(struct fleet *fleet, void *arg, int result, const struct err *err)
{
    struct load *load = arg;
    if (load->state != LOAD_NOTE) { /* it was ended meanwhile, and is forgotten next */
        load_put(load);
        return;
    }
    if (result < 0) {
        load->noted_slot = 0;
        load_fails(load, -result, "the controller could not note what is to run there: %s", err->message);
        load_event(load, LOAD_FAILED);
    } else {
        slot_starting(fleet, load->slot, load->row.id);
        load_event(load, LOAD_NOTED);
    }
    load_put(load);
}

void load_note(struct load *load)
{
    struct slot *slot = load->slot;
    slot_event(load->fleet, slot, BLADE_STARTING, load->row.image);
    if (slot->running == load->row.id) { /* it is known already */
        load_event(load, LOAD_NOTED);
        return;
    }
    load->noted_slot = slot->id;
    load->under_way++;
    if (commit_starting(load->fleet, slot->id, load->row.id, noted, load) == 0)
        return;
    load->noted_slot = 0;
    load_fails(load, EIO, "the controller has no memory to note what is to run there");
    load_event(load, LOAD_FAILED);
    load_put(load);
}

struct forgetting {
    struct load *load; /* it holds the running snapshot meanwhile */
    uint32_t slot;
};

static void forgotten(struct fleet *fleet, void *arg, int result, const struct err *err)
{
    (void)err;
    struct forgetting *f = arg;
    struct slot *slot = fleet_slot(fleet, f->slot);
    if (result == 0 && slot && slot->starting == f->load->row.id)
        slot_starting(fleet, slot, 0);
    load_put(f->load);
    free(f);
}

/* What could not be forgotten is when the blade has said what it runs (slot_settle_start). */
void load_forget(struct load *load)
{
    struct forgetting *f = load->noted_slot ? calloc(1, sizeof *f) : NULL;
    if (!f)
        return;
    *f = (struct forgetting){.load = load, .slot = load->noted_slot};
    load->noted_slot = 0;
    load->under_way++;
    if (commit_starting(load->fleet, f->slot, 0, forgotten, f) == 0)
        return;
    load_put(load);
    free(f);
}

void load_start(struct load *load)
{
    struct slot *slot = load->slot;
    uint64_t total;
    {
        HOLD_LOCK(&load->fleet->lock);
        total = slot->progress.total_bytes;
    }
    load_note_progress(load, total, 0);
    sender_stop(STEAL(load->sender));
    load_drop_plan(load);
    const struct wire_message m = {.type = WIRE_START, .load = {.load = load->number}};
    peer_send(slot->control, &m);
}

static void away_done(struct loop_op *op, int result)
{
    struct load *load = CONTAINER_OF(op, struct load, away_op);
    if (result == -ETIME && load->state == LOAD_AWAY) {
        load_fails(
            load, EIO,
            "connection lost after it was told to start, and it did not come back with it in %u s; what it "
            "runs then is shown when it is back",
            AWAY_MS / 1000);
        load_event(load, LOAD_TIMEOUT);
    }
    load_put(load);
}

void load_await(struct load *load)
{
    load->away_op.done = away_done;
    load->under_way++;
    loop_timer(load->fleet->loop, &load->away_op, AWAY_MS);
}

/* ---- the catalog ---- */

static void committed(struct fleet *fleet, void *arg, int result, const struct err *err)
{
    struct load *load = arg;
    if (load->state != LOAD_COMMIT) { /* the controller ends */
        load_put(load);
        return;
    }
    if (result < 0) {
        load_fails(load, -result, "it runs there, but the controller could not note it: %s", err->message);
        load_event(load, LOAD_FAILED);
    } else {
        load->held = false; /* the slot holds it now */
        slot_loaded(fleet, load->slot, &load->row, false);
        load_event(load, LOAD_COMMITTED);
    }
    load_put(load);
}

void load_commit(struct load *load)
{
    struct slot *slot = load->slot;
    loop_cancel(load->fleet->loop, &load->away_op);
    if (slot->running == load->row.id && !slot->stopped) { /* as it was acknowledged before */
        slot_event(load->fleet, slot, BLADE_ACKNOWLEDGED, load->row.image);
        load_event(load, LOAD_COMMITTED);
        return;
    }
    load->under_way++;
    if (commit_loaded(load->fleet, slot->id, load->row.id, false, committed, load) < 0) {
        load_fails(load, EIO, "it runs there, but the controller has no memory to note it");
        load_event(load, LOAD_FAILED);
        load_put(load);
    }
}
