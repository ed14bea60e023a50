#include <string.h>

#include "base/fdio.h"
#include "base/log.h"
#include "load_parts.h"
#include "peer.h"
#include "status_text.h"

void load_names_blade(struct load *load)
{
    char name[NAME_MAX_BYTES + 1];
    if (!load->slot)
        return;
    slot_name(load->fleet, load->slot, name);
    err_prefix(&load->err, "blade %s", name);
}

/* ---- a slot's load ---- */

void load_take(struct load *load, struct slot *slot)
{
    load->slot = slot;
    slot->load = load;
    {
        HOLD_LOCK(&load->fleet->lock);
        slot->taken = true;
        slot->progress = (struct progress){.any = true, .began_ms = loop_now_ms(load->fleet->loop)};
        slot->progress_ns = clock_wall_ns();
    }
    slot_event(load->fleet, slot, BLADE_LOADING, 0);
    fleet_notify(load->fleet, ENGINE_SLOT, slot->id);
}

void load_leave(struct load *load)
{
    struct slot *slot = load->slot;
    sender_stop(STEAL(load->sender));
    load_drop_plan(load);
    load->number = 0;
    if (!slot)
        return;
    load->slot = NULL;
    slot->load = NULL;
    {
        HOLD_LOCK(&load->fleet->lock);
        slot->taken = false;
        if (!slot->progress.ended_ms)
            slot->progress.ended_ms = loop_now_ms(load->fleet->loop);
        slot->progress_ns = clock_wall_ns();
    }
    slot_event(load->fleet, slot, BLADE_LOAD_OVER, 0);
    slot_drop_images(load->fleet, slot);
    fleet_notify(load->fleet, ENGINE_SLOT, slot->id);
}

/* ---- the end ---- */

void load_put(struct load *load)
{
    if (--load->under_way > 0 || load->state != LOAD_ENDED)
        return;
    for (struct load **at = &load->fleet->loads; *at; at = &(*at)->next) {
        if (*at == load) {
            *at = load->next;
            break;
        }
    }
    if (load->held)
        runnings_release(load->fleet->options.runnings, load->row.id);
    free(load);
}

static void succeed(struct load *load)
{
    struct fleet *fleet = load->fleet;
    struct slot *slot = load->slot;
    char line[sizeof fleet->any_choice + 1];
    {
        HOLD_LOCK(&fleet->lock);
        struct progress *p = &slot->progress;
        if (p->total_bytes == 0)
            p->total_bytes = load->row.bytes;
        p->done_bytes = p->total_bytes;
        p->done = true;
        p->ended_ms = loop_now_ms(fleet->loop);
        snprintf(line, sizeof line, "%s %s\n", slot->name, slot->image);
        if (load->any) {
            snprintf(fleet->any_choice, sizeof fleet->any_choice, "%s %s", slot->name, slot->image);
            fleet->any_choice_ns = clock_wall_ns();
        }
    }
    slot_set_error(fleet, slot, "");
    if (load->any)
        any_set_error(fleet, "");
    load_leave(load);
    log_info("loaded: %.*s", (int)strcspn(line, "\n"), line);
    waiters_answer(&load->waiters, 0, line);
}

static void fail(struct load *load)
{
    struct fleet *fleet = load->fleet;
    if (!load->err.code)
        load_fails(load, EIO, "the load failed");
    if (load->slot && !fleet->closing)
        slot_set_error(fleet, load->slot, load->err.message);
    if (load->any && !fleet->closing)
        any_set_error(fleet, load->err.message);
    load_leave(load);
    waiters_answer(&load->waiters, -answer_code(load->err.code), "");
}

static void perform(struct load *load, unsigned actions)
{
    if (actions & LOAD_DO_STOP_CAPTURE)
        load_stop_capture(load);
    if (actions & LOAD_DO_FORGET)
        load_forget(load);
    if (actions & LOAD_DO_TELL_CANCEL)
        load_tell_cancel(load);
    if (actions & LOAD_DO_LEAVE) {
        if (load->tried_count < TRIED_MAX)
            load->tried[load->tried_count++] = load->slot->id;
        slot_set_error(load->fleet, load->slot, load->err.message);
        load_leave(load);
    }
    if (actions & LOAD_DO_FAIL)
        fail(load);
    if ((actions & LOAD_DO_SUCCEED) && load->slot)
        succeed(load);
    if (actions & LOAD_DO_CHOOSE)
        load_choose(load);
    if (actions & LOAD_DO_PLAN)
        load_plan(load);
    if (actions & LOAD_DO_PREPARE)
        load_prepare(load, false);
    if (actions & LOAD_DO_PREPARE_HELD)
        load_prepare(load, true);
    if (actions & LOAD_DO_NOTE)
        load_note(load);
    if (actions & LOAD_DO_START)
        load_start(load);
    if (actions & LOAD_DO_AWAIT)
        load_await(load);
    if (actions & LOAD_DO_COMMIT)
        load_commit(load);
}

