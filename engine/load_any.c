/* The blade of an `any` load. */
#include "base/container.h"
#include "load_parts.h"

static bool tried(const struct load *load, uint32_t slot)
{
    for (unsigned i = 0; i < load->tried_count; i++) {
        if (load->tried[i] == slot)
            return true;
    }
    return false;
}

/* Under the fleet's mutex. */
static bool available(const struct load *load, const struct slot *slot)
{
    return slot->blade.state == ENGINE_READY && slot_connected(slot) && !slot->load && !slot->run &&
           !slot->removing && !slot->taken && !tried(load, slot->id);
}

static void none(struct load *load)
{
    if (load->tried_count > 0 && load->err.code) /* the last one's sentence stands */
        return;
    load_fails(load, ENXIO, "no blade is available: none is connected, ready and free (see status)");
}

static int compare(const struct estimate *e, const struct load *load, struct candidate *candidates)
{
    struct fleet *fleet = load->fleet;
    HOLD_LOCK(&fleet->lock); /* the names are borrowed for the comparison */
    for (size_t i = 0; i < e->count; i++) {
        const struct slot *slot = slots_by_id(&fleet->slots, e->rows[i].slot);
        candidates[i] = (struct candidate){.slot = e->rows[i].slot,
                                           .name = slot ? slot->name : "",
                                           .available = slot && available(load, slot),
                                           .missing_bytes = e->rows[i].missing_bytes,
                                           .ready_ns = slot ? slot->blade.state_ns : 0};
    }
    return choose_blade(candidates, e->count);
}

static bool others_available(const struct load *load)
{
    struct fleet *fleet = load->fleet;
    HOLD_LOCK(&fleet->lock);
    for (size_t i = 0; i < fleet->slots.count; i++) {
        if (available(load, fleet->slots.at[i]))
            return true;
    }
    return false;
}

static void choose(struct load *load, const struct estimate *e)
{
    struct candidate *candidates = calloc(e->count, sizeof *candidates);
    int best = candidates ? compare(e, load, candidates) : -1;
    bool others = best < 0 && candidates && others_available(load);
    free(candidates);
    if (best < 0) {
        if (others) { /* these were taken meanwhile, others came */
            load_choose(load);
            return;
        }
        none(load);
        load_event(load, LOAD_FAILED);
        return;
    }
    struct slot *slot;
    {
        HOLD_LOCK(&load->fleet->lock);
        slot = slots_by_id(&load->fleet->slots, e->rows[best].slot);
    }
    load_take(load, slot);
    load_event(load, e->rows[best].holds ? LOAD_HELD : LOAD_CHOSEN);
}

static void estimated(struct work *work)
{
    struct estimate *e = CONTAINER_OF(work, struct estimate, work);
    struct load *load = e->arg;
    if (load->state == LOAD_CHOOSE) {
        if (e->result < 0) {
            load_fails(load, -e->result, "%s", e->err.message);
            load_event(load, LOAD_FAILED);
        } else {
            choose(load, e);
        }
    }
    free(e);
    load_put(load);
}

void load_choose(struct load *load)
{
    struct fleet *fleet = load->fleet;
    struct estimate *e = NULL;
    size_t count = 0;
    {
        HOLD_LOCK(&fleet->lock);
        e = calloc(1, sizeof *e + fleet->slots.count * sizeof e->rows[0]);
        for (size_t i = 0; e && i < fleet->slots.count; i++) {
            const struct slot *slot = fleet->slots.at[i];
            if (!available(load, slot))
                continue;
            struct estimate_row *row = &e->rows[count++];
            row->slot = slot->id;
            row->holdings_count = slot->holdings_count;
            for (uint32_t k = 0; k < slot->holdings_count; k++)
                row->holdings[k] = slot->holdings[k];
        }
    }
    if (!e || count == 0) {
        free(e);
        none(load);
        load_event(load, LOAD_FAILED);
        return;
    }
    e->count = count;
    e->image = load->row.image;
    e->planner = fleet->planner;
    e->arg = load;
    e->work.finished = estimated;
    load->under_way++;
    estimate_submit(e);
}
