/* What a write to a slot's control files does. */
#include <string.h>

#include "access.h"
#include "base/log.h"
#include "control.h"
#include "waits.h"

/* A load shows a tree to a blade, so the caller must be able to read it. */
static int may_load(const struct control_write *write)
{
    OWNED_CALLER struct caller caller = {0};
    char name[NAME_MAX_BYTES + 1];
    uint64_t n;
    int r = caller_of(write->req, &caller);
    if (r < 0)
        return r;
    if (running_name_parse(write->value, write->value_bytes, name, &n))
        return access_running(write->fs, &caller, write->value);
    return name_is_valid(write->value, write->value_bytes) ? access_source(write->fs, &caller, write->value)
                                                           : -EINVAL;
}

int store_load(const struct control_write *write)
{
    uint64_t request = 0;
    int r = may_load(write);
    if (r < 0 && r != -ENOENT) /* of what is not there the engine says so, and `error` with it */
        return r;
    struct wait *wait = wait_new(write->fs->waits, write);
    if (!wait)
        return -ENOMEM;
    r = engine_load(write->fs->engine, (uint32_t)write->owner, write->value, write->value_bytes, wait_done,
                    wait, &request);
    return wait_started(wait, r, request);
}

static int run_verb(const struct control_write *write, enum engine_verb verb)
{
    uint64_t request = 0;
    struct wait *wait = wait_new(write->fs->waits, write);
    if (!wait)
        return -ENOMEM;
    int r = engine_run(write->fs->engine, (uint32_t)write->owner, verb, wait_done, wait, &request);
    return wait_started(wait, r, request);
}

int store_run(const struct control_write *write)
{
    if (strcmp(write->value, "start") == 0)
        return run_verb(write, ENGINE_RUN_START);
    if (strcmp(write->value, "stop") == 0)
        return run_verb(write, ENGINE_RUN_STOP);
    if (strcmp(write->value, "restart") == 0)
        return run_verb(write, ENGINE_RUN_RESTART);
    return -EINVAL;
}

int store_unload(const struct control_write *write)
{
    return strcmp(write->value, "1") == 0 ? run_verb(write, ENGINE_UNLOAD) : -EINVAL;
}

int store_key(const struct control_write *write)
{
    struct err err = {0};
    if (strcmp(write->value, "new") != 0)
        return -EINVAL;
    int r = engine_slot_new_key(write->fs->engine, (uint32_t)write->owner, &err);
    if (r < 0)
        log_warn("no new key was made: %s", err.message);
    return r;
}

int store_collect(const struct control_write *write)
{
    uint64_t request = 0;
    if (strcmp(write->value, "gc") != 0)
        return -EINVAL;
    struct wait *wait = wait_new(write->fs->waits, write);
    if (!wait)
        return -ENOMEM;
    int r = engine_collect(write->fs->engine, wait_done, wait, &request);
    return wait_started(wait, r, request);
}

int store_check(const struct control_write *write)
{
    uint64_t request = 0;
    if (strcmp(write->value, "full") != 0)
        return -EINVAL;
    struct wait *wait = wait_new(write->fs->waits, write);
    if (!wait)
        return -ENOMEM;
    int r = engine_check(write->fs->engine, wait_done, wait, &request);
    return wait_started(wait, r, request);
}
