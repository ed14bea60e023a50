#include "instance.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/container.h"
#include "base/fdio.h"
#include "base/log.h"
#include "instance_parts.h"

#define GRACE_MS 10000u

/* ---- carrying actions out ---- */

/* Which images the directories are of, now: those are held, others let go. */
void instance_hold_images(struct instance *i)
{
    const struct instance_machine *m = &i->machine;
    const uint64_t now[INSTANCE_HELD_MAX] = {m->state.image, m->previous, m->older,
                                             m->op == OP_LOAD ? m->load.image : 0};
    for (size_t n = 0; n < INSTANCE_HELD_MAX; n++)
        if (now[n])
            images_hold(i->images, now[n]);
    for (size_t n = 0; n < INSTANCE_HELD_MAX; n++)
        if (i->held[n])
            images_release(i->images, i->held[n]);
    memcpy(i->held, now, sizeof(now));
}

static int write_start(struct instance *i, int current, struct err *err)
{
    struct instance_spec *spec = &i->spec;
    spec->start++;
    spec->restarts = i->machine.state.restarts;
    spec->wanted = i->machine.wanted;
    memcpy(spec->snapshot, i->machine.state.snapshot, sizeof(spec->snapshot));
    memcpy(spec->slot, i->slot, sizeof(spec->slot));
    memcpy(spec->runtime, i->runtime.path, sizeof(spec->runtime));
    memcpy(spec->init, i->runtime.init, sizeof(spec->init));
    runtime_boot_id(spec->boot_id);
    snprintf(spec->id, sizeof(spec->id), "%s%" PRIx64, i->id_prefix, (uint64_t)clock_wall_ns());
    char **binds = strings_copy((const char *const *)i->binds);
    char **caps = strings_copy((const char *const *)i->caps);
    if (!binds || !caps) {
        strings_free(binds);
        strings_free(caps);
        return err_set(err, ENOMEM, "no memory for the spec of %s", spec->snapshot);
    }
    strings_free(spec->binds);
    strings_free(spec->caps);
    spec->binds = binds;
    spec->caps = caps;
    int r = instance_spec_write(current, INSTANCE_START, spec, false);
    return r < 0 ? err_sys(err, -r, "%s: cannot write %s/start", spec->snapshot, i->current) : 0;
}

