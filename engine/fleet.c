/* Opening and closing the fleet, its loop's thread, and telling others what has changed. */
#include "fleet.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>

#include "base/container.h"
#include "base/fdio.h"
#include "base/log.h"
#include "fleet_parts.h"
#include "parts.h"
#include "slot_log.h"

#define RING_ENTRIES 512
#define TICK_MS 250
#define CLOSING_TICK_MS 10

/* ---- what has changed ---- */

void engine_watch(struct engine *engine, engine_changed changed, void *arg)
{
    HOLD_LOCK(&engine->fleet->lock);
    engine->fleet->changed = changed;
    engine->fleet->changed_arg = arg;
}

void fleet_notify(struct fleet *fleet, enum engine_topic topic, uint32_t slot)
{
    engine_changed changed;
    void *arg;
    {
        HOLD_LOCK(&fleet->lock);
        changed = fleet->changed;
        arg = fleet->changed_arg;
        if (topic == ENGINE_SLOT || topic == ENGINE_SLOTS)
            fleet->status_ns = clock_wall_ns();
    }
    if (topic == ENGINE_RUNNINGS)
        atomic_store(&fleet->drops_due, true);
    if (changed)
        changed(arg, topic, slot);
}

/* ---- the tick ---- */

/* The loop's thread is the only one that frees slots: the list may be walked without the mutex by copying it,
 * one slot at a time. */
static struct slot *slot_at(struct fleet *fleet, size_t i)
{
    HOLD_LOCK(&fleet->lock);
    return i < fleet->slots.count ? fleet->slots.at[i] : NULL;
}

static void slots_tick(struct fleet *fleet)
{
    bool drops = atomic_exchange(&fleet->drops_due, false);
    struct slot *slot;
    for (size_t i = 0; (slot = slot_at(fleet, i)) != NULL; i++) {
        if (slot->log_grew) {
            slot->log_grew = false;
            fleet_notify(fleet, ENGINE_SLOT, slot->id);
        }
        if (drops && slot->blade.in)
            slot_drop_images(fleet, slot);
        slot_settle_start(fleet, slot);
    }
}

static bool all_over(const struct fleet *fleet)
{
    return fleet->closing && !fleet->peers && !fleet->loads && !fleet->runs && fleet->outstanding == 0 &&
           listener_stopped(fleet->listener) && sender_pool_idle(fleet->senders);
}

static void tick(struct loop_op *op, int result)
{
    struct fleet *fleet = CONTAINER_OF(op, struct fleet, tick_op);
    if (result == -ECANCELED)
        return;
    if (all_over(fleet)) {
        loop_stop(fleet->loop);
        return;
    }
    if (!fleet->closing) {
        sessions_tick(fleet);
        slots_tick(fleet);
        listener_tick(fleet->listener);
    }
    loop_timer(fleet->loop, &fleet->tick_op, fleet->closing ? CLOSING_TICK_MS : TICK_MS);
}

/* ---- the end ---- */

static void close_on_loop(struct loop_task *task)
{
    struct fleet *fleet = CONTAINER_OF(task, struct fleet, close_task);
    fleet->closing = true;
    listener_stop(fleet->listener);
    loads_close(fleet);
    runs_close(fleet);
    sessions_close(fleet);
}

static void free_parts(struct fleet *fleet)
{
    work_queue_free(fleet->commits);
    planner_free(fleet->planner);
    listener_free(fleet->listener);
    if (fleet->loop)
        loop_free(fleet->loop);
    sender_pool_free(fleet->senders); /* its buffers outlive the loop */
    for (size_t i = 0; i < fleet->slots.count; i++) {
        if (fleet->slots.at[i]->running)
            runnings_release(fleet->options.runnings, fleet->slots.at[i]->running);
        if (fleet->slots.at[i]->starting)
            runnings_release(fleet->options.runnings, fleet->slots.at[i]->starting);
        slot_free(fleet->slots.at[i]);
    }
    free(fleet->slots.at);
    free(fleet->slots.by_id);
    attrs_free(&fleet->any_attrs);
    if (fleet->logs_fd >= 0)
        close(fleet->logs_fd);
    pthread_mutex_destroy(&fleet->lock);
    pthread_mutex_destroy(&fleet->changes);
    free(fleet);
}

void fleet_free(struct fleet *fleet)
{
    if (!fleet)
        return;
    fleet->close_task.run = close_on_loop;
    loop_post(fleet->loop, &fleet->close_task);
    pthread_join(fleet->thread, NULL);
    {
        HOLD_LOCK(&fleet->lock); /* the last thread of captures that posted is out of the loop */
    }
    free_parts(fleet);
}

/* ---- the start ---- */

