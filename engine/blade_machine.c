#include "blade_machine.h"

const char *engine_state_name(enum engine_state state)
{
    static const char *const names[ENGINE_STATES] = {
        [ENGINE_ABSENT] = "absent",   [ENGINE_READY] = "ready",   [ENGINE_LOADING] = "loading",
        [ENGINE_RUNNING] = "running", [ENGINE_LOADED] = "loaded", [ENGINE_STOPPED] = "stopped",
        [ENGINE_FAILED] = "failed",   [ENGINE_LOST] = "lost",
    };
    return (unsigned)state < ENGINE_STATES ? names[state] : "unknown";
}

/* What a load has started is shown as running only once it is acknowledged. */
static bool unacknowledged(const struct blade *b)
{
    return b->starting != 0 && b->image == b->starting && b->image != b->acknowledged;
}

/* What it runs is the truth, once it is decided: a load that is about to fail may still show as starting. */
static bool adoptable(const struct blade *b, bool first)
{
    if (b->image == 0 || b->image == b->acknowledged || b->starting != 0)
        return false;
    return b->phase == WIRE_PHASE_RUNNING || b->phase == WIRE_PHASE_LOADED ||
           b->phase == WIRE_PHASE_STOPPED || (first && b->phase == WIRE_PHASE_FAILED);
}

static enum engine_state state_of(const struct blade *b)
{
    if (!b->in)
        return b->acknowledged ? ENGINE_LOST : ENGINE_ABSENT;
    switch (b->phase) {
    case WIRE_PHASE_STARTING:
        return ENGINE_LOADING;
    case WIRE_PHASE_RUNNING:
        return unacknowledged(b) ? ENGINE_LOADING : ENGINE_RUNNING;
    case WIRE_PHASE_LOADED:
        return unacknowledged(b) ? ENGINE_LOADING : ENGINE_LOADED;
    case WIRE_PHASE_STOPPED:
        return b->loading ? ENGINE_LOADING : ENGINE_STOPPED;
    case WIRE_PHASE_FAILED:
        return b->loading ? ENGINE_LOADING : ENGINE_FAILED;
    case WIRE_PHASE_EMPTY:
        break;
    }
    if (b->loading)
        return ENGINE_LOADING;
    if (b->missing)
        return ENGINE_FAILED;
    /* Acknowledged and yet empty: an unload that the catalog does not know of yet. */
    return b->acknowledged ? ENGINE_STOPPED : ENGINE_READY;
}

static unsigned reported(struct blade *b, const struct blade_input *in, bool first)
{
    unsigned actions = 0;
    bool fails =
        in->phase == WIRE_PHASE_FAILED && (first || b->phase != WIRE_PHASE_FAILED || b->image != in->image);

    b->phase = in->phase;
    b->image = in->phase == WIRE_PHASE_EMPTY ? 0 : in->image;
    if (first && b->missing && b->image == b->acknowledged)
        actions |= BLADE_NOTE_FOUND;
    if (first)
        b->missing = b->acknowledged != 0 && b->image == 0;
    else if (b->image != 0)
        b->missing = false;
    if (first && b->missing)
        actions |= BLADE_NOTE_MISSING;
    if (adoptable(b, first))
        actions |= BLADE_ADOPT;
    if (fails && !b->loading)
        actions |= BLADE_NOTE_FAILED;
    return actions;
}

static void acknowledged(struct blade *b, uint64_t image)
{
    b->acknowledged = image;
    b->missing = false;
    b->starting = 0;
    if (!b->in || b->image == image)
        return;
    /* Its report may come behind its answer: until then the answer is what is known. */
    b->image = image;
    b->phase = image ? WIRE_PHASE_RUNNING : WIRE_PHASE_EMPTY;
}

void blade_begin(struct blade *b, uint64_t acknowledged_image, int64_t now_ns)
{
    *b = (struct blade){.acknowledged = acknowledged_image, .state_ns = now_ns};
    b->state = state_of(b);
}

unsigned blade_step(struct blade *b, const struct blade_input *in, int64_t now_ns)
{
    unsigned actions = 0;
    switch (in->event) {
    case BLADE_IN:
        b->in = true;
        actions = reported(b, in, true);
        break;
    case BLADE_OUT:
        b->in = false; /* what was missing stays so until it says otherwise */
        b->image = 0;
        b->phase = WIRE_PHASE_EMPTY;
        break;
    case BLADE_REPORT:
        if (b->in)
            actions = reported(b, in, false);
        break;
    case BLADE_LOADING:
        b->loading = true;
        break;
    case BLADE_STARTING:
        b->starting = in->image;
        break;
    case BLADE_LOAD_OVER:
        b->loading = false;
        b->starting = 0;
        /* The blade may run what was never acknowledged, because the answer could not be noted. */
        if (b->in && adoptable(b, false))
            actions |= BLADE_ADOPT;
        break;
    case BLADE_ACKNOWLEDGED:
        acknowledged(b, in->image);
        break;
    case BLADE_EVENTS:
        break;
    }
    enum engine_state state = state_of(b);
    if (state != b->state) {
        b->state = state;
        b->state_ns = now_ns;
        actions |= BLADE_STATE_CHANGED;
    }
    return actions;
}