static void spawn(struct instance *i)
{
    struct err err = {0};
    OWNED_FD current = openat(i->fd, "current", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r;
    if (current < 0 || !i->spec.exec)
        r = err_sys(&err, current < 0 ? errno : ENOENT, "%s: cannot open %s", i->machine.state.snapshot,
                    i->current);
    else
        r = write_start(i, current, &err);
    if (r == 0)
        r = instance_link_start(&i->link, i->current, current, &err);
    if (r < 0)
        i->spawn_failed = err; /* told from a turn of its own, as all that a supervisor says */
}

static void carry_out(struct instance *i, const struct machine_action *action)
{
    switch (action->kind) {
    case ACT_WORK:
        instance_work_put(i, action->work);
        break;
    case ACT_SPAWN:
        spawn(i);
        break;
    case ACT_STOP:
        instance_link_stop(&i->link, i->machine.grace_ms);
        break;
    case ACT_KILL_SUPERVISOR:
        log_warn("%s: its supervisor does not answer and is killed", i->machine.state.snapshot);
        instance_link_kill(&i->link);
        break;
    case ACT_ANSWER:
        i->answered = true;
        i->result = action->result;
        i->reason = i->machine.reason;
        break;
    case ACT_CHANGED:
        i->changed = true;
        break;
    case ACT_SWEEP:
        instance_sweep_put(i);
        break;
    }
}

static void set_alarm(struct instance *i)
{
    int64_t at_ms = i->machine.deadline_ms;
    if (!at_ms || i->closing)
        return;
    if (i->alarm.busy) {
        if (at_ms < i->alarm_at_ms) {
            i->alarm_again = true;
            loop_cancel(i->loop, &i->alarm);
        }
        return;
    }
    int64_t after_ms = at_ms - clock_boot_ms();
    i->alarm_at_ms = at_ms;
    loop_timer(i->loop, &i->alarm, after_ms > 0 ? after_ms : 0);
}

void instance_feed(struct instance *i, struct machine_event *event)
{
    if (i->closing)
        return;
    struct machine_actions actions;
    event->now_ms = clock_boot_ms();
    event->wall_ns = clock_wall_ns();
    machine_step(&i->machine, event, &actions);
    for (size_t n = 0; n < actions.count; n++)
        carry_out(i, &actions.at[n]);
    instance_hold_images(i);
    if (i->changed || i->answered || i->spawn_failed.code)
        instance_flush_soon(i);
    set_alarm(i);
}

/* ---- events ---- */

static void on_state(void *arg, const struct supervise_state *state)
{
    struct machine_event event = {.kind = EVENT_SUPERVISOR, .supervised = state};
    instance_feed(arg, &event);
}

static void on_output(void *arg, const void *bytes, size_t len_bytes)
{
    struct instance *i = arg;
    i->events.output(i->events.arg, bytes, len_bytes);
}

static void on_gone(void *arg)
{
    struct machine_event event = {.kind = EVENT_GONE};
    instance_feed(arg, &event);
}

static void tell_spawn_failed(struct instance *i)
{
    struct supervise_state state = {.phase = SUPERVISE_REFUSED, .since_ns = clock_wall_ns()};
    snprintf(state.sentence, sizeof(state.sentence), "%s", i->spawn_failed.message);
    i->spawn_failed = (struct err){0};
    on_state(i, &state);
    on_gone(i);
}

static void maybe_free(struct instance *i);

static void on_flush(struct loop_op *op, int result)
{
    struct instance *i = CONTAINER_OF(op, struct instance, flush);
    (void)result;
    if (i->closing) {
        maybe_free(i);
        return;
    }
    if (i->spawn_failed.code)
        tell_spawn_failed(i);
    if (i->backlog) {
        i->backlog = false;
        instance_hand_on_backlog(i);
    }
    if (i->changed) {
        i->changed = false;
        i->events.changed(i->events.arg);
    }
    if (i->answered) {
        instance_done done = i->done;
        void *arg = i->done_arg;
        struct err reason = i->reason;
        i->answered = false;
        i->done = NULL;
        done(arg, i->result, &reason);
    }
}

void instance_flush_soon(struct instance *i)
{
    if (!i->flush.busy && !i->closing)
        loop_timer(i->loop, &i->flush, 0);
}

static void on_alarm(struct loop_op *op, int result)
{
    struct instance *i = CONTAINER_OF(op, struct instance, alarm);
    if (i->closing) {
        maybe_free(i);
        return;
    }
    bool again = i->alarm_again;
    i->alarm_again = false;
    if (result != -ETIME && !again) /* the loop ends */
        return;
    struct machine_event event = {.kind = EVENT_TIME};
    instance_feed(i, &event);
}

/* ---- open and close ---- */

static int open_directories(struct instance *i, const char *dir, struct err *err)
{
    struct stat st;
    if (snprintf(i->current, sizeof(i->current), "%s/instance/current", dir) >= (int)sizeof(i->current))
        return err_set(err, ENAMETOOLONG, "%.100s...: the path is too long", dir);
    i->agent_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (i->agent_fd < 0 || (mkdirat(i->agent_fd, "instance", 0700) < 0 && errno != EEXIST))
        return err_sys(err, errno, "cannot make %s/instance", dir);
    i->fd = openat(i->agent_fd, "instance", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (i->fd < 0 || fstat(i->fd, &st) < 0)
        return err_sys(err, errno, "cannot open %s/instance", dir);
    /* Several agents on one machine share the runtime's names. */
    const uint64_t place[2] = {(uint64_t)st.st_dev, (uint64_t)st.st_ino};
    snprintf(i->id_prefix, sizeof(i->id_prefix), "blade-%016" PRIx64 "-",
             (uint64_t)XXH3_64bits(place, sizeof(place)));
    return 0;
}

static void on_link_closed(void *arg)
{
    maybe_free(arg);
}

static int open_parts(struct instance *i, const struct instance_options *options, struct err *err)
{
    int r = open_directories(i, options->dir, err);
    if (r < 0)
        return r;
    i->binds = strings_copy(options->binds);
    i->caps = strings_copy(options->caps);
    if (!i->binds || !i->caps)
        return err_set(err, ENOMEM, "no memory for an instance");
    r = runtime_find(i->agent_fd, options->dir, options->runtime, &i->runtime, err);
    if (r < 0)
        return r;
    snprintf(i->runtime_words, sizeof(i->runtime_words), "%s (%s)", i->runtime.path, i->runtime.version);
    r = worker_new(i->loop, &i->worker, err);
    if (r == 0)
        r = worker_new(i->loop, &i->sweeper, err);
    return r == 0 ? instance_adopt(i, err) : r;
}

int instance_open(struct loop *loop, struct images *images, const struct instance_options *options,
                  const struct instance_events *events, struct instance **out, struct err *err)
{
    struct instance *i = calloc(1, sizeof(*i));
    if (!i)
        return err_set(err, ENOMEM, "no memory for an instance");
    const struct link_events link = {
        .state = on_state, .output = on_output, .gone = on_gone, .closed = on_link_closed, .arg = i};
    i->loop = loop;
    i->images = images;
    i->events = *events;
    i->agent_fd = i->fd = -1;
    i->flush.done = on_flush;
    i->alarm.done = on_alarm;
    i->machine.grace_ms = options->grace_ms ? options->grace_ms : GRACE_MS;
    instance_link_init(&i->link, loop, &link);
    int r = open_parts(i, options, err);
    if (r < 0) {
        instance_close(i);
        return r;
    }
    if (i->backlog)
        instance_flush_soon(i);
    *out = i;
    return 0;
}

/* When the loop has let go of the last operation. */
static void maybe_free(struct instance *i)
{
    if (!i->flush.busy && !i->alarm.busy && !i->link.op.busy)
        free(i);
}

void instance_close(struct instance *i)
{
    if (!i)
        return;
    i->closing = true;
    instance_done done = i->done;
    i->done = NULL;
    if (done) {
        struct err err = {0};
        err_set(&err, ECANCELED, "bladed ends; what it was doing is settled at its next start");
        done(i->done_arg, -ECANCELED, &err);
    }
    (void)!instance_link_close(&i->link); /* maybe_free looks */
    worker_free(i->worker);
    worker_free(i->sweeper);
    for (size_t n = 0; n < INSTANCE_HELD_MAX; n++)
        if (i->held[n])
            images_release(i->images, i->held[n]);
    instance_spec_free(&i->work.spec);
    instance_spec_free(&i->spec);
    strings_free(i->binds);
    strings_free(i->caps);
    cleanup_fd(&i->agent_fd);
    cleanup_fd(&i->fd);
    loop_cancel(i->loop, &i->flush);
    loop_cancel(i->loop, &i->alarm);
    maybe_free(i);
}

/* ---- calls ---- */

void instance_set_slot(struct instance *i, const char *slot)
{
    snprintf(i->slot, sizeof(i->slot), "%s", slot);
}

const struct instance_state *instance_state(const struct instance *i)
{
    return &i->machine.state;
}

const char *instance_runtime(const struct instance *i)
{
    return i->runtime_words;
}

static int begin(struct instance *i, struct machine_event *event, instance_done done, void *arg)
{
    if (machine_is_busy(&i->machine) || i->done)
        return -EBUSY;
    i->done = done;
    i->done_arg = arg;
    instance_feed(i, event);
    return 0;
}

int instance_load(struct instance *i, uint64_t image, const char *snapshot, instance_done done, void *arg)
{
    struct machine_event event = {.kind = EVENT_LOAD, .image = image, .snapshot = snapshot};
    return image == 0 || !snapshot[0] ? -EINVAL : begin(i, &event, done, arg);
}

int instance_run(struct instance *i, enum wire_verb verb, instance_done done, void *arg)
{
    struct machine_event event = {.kind = EVENT_RUN, .verb = verb};
    return verb < WIRE_RUN_START || verb > WIRE_RUN_UNLOAD ? -EINVAL : begin(i, &event, done, arg);
}