void load_event(struct load *load, enum load_event event)
{
    struct load_step step = load_next(load->state, event, load->any);
    load->state = step.state;
    load->under_way++;
    perform(load, step.actions);
    load_put(load);
}

/* ---- from the connections ---- */

void loads_lost(struct slot *slot)
{
    struct load *load = slot->load;
    if (!load)
        return;
    struct progress p;
    {
        HOLD_LOCK(&load->fleet->lock);
        p = slot->progress;
    }
    if (load->state == LOAD_PREPARE && p.total_bytes > 0) {
        char done[32], total[32];
        text_bytes(p.done_bytes, done);
        text_bytes(p.total_bytes, total);
        load_fails(load, EIO, "connection lost after %u%% (%s of %s); load again to send the rest",
                   (unsigned)((double)p.done_bytes * 100 / (double)p.total_bytes), done, total);
    } else if (load->state < LOAD_START) {
        load_fails(load, EIO, "connection lost; load again when it is back");
    }
    load->number = 0;
    load_event(load, LOAD_LOST);
}

/* What the blade says when it came back tells what became of its START. */
void loads_reported(struct slot *slot)
{
    struct load *load = slot->load;
    if (!load || load->state != LOAD_AWAY || !slot->blade.in || slot->report.image != load->row.image)
        return;
    switch (slot->report.phase) {
    case WIRE_PHASE_RUNNING:
    case WIRE_PHASE_LOADED:
        load_event(load, LOAD_STARTED);
        break;
    case WIRE_PHASE_STOPPED: /* it may have been stopped before, too */
        if (slot->blade.acknowledged != load->row.image)
            load_event(load, LOAD_STARTED);
        break;
    case WIRE_PHASE_FAILED:
        load_fails(load, EIO, "%s",
                   slot->report_sentence[0] ? slot->report_sentence : "the program did not start");
        load_event(load, LOAD_FAILED);
        break;
    case WIRE_PHASE_EMPTY:
    case WIRE_PHASE_STARTING:
        break;
    }
}

static void progressed(struct load *load, const struct wire_progress *in)
{
    load_note_progress(load, in->done_bytes, in->total_bytes);
    if (load->begun || !load->sender)
        return;
    load->begun = true;
    sender_begin(load->sender);
}

static void failed(struct load *load, const struct wire_failed *in)
{
    if (load->state == LOAD_PREPARE && load->without_plan) {
        struct slot *slot = load->slot;
        uint32_t kept = 0;
        for (uint32_t i = 0; i < slot->holdings_count; i++) {
            if (slot->holdings[i] != load->row.image)
                slot->holdings[kept++] = slot->holdings[i];
        }
        slot->holdings_count = kept;
        load_event(load, LOAD_NOT_HELD);
        return;
    }
    char sentence[WIRE_SENTENCE_MAX_BYTES + 1];
    wire_text_copy(&in->sentence, sentence, sizeof sentence);
    int code = in->code == ENOSPC || in->code == EDQUOT || in->code == EROFS ? in->code : EIO;
    load_fails(load, code, "%s", sentence[0] ? sentence : "the load failed there");
    load_event(load, LOAD_FAILED);
}

static uint64_t number_of(const struct wire_message *m)
{
    switch (m->type) {
    case WIRE_PROGRESS:
        return m->progress.load;
    case WIRE_FAILED:
        return m->failed.load;
    case WIRE_WANT:
        return m->want.load;
    case WIRE_CREDIT:
        return m->credit.load;
    default:
        return m->load.load;
    }
}

void loads_control_message(struct slot *slot, const struct wire_message *m)
{
    struct load *load = slot->load;
    if (!load || load->number == 0 || number_of(m) != load->number)
        return; /* of one that is over */
    switch (m->type) {
    case WIRE_PROGRESS:
        progressed(load, &m->progress);
        break;
    case WIRE_PREPARED:
        load_event(load, LOAD_PREPARED);
        break;
    case WIRE_STARTED:
        load_event(load, LOAD_STARTED);
        break;
    case WIRE_FAILED:
        failed(load, &m->failed);
        break;
    default:
        break;
    }
}

int loads_bulk_message(struct slot *slot, const struct wire_message *m, struct err *err)
{
    struct load *load = slot->load;
    if (!load || load->number == 0 || number_of(m) != load->number || !load->sender)
        return 0;
    if (m->type == WIRE_WANT)
        return sender_want(load->sender, &m->want, err);
    return sender_credit(load->sender, m->credit.bytes, err);
}

