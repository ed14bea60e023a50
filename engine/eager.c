#include "eager.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fdio.h"
#include "base/log.h"
#include "capture_eager.h"
#include "source.h"

#define NICEST 19
#define IDLE_IO (3 << 13) /* ioprio_set(2): IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0) */
#define AFTER_START_MS 1000

struct tracked {
    struct tracked *next;
    struct engine_source *source; /* a reference */
    struct eager_memory memory;
};

struct eager {
    struct capture_parts parts;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool woken, stop;
    bool looking; /* woken, and `pending` is not counted anew yet */
    size_t pending;
    struct capture_control *control; /* of the capture under way */
    struct tracked *all;             /* the thread's own */
    pthread_t thread;
};

static void wake(void *arg)
{
    struct eager *e = arg;
    HOLD_LOCK(&e->lock);
    e->woken = true;
    pthread_cond_signal(&e->changed);
}

/* Takes the reference. */
static void track(struct eager *e, struct engine_source *source, int64_t changed_ms)
{
    struct tracked *at = e->all;
    while (at && at->source != source)
        at = at->next;
    if (at) {
        engine_source_put(source);
    } else {
        at = calloc(1, sizeof(*at));
        if (!at) {
            engine_source_put(source); /* it waits for a load */
            return;
        }
        at->source = source;
        at->next = e->all;
        e->all = at;
    }
    eager_changed(&at->memory, changed_ms);
}

static void take_changed(struct eager *e)
{
    struct engine_source *source;
    while ((source = sources_next_changed(e->parts.sources))) {
        struct source_rest rest;
        source_rest(source, &rest);
        track(e, source, rest.changed_ms);
    }
}

/* What a restart finds: all that no note of the catalog vouches for. */
static void take_unknown(struct eager *e)
{
    OWNED_DIR dir = NULL;
    if (dir_list(e->parts.snapshots_fd, &dir) < 0)
        return;
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        struct stat st;
        if (!name_is_valid(entry->d_name, strlen(entry->d_name)) ||
            fstatat(e->parts.snapshots_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISDIR(st.st_mode))
            continue;
        struct engine_source *source = sources_get(e->parts.sources, entry->d_name, st.st_ino);
        uint32_t running;
        struct catalog_running prepared;
        uint64_t generation;
        if (source && source_known(source, &running, &prepared, &generation) == 0)
            track(e, source, source_now_ms());
        else
            engine_source_put(source);
    }
}

/* Forgets those of which nothing is to be done; returns the one to be captured and how. `*wait_ms`: until
 * there may be one. */
static struct tracked *choose(struct eager *e, struct eager_facts *facts, enum eager_step *step,
                              int64_t *wait_ms)
{
    struct tracked *chosen = NULL;
    size_t pending = 0;
    *wait_ms = -1;
    for (struct tracked **at = &e->all; *at;) {
        struct tracked *t = *at;
        struct source_rest rest;
        source_rest(t->source, &rest);
        if (rest.gone || t->memory.first_ms == 0) {
            *at = t->next;
            engine_source_put(t->source);
            free(t);
            continue;
        }
        at = &t->next;
        pending++;
        struct eager_facts now = {.now_ms = source_now_ms(),
                                  .changed_ms = rest.changed_ms,
                                  .generation = rest.generation,
                                  .open = rest.open,
                                  .busy = rest.busy};
        int64_t its_ms = -1;
        enum eager_step its = eager_next(&t->memory, &now, &its_ms);
        if (its != EAGER_WAIT && (!chosen || its > *step)) {
            chosen = t;
            *step = its;
            *facts = now;
        } else if (its == EAGER_WAIT && its_ms >= 0 && (*wait_ms < 0 || its_ms < *wait_ms)) {
            *wait_ms = its_ms;
        }
    }
    HOLD_LOCK(&e->lock);
    e->pending = pending;
    e->looking = false;
    return chosen;
}

static void capture(struct eager *e, struct tracked *t, enum eager_step step, const struct eager_facts *facts)
{
    struct capture_control control;
    bool kept = false;
    capture_control_init(&control);
    {
        HOLD_LOCK(&e->lock);
        e->control = &control;
        if (e->stop)
            capture_cancel(&control);
    }
    enum eager_result result = capture_eager(&e->parts, t->source, step, &control, &kept);
    {
        HOLD_LOCK(&e->lock);
        e->control = NULL;
    }
    capture_control_destroy(&control);
    /* If it was changed since, it is in the queue again. */
    eager_ended(&t->memory, step, result, kept, facts, source_now_ms());
}

/* False: it is to end. */
static bool wait_ms(struct eager *e, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    HOLD_LOCK(&e->lock);
    int r = 0;
    while (!e->stop && !e->woken && r != ETIMEDOUT)
        r = ms < 0 ? pthread_cond_wait(&e->changed, &e->lock)
                   : pthread_cond_timedwait(&e->changed, &e->lock, &until);
    e->looking = e->woken;
    e->woken = false;
    return !e->stop;
}

static void *work(void *arg)
{
    struct eager *e = arg;
    /* Of this thread and those that it starts; where it is refused it is no fault. To the scheduler a
     * processor that does nothing else is free then (sched(7)): nobody is moved away from it. */
    (void)setpriority(PRIO_PROCESS, 0, NICEST);
    (void)sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0});
    (void)syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, IDLE_IO);
    int64_t ms = AFTER_START_MS;
    bool known = false;
    while (wait_ms(e, ms)) {
        if (!known && (known = true))
            take_unknown(e);
        take_changed(e);
        struct eager_facts facts = {0};
        enum eager_step step = EAGER_WAIT;
        struct tracked *t = choose(e, &facts, &step, &ms);
        if (!t)
            continue;
        capture(e, t, step, &facts);
        ms = 0;
    }
    return NULL;
}

int eager_new(const struct capture_parts *parts, struct eager **out, struct err *err)
{
    struct eager *e = calloc(1, sizeof(*e));
    if (!e)
        return err_set(err, ENOMEM, "no memory for captures");
    e->parts = *parts;
    pthread_mutex_init(&e->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&e->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sources_watch(parts->sources, wake, e);
    int r = pthread_create(&e->thread, NULL, work, e);
    if (r != 0) {
        sources_watch(parts->sources, NULL, NULL);
        pthread_cond_destroy(&e->changed);
        pthread_mutex_destroy(&e->lock);
        free(e);
        return err_sys(err, r, "cannot start a thread for captures");
    }
    *out = e;
    return 0;
}

void eager_free(struct eager *e)
{
    if (!e)
        return;
    {
        HOLD_LOCK(&e->lock);
        e->stop = true;
        if (e->control)
            capture_cancel(e->control);
        pthread_cond_signal(&e->changed);
    }
    pthread_join(e->thread, NULL);
    sources_watch(e->parts.sources, NULL, NULL);
    while (e->all) {
        struct tracked *t = e->all;
        e->all = t->next;
        engine_source_put(t->source);
        free(t);
    }
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

size_t eager_pending(struct eager *e)
{
    HOLD_LOCK(&e->lock);
    return e->pending > 0 ? e->pending : e->woken || e->looking;
}
