/* What other threads ask of the loop's thread: loads, runs, and that one no longer waits. */
#include <fcntl.h>
#include <string.h>

#include "base/container.h"
#include "fleet_parts.h"
#include "parts.h"

struct request {
    struct loop_task task;
    struct fleet *fleet;
    struct waiter *waiter;
    uint32_t slot;
    enum engine_verb verb;
    uint64_t cancelled;
    bool unknown; /* there is nothing of that value to load */
    char value[RUNNING_NAME_MAX_BYTES + 1];
};

/* With somebody who waits for it, whose number goes to `*number`. */
static struct request *request_new(struct fleet *fleet, engine_done done, void *arg, uint64_t *number)
{
    struct request *r = calloc(1, sizeof *r);
    struct waiter *waiter = calloc(1, sizeof *waiter);
    if (!r || !waiter) {
        free(r);
        free(waiter);
        return NULL;
    }
    *number = atomic_fetch_add(&fleet->next_request, 1) + 1;
    *waiter = (struct waiter){.request = *number, .done = done, .arg = arg};
    r->fleet = fleet;
    r->waiter = waiter;
    return r;
}

static bool slot_exists(struct fleet *fleet, uint32_t slot)
{
    HOLD_LOCK(&fleet->lock);
    return slots_by_id(&fleet->slots, slot) != NULL;
}

static void load_task(struct loop_task *task)
{
    struct request *r = CONTAINER_OF(task, struct request, task);
    if (r->unknown)
        loads_refuse_unknown(r->fleet, r->slot, r->value, r->waiter);
    else
        loads_request(r->fleet, r->slot, r->value, r->waiter);
    free(r);
}

/* Whether there is a source or a running snapshot to load. A mistyped name is that, whatever the blade does.
 */
static bool can_be_loaded(const struct engine *engine, const char *value)
{
    char name[NAME_MAX_BYTES + 1];
    uint64_t n;
    uint32_t unused;
    if (running_name_parse(value, strlen(value), name, &n))
        return runnings_find(engine->runnings, name, n, &unused) == 0;
    return faccessat(engine->snapshots_fd, value, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

int engine_load(struct engine *engine, uint32_t slot, const char *value, size_t len_bytes, engine_done done,
                void *arg, uint64_t *request)
{
    struct fleet *fleet = engine->fleet;
    char name[NAME_MAX_BYTES + 1];
    uint64_t n;
    if (len_bytes == 0 || len_bytes > RUNNING_NAME_MAX_BYTES ||
        (!name_is_valid(value, len_bytes) && !running_name_parse(value, len_bytes, name, &n)))
        return -EINVAL;
    if (slot != ENGINE_ANY && !slot_exists(fleet, slot))
        return -ENOENT;
    struct request *r = request_new(fleet, done, arg, request);
    if (!r)
        return -ENOMEM;
    r->slot = slot;
    memcpy(r->value, value, len_bytes);
    r->unknown = !can_be_loaded(engine, r->value);
    r->task.run = load_task;
    loop_post(fleet->loop, &r->task);
    return 0;
}

static void run_task(struct loop_task *task)
{
    struct request *r = CONTAINER_OF(task, struct request, task);
    runs_request(r->fleet, r->slot, r->verb, r->waiter);
    free(r);
}

int engine_run(struct engine *engine, uint32_t slot, enum engine_verb verb, engine_done done, void *arg,
               uint64_t *request)
{
    struct fleet *fleet = engine->fleet;
    if ((unsigned)verb > ENGINE_UNLOAD)
        return -EINVAL;
    if (!slot_exists(fleet, slot))
        return -ENOENT;
    struct request *r = request_new(fleet, done, arg, request);
    if (!r)
        return -ENOMEM;
    r->slot = slot;
    r->verb = verb;
    r->task.run = run_task;
    loop_post(fleet->loop, &r->task);
    return 0;
}

int engine_collect(struct engine *engine, engine_done done, void *arg, uint64_t *request)
{
    uint64_t number = atomic_fetch_add(&engine->fleet->next_request, 1) + 1;
    int r = collector_request(engine->collector, number, done, arg);
    if (r == 0)
        *request = number;
    return r;
}

int engine_show_collected(struct engine *engine, struct buf *out, int64_t *changed_ns)
{
    collector_show(engine->collector, out, changed_ns);
    return out->error;
}

int engine_check(struct engine *engine, engine_done done, void *arg, uint64_t *request)
{
    uint64_t number = atomic_fetch_add(&engine->fleet->next_request, 1) + 1;
    int r = checker_request(engine->checker, number, done, arg);
    if (r == 0)
        *request = number;
    return r;
}

int engine_show_checked(struct engine *engine, struct buf *out, int64_t *changed_ns)
{
    checker_show(engine->checker, out, changed_ns);
    return out->error;
}

static void cancel_task(struct loop_task *task)
{
    struct request *r = CONTAINER_OF(task, struct request, task);
    if (!loads_cancel(r->fleet, r->cancelled))
        runs_cancel(r->fleet, r->cancelled);
    free(r);
}

void engine_cancel(struct engine *engine, uint64_t request)
{
    if (collector_cancel(engine->collector, request) || checker_cancel(engine->checker, request))
        return;
    struct request *r = calloc(1, sizeof *r);
    if (!r)
        return; /* it goes on waiting: an interrupted caller may try again */
    r->fleet = engine->fleet;
    r->cancelled = request;
    r->task.run = cancel_task;
    loop_post(engine->fleet->loop, &r->task);
}
