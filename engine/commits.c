#include <string.h>

#include "base/fdio.h"
#include "base/log.h"
#include "fleet_parts.h"

enum kind { COMMIT_STARTING, COMMIT_LOADED, COMMIT_ERROR, COMMIT_KEY };

struct commit {
    struct work work;
    struct fleet *fleet;
    enum kind kind;
    uint32_t slot;
    uint32_t running;
    bool stopped;
    char sentence[512];
    commit_done done; /* may be NULL */
    void *arg;
    int result;
    struct err err;
};

/* As they are in memory: a newer one may have been made meanwhile. */
static int write_keys(const struct commit *c, struct err *err)
{
    struct fleet *fleet = c->fleet;
    struct wire_key keys[2];
    bool has_old;
    HOLD_LOCK(&fleet->changes);
    {
        HOLD_LOCK(&fleet->lock);
        const struct slot *slot = slots_by_id(&fleet->slots, c->slot);
        if (!slot)
            return -ENOENT;
        has_old = slot->has_old_key;
        keys[0] = slot->key;
        keys[1] = slot->old_key;
    }
    int r = catalog_slot_set_key(fleet->options.catalog, c->slot, &keys[0], has_old ? &keys[1] : NULL, err);
    explicit_bzero(keys, sizeof keys);
    return r;
}

static void run(struct work *work)
{
    struct commit *c = (struct commit *)work;
    struct catalog *catalog = c->fleet->options.catalog;
    switch (c->kind) {
    case COMMIT_STARTING:
        c->result = catalog_slot_set_starting(catalog, c->slot, c->running, &c->err);
        break;
    case COMMIT_LOADED:
        c->result =
            catalog_slot_set_loaded(catalog, c->slot, c->running, c->stopped, clock_wall_ns(), &c->err);
        break;
    case COMMIT_ERROR:
        c->result = catalog_slot_set_error(catalog, c->slot, c->sentence, &c->err);
        break;
    case COMMIT_KEY:
        c->result = write_keys(c, &c->err);
        break;
    }
}

static void finished(struct work *work)
{
    struct commit *c = (struct commit *)work;
    c->fleet->outstanding--;
    if (c->result < 0 && c->result != -ENOENT) /* a slot may have been removed meanwhile */
        log_error("the catalog could not be written: %s", c->err.message);
    if (c->done)
        c->done(c->fleet, c->arg, c->result, &c->err);
    free(c);
}

static struct commit *commit_new(struct fleet *fleet, enum kind kind, uint32_t slot)
{
    struct commit *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->work.run = run;
    c->work.finished = finished;
    c->fleet = fleet;
    c->kind = kind;
    c->slot = slot;
    return c;
}

static void submit(struct commit *c)
{
    c->fleet->outstanding++;
    work_submit(c->fleet->commits, &c->work);
}

int commit_starting(struct fleet *fleet, uint32_t slot, uint32_t running, commit_done done, void *arg)
{
    struct commit *c = commit_new(fleet, COMMIT_STARTING, slot);
    if (!c)
        return -ENOMEM;
    c->running = running;
    c->done = done;
    c->arg = arg;
    submit(c);
    return 0;
}

int commit_loaded(struct fleet *fleet, uint32_t slot, uint32_t running, bool stopped, commit_done done,
                  void *arg)
{
    struct commit *c = commit_new(fleet, COMMIT_LOADED, slot);
    if (!c)
        return -ENOMEM;
    c->running = running;
    c->stopped = stopped;
    c->done = done;
    c->arg = arg;
    submit(c);
    return 0;
}

void commit_error(struct fleet *fleet, uint32_t slot, const char *sentence)
{
    struct commit *c = commit_new(fleet, COMMIT_ERROR, slot);
    if (!c)
        return; /* it is lost at the next start, no more */
    snprintf(c->sentence, sizeof c->sentence, "%s", sentence);
    submit(c);
}

void commit_keys(struct fleet *fleet, uint32_t slot)
{
    struct commit *c = commit_new(fleet, COMMIT_KEY, slot);
    if (!c)
        return; /* the next connection asks again */
    submit(c);
}