/* ---- requests ---- */

static struct load *load_new(struct fleet *fleet, const char *value)
{
    struct load *load = calloc(1, sizeof *load);
    if (!load)
        return NULL;
    load->fleet = fleet;
    load->state = LOAD_CAPTURE;
    snprintf(load->value, sizeof load->value, "%s", value);
    load->next = fleet->loads;
    fleet->loads = load;
    return load;
}

static void refuse(struct waiter *waiter, int code)
{
    waiters_answer(&waiter, -code, "");
}

static void refuse_with(struct fleet *fleet, struct slot *slot, struct waiter *waiter, int code,
                        const char *words)
{
    char name[NAME_MAX_BYTES + 1], sentence[512];
    slot_name(fleet, slot, name);
    snprintf(sentence, sizeof sentence, "blade %s: %s", name, words);
    slot_set_error(fleet, slot, sentence);
    refuse(waiter, code);
}

static void begin(struct fleet *fleet, struct slot *slot, const char *value, struct waiter *waiter)
{
    struct load *load = load_new(fleet, value);
    if (!load) {
        refuse(waiter, EIO);
        return;
    }
    load->any = slot == NULL;
    load->waiters = waiter;
    if (slot)
        load_take(load, slot);
    load->under_way++;
    load_capture(load);
    load_put(load);
}

void loads_request(struct fleet *fleet, uint32_t slot_id, const char *value, struct waiter *waiter)
{
    struct slot *slot = NULL;
    waiter->next = NULL;
    if (slot_id != ENGINE_ANY) {
        HOLD_LOCK(&fleet->lock);
        slot = slots_by_id(&fleet->slots, slot_id);
        if (slot && slot->removing)
            slot = NULL;
    }
    if (fleet->closing)
        refuse(waiter, EINTR);
    else if (slot_id != ENGINE_ANY && !slot)
        refuse(waiter, ENOENT);
    else if (slot && slot->load && strcmp(slot->load->value, value) == 0) {
        waiter->next = slot->load->waiters;
        slot->load->waiters = waiter;
    } else if (slot && slot->load)
        refuse_with(fleet, slot, waiter, EEXIST, "another load is under way; wait for it");
    else if (slot && slot->run)
        refuse_with(fleet, slot, waiter, EEXIST, "it is being started or stopped; wait for that");
    else if (slot && (!slot_connected(slot) || !slot->blade.in))
        refuse_with(fleet, slot, waiter, ENXIO,
                    "it is not connected; is its agent running, with this slot's key?");
    else
        begin(fleet, slot, value, waiter);
}

void loads_refuse_unknown(struct fleet *fleet, uint32_t slot_id, const char *value, struct waiter *waiter)
{
    const char *where = strchr(value, '@') ? "running" : "snapshots";
    char sentence[512];
    snprintf(sentence, sizeof sentence, "there is no %s/%s; ls %s shows what there is", where, value, where);
    struct slot *slot = slot_id != ENGINE_ANY ? fleet_slot(fleet, slot_id) : NULL;
    waiter->next = NULL;
    if (slot)
        refuse_with(fleet, slot, waiter, ENOENT, sentence);
    else {
        if (slot_id == ENGINE_ANY)
            any_set_error(fleet, sentence);
        refuse(waiter, ENOENT);
    }
}

bool loads_cancel(struct fleet *fleet, uint64_t request)
{
    for (struct load *load = fleet->loads; load; load = load->next) {
        if (!waiters_have(load->waiters, request))
            continue;
        if (load->state >= LOAD_START)
            return true; /* no way back: it is soon over, and who waits is told how it ended */
        waiters_cancel(&load->waiters, request);
        if (!load->waiters) {
            load_fails(load, EINTR, "the load of %s was cancelled; the blade keeps what it had", load->value);
            load_event(load, LOAD_CANCELLED);
        }
        return true;
    }
    return false;
}

void loads_close(struct fleet *fleet)
{
    struct load *next;
    for (struct load *load = fleet->loads; load; load = next) {
        next = load->next; /* it ends none but itself */
        waiters_answer(&load->waiters, -EINTR, "");
        if (load->state < LOAD_START) {
            load_event(load, LOAD_CANCELLED);
            continue;
        }
        /* it goes to its end without us, and is taken over by its report at the next start */
        load->under_way++;
        loop_cancel(fleet->loop, &load->away_op);
        load->state = LOAD_ENDED;
        load_leave(load);
        load_put(load);
    }
}
