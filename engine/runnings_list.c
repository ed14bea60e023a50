/* engine.h's engine_running_*: the running snapshots by name. */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "parts.h"

int engine_running_find(struct engine *engine, const char *name, uint32_t *id)
{
    char source[NAME_MAX_BYTES + 1];
    uint64_t n = 0;
    if (!running_name_parse(name, strlen(name), source, &n))
        return -ENOENT;
    return runnings_find(engine->runnings, source, n, id);
}

static void fill(struct engine_running *out, const struct catalog_running *row)
{
    out->id = row->id;
    out->created_ns = row->created_ns;
    running_name_format(out->name, row->name, row->n);
}

int engine_running_get(struct engine *engine, uint32_t id, struct engine_running *out)
{
    struct catalog_running row;
    int r = runnings_get(engine->runnings, id, &row);
    if (r == 0)
        fill(out, &row);
    return r;
}

size_t engine_running_list(struct engine *engine, uint32_t after, struct engine_running *out, size_t max)
{
    struct catalog_running rows[64];
    size_t count = 0;
    while (count < max) {
        size_t wanted = max - count < 64 ? max - count : 64;
        size_t got = runnings_list(engine->runnings, after, rows, wanted);
        for (size_t i = 0; i < got; i++)
            fill(&out[count++], &rows[i]);
        if (got < wanted)
            break;
        after = rows[got - 1].id;
    }
    return count;
}

size_t engine_running_count(struct engine *engine, int64_t *newest_ns)
{
    return runnings_newest(engine->runnings, newest_ns);
}

static void removed(struct engine *engine)
{
    fleet_notify(engine->fleet, ENGINE_RUNNINGS, 0);
    fleet_notify(engine->fleet, ENGINE_STORE, 0);
    collector_removed(engine->collector);
}

int engine_running_remove(struct engine *engine, uint32_t id, struct err *err)
{
    int r = runnings_remove(engine->runnings, id, err);
    if (r == 0)
        removed(engine);
    return r;
}

#define KEEP_AT_ONCE 64

/* Those of the name that are older than the newest engine->keep: their number. */
static size_t older(struct engine *engine, const char *name, uint64_t after, struct catalog_running *out)
{
    /* All that come after the ones returned are looked at, KEEP_AT_ONCE at a time. */
    struct catalog_running next[KEEP_AT_ONCE];
    size_t count = runnings_of_name(engine->runnings, name, after, out, KEEP_AT_ONCE);
    size_t behind = 0;
    uint64_t last = count ? out[count - 1].n : 0;
    for (size_t got = count; got == KEEP_AT_ONCE && behind < engine->keep;) {
        got = runnings_of_name(engine->runnings, name, last, next, KEEP_AT_ONCE);
        behind += got;
        last = got ? next[got - 1].n : last;
    }
    size_t spared = behind < engine->keep ? engine->keep - behind : 0;
    return count > spared ? count - spared : 0;
}

void runnings_keep_newest(void *arg, const char *name)
{
    struct engine *engine = arg;
    struct catalog_running rows[KEEP_AT_ONCE];
    uint32_t equal = 0;
    bool some = false;
    struct err err = {0};
    if (catalog_source_clean(engine->catalog, name, &equal, &err) < 0) {
        log_warn("no running snapshot of %s is removed: %s", name, err.message);
        return;
    }
    uint64_t after = 0;
    for (size_t count; (count = older(engine, name, after, rows)) > 0; after = rows[count - 1].n) {
        for (size_t i = 0; i < count; i++) {
            if (rows[i].id == equal)
                continue;
            int r = runnings_remove(engine->runnings, rows[i].id, &err);
            some = some || r == 0;
            if (r < 0 && r != -ENOTEMPTY && r != -ENOENT) /* in use, or gone already */
                log_warn("%s@%" PRIu64 " cannot be removed: %s", name, rows[i].n, err.message);
        }
    }
    if (some)
        removed(engine);
}
