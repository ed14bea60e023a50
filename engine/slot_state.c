#include <string.h>

#include "base/fdio.h"
#include "base/log.h"
#include "fleet_parts.h"
#include "peer.h"

struct slot *fleet_slot(struct fleet *fleet, uint32_t id)
{
    HOLD_LOCK(&fleet->lock);
    return slots_by_id(&fleet->slots, id);
}

void slot_name(struct fleet *fleet, const struct slot *slot, char out[NAME_MAX_BYTES + 1])
{
    HOLD_LOCK(&fleet->lock);
    memcpy(out, slot->name, NAME_MAX_BYTES + 1);
}

/* ---- errors ---- */

void slot_set_error(struct fleet *fleet, struct slot *slot, const char *sentence)
{
    char name[NAME_MAX_BYTES + 1];
    bool same;
    {
        HOLD_LOCK(&fleet->lock);
        memcpy(name, slot->name, sizeof name);
        same = strcmp(slot->error, sentence) == 0;
        if (!same) {
            snprintf(slot->error, sizeof slot->error, "%s", sentence);
            slot->error_ns = clock_wall_ns();
        }
    }
    if (sentence[0])
        log_warn("slot %s: %s", name, sentence);
    if (same)
        return;
    commit_error(fleet, slot->id, sentence);
    fleet_notify(fleet, ENGINE_SLOT, slot->id);
}

void any_set_error(struct fleet *fleet, const char *sentence)
{
    {
        HOLD_LOCK(&fleet->lock);
        snprintf(fleet->any_error, sizeof fleet->any_error, "%s", sentence);
        fleet->any_error_ns = clock_wall_ns();
    }
    fleet_notify(fleet, ENGINE_ANY_CHOICE, ENGINE_ANY);
}

/* ---- what is loaded ---- */

void slot_starting(struct fleet *fleet, struct slot *slot, uint32_t running)
{
    struct runnings *runnings = fleet->options.runnings;
    uint32_t before = slot->starting;
    slot->starting = running && runnings_hold(runnings, running) == 0 ? running : 0;
    if (before)
        runnings_release(runnings, before);
}

static void start_settled(struct fleet *fleet, void *arg, int result, const struct err *err)
{
    (void)err;
    struct slot *slot = fleet_slot(fleet, (uint32_t)(uintptr_t)arg);
    if (!slot)
        return;
    slot->settling = false;
    if (result == 0 && !slot->load)
        slot_starting(fleet, slot, 0);
}

/* A START may still have been on its way when the blade said what it runs. */
#define SETTLE_MS 2000

void slot_settle_start(struct fleet *fleet, struct slot *slot)
{
    struct catalog_running row;
    if (!slot->starting || slot->settling || slot->load || !slot->blade.in ||
        slot->blade.phase == WIRE_PHASE_STARTING || loop_now_ms(fleet->loop) - slot->reported_ms < SETTLE_MS)
        return;
    if (slot->blade.image != slot->blade.acknowledged &&
        runnings_get(fleet->options.runnings, slot->starting, &row) == 0 && row.image == slot->blade.image)
        return; /* it does run it, or has tried to */
    slot->settling = commit_starting(fleet, slot->id, 0, start_settled, (void *)(uintptr_t)slot->id) == 0;
}

void slot_loaded(struct fleet *fleet, struct slot *slot, const struct catalog_running *row, bool stopped)
{
    uint32_t before;
    slot_starting(fleet, slot, 0);
    {
        HOLD_LOCK(&fleet->lock);
        before = slot->running;
        slot->running = row ? row->id : 0;
        slot->stopped = stopped;
        slot->loaded_ns = clock_wall_ns();
        slot->image[0] = '\0';
        if (row)
            running_name_format(slot->image, row->name, row->n);
    }
    if (before)
        runnings_release(fleet->options.runnings, before);
    slot_event(fleet, slot, BLADE_ACKNOWLEDGED, row ? row->image : 0);
    fleet_notify(fleet, ENGINE_SLOT, slot->id);
}

/* What the blade runs became known by its report, not by a load's answer: a controller that was killed
 * between the blade's answer and its own commit, for one. */
struct adoption {
    uint32_t slot;
    struct catalog_running row; /* held */
};

static void adopted(struct fleet *fleet, void *arg, int result, const struct err *err)
{
    (void)err;
    struct adoption *a = arg;
    struct slot *slot = fleet_slot(fleet, a->slot);
    if (result < 0 || !slot || slot->removing)
        runnings_release(fleet->options.runnings, a->row.id);
    else
        slot_loaded(fleet, slot, &a->row, slot->report.phase == WIRE_PHASE_STOPPED);
    free(a);
}

