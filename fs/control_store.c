/* What a write to a slot's control files does. */
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "caller.h"
#include "control.h"
#include "virtual.h"
#include "waits.h"

/*
 * A load shows the caller's tree to a blade, so the caller must be able to read it: read and search on the
 * snapshot, search on /snapshots.
 */
static int may_read_source(const struct control_write *write)
{
    struct acting acting;
    int dir = write->fs->backing.fd;
    int r = acting_begin(write->req, 0, &acting);
    if (r < 0)
        return r;
    if (syscall(SYS_faccessat2, dir, ".", X_OK, AT_EACCESS) < 0 ||
        syscall(SYS_faccessat2, dir, write->value, R_OK | X_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    acting_end(&acting);
    return r;
}

static int may_read_running(const struct control_write *write)
{
    OWNED_CALLER struct caller caller = {0};
    struct stat st;
    struct node_id runnings = {.kind = NODE_RUNNINGS};
    int r = virtual_stat(write->fs, &runnings, &st);
    if (r == 0)
        r = caller_of(write->req, &caller);
    if (r < 0)
        return r;
    return caller_mode_allows(&caller, st.st_uid, st.st_gid, st.st_mode, R_OK | X_OK) ? 0 : -EACCES;
}

int store_load(const struct control_write *write)
{
    char name[NAME_MAX_BYTES + 1];
    uint64_t n, request = 0;
    int r;
    if (running_name_parse(write->value, write->value_bytes, name, &n))
        r = may_read_running(write);
    else if (name_is_valid(write->value, write->value_bytes))
        r = may_read_source(write);
    else
        r = -EINVAL;
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
