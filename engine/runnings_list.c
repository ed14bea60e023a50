/* engine.h's engine_running_*: the running snapshots by name. */
#include <string.h>

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

int engine_running_remove(struct engine *engine, uint32_t id, struct err *err)
{
    int r = runnings_remove(engine->runnings, id, err);
    if (r == 0) {
        fleet_notify(engine->fleet, ENGINE_RUNNINGS, 0);
        fleet_notify(engine->fleet, ENGINE_STORE, 0);
    }
    return r;
}