static bool running_of_report(struct fleet *fleet, const struct slot *slot, struct catalog_running *out)
{
    struct runnings *runnings = fleet->options.runnings;
    char name[NAME_MAX_BYTES + 1];
    uint64_t n;
    uint32_t id;
    if (running_name_parse(slot->report_snapshot, strlen(slot->report_snapshot), name, &n) &&
        runnings_find(runnings, name, n, &id) == 0 && runnings_get(runnings, id, out) == 0 &&
        out->image == slot->report.image)
        return true;
    id = runnings_of_image(runnings, slot->report.image);
    return id != 0 && runnings_get(runnings, id, out) == 0;
}

/* What it runs is shown by the name that it came with, though there is no such running snapshot here. */
static void show_unknown(struct fleet *fleet, struct slot *slot)
{
    if (!slot->report_snapshot[0])
        return;
    {
        HOLD_LOCK(&fleet->lock);
        memcpy(slot->image, slot->report_snapshot, sizeof slot->image);
    }
    fleet_notify(fleet, ENGINE_SLOT, slot->id);
}

static void adopt(struct fleet *fleet, struct slot *slot)
{
    char name[NAME_MAX_BYTES + 1], sentence[512];
    slot_name(fleet, slot, name);
    struct adoption *a = calloc(1, sizeof *a);
    if (!a)
        return;
    a->slot = slot->id;
    if (!running_of_report(fleet, slot, &a->row) || runnings_hold(fleet->options.runnings, a->row.id) < 0) {
        free(a);
        snprintf(sentence, sizeof sentence,
                 "blade %s: it runs %s, which this store does not have; load again what it should run", name,
                 slot->report_snapshot[0] ? slot->report_snapshot : "an image");
        slot_set_error(fleet, slot, sentence);
        show_unknown(fleet, slot);
        return;
    }
    log_info("slot %s: the blade runs %s@%llu; taken over as what is loaded", name, a->row.name,
             (unsigned long long)a->row.n);
    if (commit_loaded(fleet, slot->id, a->row.id, slot->report.phase == WIRE_PHASE_STOPPED, adopted, a) < 0) {
        runnings_release(fleet->options.runnings, a->row.id);
        free(a);
    }
}

/* ---- the machine ---- */

static void act(struct fleet *fleet, struct slot *slot, unsigned actions)
{
    char name[NAME_MAX_BYTES + 1], sentence[512];
    slot_name(fleet, slot, name);
    if (actions & BLADE_STATE_CHANGED) {
        log_info("slot %s: %s", name, engine_state_name(slot->blade.state));
        fleet_notify(fleet, ENGINE_SLOT, slot->id);
    }
    if (actions & BLADE_NOTE_MISSING) {
        snprintf(sentence, sizeof sentence,
                 "blade %s: it came back without %s (another disk, or its directory was emptied); load again",
                 name, slot->image);
        slot_set_error(fleet, slot, sentence);
    }
    if (actions & BLADE_NOTE_FOUND)
        slot_set_error(fleet, slot, "");
    if (actions & BLADE_NOTE_FAILED) {
        snprintf(sentence, sizeof sentence, "blade %s: %s", name,
                 slot->report_sentence[0] ? slot->report_sentence : "the program ended badly");
        slot_set_error(fleet, slot, sentence);
    }
    if (actions & BLADE_ADOPT)
        adopt(fleet, slot);
}

static void step(struct fleet *fleet, struct slot *slot, const struct blade_input *in)
{
    unsigned actions;
    {
        HOLD_LOCK(&fleet->lock);
        actions = blade_step(&slot->blade, in, clock_wall_ns());
    }
    if (actions)
        act(fleet, slot, actions);
}

void slot_event(struct fleet *fleet, struct slot *slot, enum blade_event event, uint64_t image)
{
    step(fleet, slot, &(struct blade_input){.event = event, .image = image});
}

void slot_reported(struct fleet *fleet, struct slot *slot, enum blade_event event)
{
    struct blade_input in = slot->report;
    in.event = event;
    step(fleet, slot, &in);
}

/* ---- images that are of no use any more ---- */

void slot_drop_images(struct fleet *fleet, struct slot *slot)
{
    if (slot->load) /* its images may be seeds of what is under way; it asks again at its end */
        return;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < slot->holdings_count; i++) {
        uint64_t image = slot->holdings[i];
        if (runnings_of_image(fleet->options.runnings, image) != 0 || image == slot->report.image) {
            slot->holdings[kept++] = image;
            continue;
        }
        const struct wire_message message = {.type = WIRE_DROP, .drop = {.image = image}};
        if (!slot->control || peer_send(slot->control, &message) < 0)
            return;
    }
    slot->holdings_count = kept;
}