/* A row's running snapshot is held, and named, by what runnings knows of it. */
static void take_running(struct fleet *fleet, struct slot *slot, uint32_t running, int64_t state_ns)
{
    struct catalog_running row;
    struct runnings *runnings = fleet->options.runnings;
    if (running && runnings_hold(runnings, running) == 0) {
        if (runnings_get(runnings, running, &row) == 0) {
            slot->running = running;
            running_name_format(slot->image, row.name, row.n);
            blade_begin(&slot->blade, row.image, clock_wall_ns());
            return;
        }
        runnings_release(runnings, running);
    }
    blade_begin(&slot->blade, 0, state_ns);
}

static int take_slot(void *arg, const struct catalog_slot *row)
{
    struct fleet *fleet = arg;
    struct slot *slot = calloc(1, sizeof *slot);
    if (!slot)
        return -ENOMEM;
    slot->id = row->id;
    memcpy(slot->name, row->name, sizeof slot->name);
    slot->attr = row->attr;
    slot->key = row->key;
    slot->old_key = row->old_key;
    slot->has_old_key = row->has_old_key;
    slot->stopped = row->stopped;
    memcpy(slot->error, row->error, sizeof slot->error);
    slot->key_ns = slot->loaded_ns = slot->progress_ns = slot->error_ns = slot->info_ns = row->state_ns;
    take_running(fleet, slot, row->running, row->state_ns);
    if (row->starting && runnings_hold(fleet->options.runnings, row->starting) == 0)
        slot->starting = row->starting;
    int rc = slots_insert(&fleet->slots, slot);
    if (rc < 0)
        slot_free(slot);
    return rc;
}

static int take_attr(void *arg, uint32_t id, const char *file, const struct engine_attr *attr,
                     const struct engine_acl *acl)
{
    struct fleet *fleet = arg;
    struct slot *slot = id == ENGINE_ANY ? NULL : slots_by_id(&fleet->slots, id);
    if ((id != ENGINE_ANY && !slot) || strlen(file) >= ATTR_FILE_BYTES)
        return 0;
    if (slot && !file[0]) {
        slot->attr = *attr;
        return attr_acl_set(&slot->acl, acl);
    }
    return attrs_set(slot ? &slot->attrs : &fleet->any_attrs, file, attr, acl);
}

static int make_parts(struct fleet *fleet, struct err *err)
{
    const struct fleet_options *o = &fleet->options;
    int rc = fleet->logs_fd = slot_log_open(o->store_fd, err);
    if (rc >= 0)
        rc = catalog_slots(o->catalog, take_slot, fleet, err);
    if (rc >= 0)
        rc = catalog_attrs(o->catalog, take_attr, fleet, err);
    if (rc >= 0)
        rc = loop_new(RING_ENTRIES, &fleet->loop, err);
    if (rc >= 0)
        rc = listener_new(fleet->loop, o->listen_host, o->listen_port, session_accepted, fleet,
                          &fleet->listener, err);
    if (rc >= 0)
        rc = sender_pool_new(fleet->loop, o->store, &fleet->senders, err);
    if (rc >= 0)
        rc = planner_new(fleet->loop, o->runnings, &fleet->planner, err);
    if (rc >= 0)
        rc = work_queue_new(fleet->loop, "commits", &fleet->commits, err);
    return rc < 0 ? rc : 0;
}

static void *serve(void *arg)
{
    struct fleet *fleet = arg;
    listener_start(fleet->listener);
    fleet->tick_op.done = tick;
    loop_timer(fleet->loop, &fleet->tick_op, TICK_MS);
    int rc = loop_run(fleet->loop);
    if (rc < 0)
        log_error("the loop of the blades' connections failed: %s", strerror(-rc));
    return NULL;
}

static int start_thread(struct fleet *fleet, struct err *err)
{
    sigset_t all, old; /* signals are for the program's main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&fleet->thread, NULL, serve, fleet);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return err_sys(err, rc, "cannot start the fleet's thread");
    pthread_setname_np(fleet->thread, "fleet");
    return 0;
}

int fleet_new(const struct fleet_options *options, struct fleet **out, struct err *err)
{
    struct fleet *fleet = calloc(1, sizeof *fleet);
    if (!fleet)
        return err_set(err, ENOMEM, "no memory for the fleet");
    fleet->options = *options;
    fleet->logs_fd = -1;
    pthread_mutex_init(&fleet->lock, NULL);
    pthread_mutex_init(&fleet->changes, NULL);
    atomic_init(&fleet->next_request, 0);
    atomic_init(&fleet->drops_due, false);
    fleet->any_choice_ns = fleet->any_error_ns = fleet->status_ns = clock_wall_ns();
    int rc = make_parts(fleet, err);
    /* No number of a session is used twice, in this controller's life or another's. */
    if (rc == 0 &&
        getrandom(&fleet->last_session, sizeof fleet->last_session, 0) != (ssize_t)sizeof fleet->last_session)
        rc = err_set(err, EIO, "no random numbers are to be had");
    fleet->last_session >>= 1;
    if (rc == 0)
        rc = start_thread(fleet, err);
    if (rc < 0) {
        free_parts(fleet);
        return rc;
    }
    *out = fleet;
    return 0;
}
