/* run and unload: an order to the blade, its answer, the catalog, the answer to who asked. */
#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "fleet_parts.h"
#include "peer.h"

struct run {
    struct run *next;
    struct fleet *fleet;
    struct slot *slot;
    enum engine_verb verb;
    uint64_t number; /* what the wire calls it */
    bool committing;
    struct waiter *waiters;
};

static const char *verb_name(enum engine_verb verb)
{
    static const char *const names[] = {[ENGINE_RUN_START] = "start",
                                        [ENGINE_RUN_STOP] = "stop",
                                        [ENGINE_RUN_RESTART] = "restart",
                                        [ENGINE_UNLOAD] = "unload"};
    return (unsigned)verb < sizeof names / sizeof names[0] ? names[verb] : "run";
}

static enum wire_verb wire_verb_of(enum engine_verb verb)
{
    static const enum wire_verb verbs[] = {[ENGINE_RUN_START] = WIRE_RUN_START,
                                           [ENGINE_RUN_STOP] = WIRE_RUN_STOP,
                                           [ENGINE_RUN_RESTART] = WIRE_RUN_RESTART,
                                           [ENGINE_UNLOAD] = WIRE_RUN_UNLOAD};
    return verbs[verb];
}

/* The slot is free again; the answer; the end of `run`. */
static void end(struct run *run, int code, const char *sentence)
{
    struct fleet *fleet = run->fleet;
    struct slot *slot = run->slot;
    slot->run = NULL;
    {
        HOLD_LOCK(&fleet->lock);
        slot->taken = false;
    }
    for (struct run **at = &fleet->runs; *at; at = &(*at)->next) {
        if (*at == run) {
            *at = run->next;
            break;
        }
    }
    if (code) {
        char name[NAME_MAX_BYTES + 1], words[512];
        slot_name(fleet, slot, name);
        snprintf(words, sizeof words, "blade %s: %s: %s", name, verb_name(run->verb), sentence);
        if (!fleet->closing)
            slot_set_error(fleet, slot, words);
    } else if (run->verb != ENGINE_RUN_STOP) {
        slot_set_error(fleet, slot, "");
    }
    waiters_answer(&run->waiters, -answer_code(code), "");
    free(run);
}

static void committed(struct fleet *fleet, void *arg, int result, const struct err *err)
{
    struct run *run = arg;
    run->committing = false;
    if (fleet->closing) {
        end(run, EINTR, "the controller ends");
        return;
    }
    if (result < 0) {
        end(run, -result, err->message);
        return;
    }
    if (run->verb == ENGINE_UNLOAD) {
        slot_loaded(fleet, run->slot, NULL, false);
    } else {
        HOLD_LOCK(&fleet->lock);
        run->slot->stopped = run->verb == ENGINE_RUN_STOP;
    }
    end(run, 0, "");
}

static void commit(struct run *run)
{
    uint32_t running = run->verb == ENGINE_UNLOAD ? 0 : run->slot->running;
    run->committing = true;
    if (commit_loaded(run->fleet, run->slot->id, running, run->verb == ENGINE_RUN_STOP, committed, run) < 0) {
        run->committing = false;
        end(run, EIO, "done there, but the controller has no memory to note it");
    }
}

void runs_done(struct slot *slot, const struct wire_run_done *done)
{
    struct run *run = slot->run;
    if (!run || run->committing || done->request != run->number)
        return;
    if (done->code == 0) {
        commit(run);
        return;
    }
    char sentence[WIRE_SENTENCE_MAX_BYTES + 1];
    wire_text_copy(&done->sentence, sentence, sizeof sentence);
    end(run, EIO, sentence[0] ? sentence : strerror(done->code));
}

void runs_lost(struct slot *slot)
{
    if (slot->run && !slot->run->committing)
        end(slot->run, EIO, "connection lost before it answered; see state when it is back");
}

/* ---- requests ---- */

static void refuse(struct fleet *fleet, struct slot *slot, enum engine_verb verb, struct waiter *waiter,
                   int code, const char *words)
{
    if (slot && code) {
        char name[NAME_MAX_BYTES + 1], sentence[512];
        slot_name(fleet, slot, name);
        snprintf(sentence, sizeof sentence, "blade %s: %s: %s", name, verb_name(verb), words);
        slot_set_error(fleet, slot, sentence);
    }
    waiters_answer(&waiter, -code, "");
}

static void begin(struct fleet *fleet, struct slot *slot, enum engine_verb verb, struct waiter *waiter)
{
    struct run *run = calloc(1, sizeof *run);
    if (!run) {
        refuse(fleet, slot, verb, waiter, EIO, "the controller has no memory");
        return;
    }
    static_assert(ENGINE_UNLOAD == 3, "verbs are indices");
    *run = (struct run){.next = fleet->runs,
                        .fleet = fleet,
                        .slot = slot,
                        .verb = verb,
                        .number = ++fleet->last_load,
                        .waiters = waiter};
    fleet->runs = run;
    slot->run = run;
    {
        HOLD_LOCK(&fleet->lock);
        slot->taken = true;
    }
    const struct wire_message m = {.type = WIRE_RUN,
                                   .run = {.request = run->number, .verb = (uint8_t)wire_verb_of(verb)}};
    peer_send(slot->control, &m); /* that it cannot be sent is told as the connection's end */
}

void runs_request(struct fleet *fleet, uint32_t slot_id, enum engine_verb verb, struct waiter *waiter)
{
    struct slot *slot;
    waiter->next = NULL;
    {
        HOLD_LOCK(&fleet->lock);
        slot = slots_by_id(&fleet->slots, slot_id);
        if (slot && slot->removing)
            slot = NULL;
    }
    if (fleet->closing) {
        refuse(fleet, NULL, verb, waiter, EINTR, "");
    } else if (!slot) {
        refuse(fleet, NULL, verb, waiter, ENOENT, "");
    } else if (slot->load) {
        refuse(fleet, slot, verb, waiter, EEXIST, "a load is under way; wait for it");
    } else if (slot->run && slot->run->verb == verb) {
        waiter->next = slot->run->waiters;
        slot->run->waiters = waiter;
    } else if (slot->run) {
        refuse(fleet, slot, verb, waiter, EEXIST, "another such request is under way; wait for it");
    } else if (!slot_connected(slot) || !slot->blade.in) {
        refuse(fleet, slot, verb, waiter, ENXIO, "it is not connected");
    } else if (slot->running == 0 && slot->blade.phase == WIRE_PHASE_EMPTY) {
        bool done = verb == ENGINE_RUN_STOP || verb == ENGINE_UNLOAD;
        refuse(fleet, slot, verb, waiter, done ? 0 : EIO, "nothing is loaded; load something first");
    } else {
        begin(fleet, slot, verb, waiter);
    }
}

bool runs_cancel(struct fleet *fleet, uint64_t request)
{
    for (struct run *run = fleet->runs; run; run = run->next) {
        if (waiters_cancel(&run->waiters, request))
            return true; /* the order itself goes on */
    }
    return false;
}

void runs_close(struct fleet *fleet)
{
    struct run *next;
    for (struct run *run = fleet->runs; run; run = next) {
        next = run->next;
        if (run->committing)
            waiters_answer(&run->waiters, -EINTR, "");
        else
            end(run, EINTR, "the controller ends");
    }
}
