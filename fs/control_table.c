#include <string.h>

#include "control.h"

/* Row numbers are parts of node ids that NFS clients keep: none is ever given to another file. */
static const struct control table[] = {
    {.row = 1,
     .place = PLACE_SLOT,
     .name = "load",
     .mode = 0644,
     .action = true,
     .topic = ENGINE_SLOT,
     .show = show_load,
     .store = store_load},
    {.row = 2, .place = PLACE_SLOT, .name = "state", .mode = 0444, .topic = ENGINE_SLOT, .show = show_state},
    {.row = 3,
     .place = PLACE_SLOT,
     .name = "progress",
     .mode = 0444,
     .topic = ENGINE_SLOT,
     .show = show_progress},
    {.row = 4, .place = PLACE_SLOT, .name = "error", .mode = 0444, .topic = ENGINE_SLOT, .show = show_error},
    {.row = 5,
     .place = PLACE_SLOT,
     .name = "key",
     .mode = 0400,
     .fixed = true,
     .topic = ENGINE_SLOT,
     .show = show_key,
     .store = store_key},
    {.row = 6,
     .place = PLACE_SLOT,
     .name = "run",
     .mode = 0200,
     .action = true,
     .topic = -1,
     .store = store_run},
    {.row = 7,
     .place = PLACE_SLOT,
     .name = "unload",
     .mode = 0200,
     .action = true,
     .topic = -1,
     .store = store_unload},
    {.row = 8, .place = PLACE_SLOT, .name = "info", .mode = 0444, .topic = ENGINE_SLOT, .show = show_info},
    {.row = 9,
     .place = PLACE_SLOT,
     .name = "log",
     .mode = 0440,
     .topic = ENGINE_SLOT,
     .size = size_log,
     .read = read_log},
    {.row = 10,
     .place = PLACE_ANY,
     .name = "load",
     .mode = 0644,
     .action = true,
     .topic = ENGINE_ANY_CHOICE,
     .show = show_load,
     .store = store_load},
    {.row = 11,
     .place = PLACE_ANY,
     .name = "error",
     .mode = 0444,
     .topic = ENGINE_ANY_CHOICE,
     .show = show_error},
    {.row = 12,
     .place = PLACE_TOP,
     .name = "status",
     .mode = 0444,
     .topic = ENGINE_SLOT,
     .show = show_status},
    {.row = 13,
     .place = PLACE_STORE,
     .name = "stats",
     .mode = 0444,
     .topic = ENGINE_STORE,
     .show = show_store_stats},
    {.row = 20,
     .place = PLACE_STORE,
     .name = "gc",
     .mode = 0600,
     .action = true,
     .topic = ENGINE_STORE,
     .show = show_collected,
     .store = store_collect},
    {.row = 21,
     .place = PLACE_STORE,
     .name = "fsck",
     .mode = 0600,
     .action = true,
     .topic = ENGINE_STORE,
     .show = show_checked,
     .store = store_check},
    {.row = 14,
     .place = PLACE_BLADEFS,
     .name = "exec",
     .mode = 0666,
     .fixed = true,
     .topic = ENGINE_STORE,
     .show = show_exec,
     .store = store_exec},
    {.row = 15,
     .place = PLACE_BLADEFS,
     .name = "stats",
     .mode = 0444,
     .fixed = true,
     .topic = ENGINE_STORE,
     .show = show_stats},
    {.row = 0},
};

const struct control *control_table(void)
{
    return table;
}

const struct control *control_of_row(unsigned row)
{
    for (const struct control *c = table; c->row; c++)
        if (c->row == row)
            return c;
    return NULL;
}

const struct control *control_named(enum control_place place, const char *name)
{
    for (const struct control *c = table; c->row; c++)
        if (c->place == place && strcmp(c->name, name) == 0)
            return c;
    return NULL;
}
