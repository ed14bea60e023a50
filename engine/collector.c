#include "collector.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/fdio.h"
#include "base/log.h"

#define LEAST_BYTES (64u << 20)
#define LEAST_PART 4u
#define AFTER_START_MS (300 * 1000) /* what an earlier controller has left */
#define AFTER_REMOVAL_MS 2000       /* more may follow */
#define LOOK_MS 5000                /* at how much was stored */
#define PAUSE_PART 10               /* at most that part of the time goes into looking for garbage */

struct collector {
    struct blob_store *store;
    struct collector_events events;
    const struct blob_gc_roots *roots;
    size_t roots_count;
    bool joined; /* of who stops it */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    pthread_t thread;
    bool started, stop;
    bool busy, automatic; /* a collection is under way; nobody asked for it */
    bool cancel;          /* that one; atomic */
    uint64_t request;     /* who waits for one, 0: nobody */
    bool request_cancelled;
    engine_done done;
    void *done_arg;
    int64_t due_ms; /* when to look for garbage by itself, 0: not */
    int64_t not_before_ms;
    uint64_t looked_at_bytes; /* stored when garbage was looked for last */

    /* The last result. */
    bool any;
    struct blob_gc_result result;
    int64_t ended_ns, took_ms;
    struct err err;
};

static void *work(void *arg);

static void set_cancel(struct collector *c, bool cancel)
{
    __atomic_store_n(&c->cancel, cancel, __ATOMIC_RELAXED);
}

int collector_new(struct blob_store *store, const struct collector_events *events, struct collector **out,
                  struct err *err)
{
    struct collector *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(err, ENOMEM, "no memory for collections");
    c->store = store;
    c->events = *events;
    struct blob_store_stats stats;
    blob_store_stats(store, &stats);
    c->looked_at_bytes = stats.stored_bytes;
    c->due_ms = stats.chunks > 0 ? clock_boot_ms() + AFTER_START_MS : 0;
    pthread_condattr_t attr;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->wake, &attr);
    pthread_condattr_destroy(&attr);
    int r = pthread_create(&c->thread, NULL, work, c);
    if (r != 0) {
        pthread_cond_destroy(&c->wake);
        pthread_mutex_destroy(&c->lock);
        free(c);
        return err_sys(err, r, "cannot start the thread for collections");
    }
    *out = c;
    return 0;
}

void collector_stop(struct collector *c)
{
    if (!c || c->joined)
        return;
    {
        HOLD_LOCK(&c->lock);
        c->stop = true;
        set_cancel(c, true);
        pthread_cond_signal(&c->wake);
    }
    pthread_join(c->thread, NULL);
    c->joined = true;
}

void collector_free(struct collector *c)
{
    if (!c)
        return;
    collector_stop(c);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void collector_start(struct collector *c, const struct blob_gc_roots *roots, size_t count)
{
    HOLD_LOCK(&c->lock);
    c->roots = roots;
    c->roots_count = count;
    c->started = true;
    pthread_cond_signal(&c->wake);
}

int collector_request(struct collector *c, uint64_t request, engine_done done, void *arg)
{
    HOLD_LOCK(&c->lock);
    if (c->stop)
        return -EINTR;
    if (c->request)
        return -EEXIST;
    c->request = request;
    c->request_cancelled = false;
    c->done = done;
    c->done_arg = arg;
    if (c->busy) /* by itself: it gives way */
        set_cancel(c, true);
    pthread_cond_signal(&c->wake);
    return 0;
}

bool collector_cancel(struct collector *c, uint64_t request)
{
    HOLD_LOCK(&c->lock);
    if (request == 0 || c->request != request)
        return false;
    c->request_cancelled = true;
    set_cancel(c, true);
    return true;
}

void collector_removed(struct collector *c)
{
    HOLD_LOCK(&c->lock);
    int64_t due_ms = clock_boot_ms() + AFTER_REMOVAL_MS;
    if (c->due_ms == 0 || due_ms < c->due_ms)
        c->due_ms = due_ms;
    pthread_cond_signal(&c->wake);
}

static uint64_t stored_bytes(struct collector *c)
{
    struct blob_store_stats stats;
    blob_store_stats(c->store, &stats);
    return stats.stored_bytes;
}

/* Under the lock: how long until it is time to look, 0: it is. */
static int64_t wait_ms(struct collector *c)
{
    uint64_t before = c->looked_at_bytes;
    uint64_t much = before / LEAST_PART > LEAST_BYTES ? before / LEAST_PART : LEAST_BYTES;
    int64_t now_ms = clock_boot_ms();
    if (stored_bytes(c) >= before + much && (c->due_ms == 0 || c->due_ms > now_ms))
        c->due_ms = now_ms;
    int64_t due_ms = c->due_ms > c->not_before_ms ? c->due_ms : c->not_before_ms;
    if (!c->started || c->due_ms == 0 || due_ms > now_ms + LOOK_MS)
        return LOOK_MS;
    return due_ms > now_ms ? due_ms - now_ms : 0;
}

static void wait_for(struct collector *c, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += (time_t)(ms / 1000 + until.tv_nsec / 1000000000);
    until.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(&c->wake, &c->lock, &until);
}

/* Waits until there is something to do: false when it is to stop. */
static bool wait_for_work(struct collector *c)
{
    HOLD_LOCK(&c->lock);
    for (;;) {
        if (c->stop)
            return false;
        if (c->request && c->started)
            break;
        int64_t ms = wait_ms(c);
        if (ms == 0)
            break;
        wait_for(c, ms);
    }
    c->automatic = c->request == 0;
    c->busy = true;
    c->due_ms = 0;
    set_cancel(c, c->request_cancelled);
    return true;
}

static void log_result(bool automatic, int r, const struct blob_gc_result *result, const struct err *err,
                       int64_t took_ms)
{
    if (r == 0 && result->collected)
        log_info("the store was collected%s: %" PRIu64 " chunks and %" PRIu64 " packs removed, %" PRIu64
                 " bytes freed, %" PRIu64 " copied; %" PRId64 " ms",
                 automatic ? " by itself" : "", result->removed_chunks, result->packs_removed,
                 result->freed_bytes, result->moved_bytes, took_ms);
    else if (r < 0 && r != -ECANCELED)
        log_warn("the store could not be collected: %s", err->message);
}

static void answer(struct collector *c, int r)
{
    engine_done done;
    void *arg;
    {
        HOLD_LOCK(&c->lock);
        if (!c->request)
            return;
        done = c->done;
        arg = c->done_arg;
        c->request = 0;
        c->request_cancelled = false;
    }
    done(arg, r == -ECANCELED ? -EINTR : r, "");
}

static void collect(struct collector *c)
{
    const struct blob_gc_options options = {.least_bytes = c->automatic ? LEAST_BYTES : 0,
                                            .least_part = c->automatic ? LEAST_PART : 0,
                                            .cancelled = &c->cancel};
    struct blob_gc_result result = {0};
    struct err err = {0};
    int64_t began_ms = clock_boot_ms();
    int r = blob_store_gc(c->store, c->roots, c->roots_count, &options, &result, &err);
    int64_t took_ms = clock_boot_ms() - began_ms;
    char name[RUNNING_NAME_MAX_BYTES + 1];
    if (r < 0 && result.root_failed && c->events.name(c->events.arg, &result.failed_root, name))
        r = err_prefix(&err, "%s", name);
    if (r == -ENOENT || r == -EBADMSG)
        r = -(err.code = EIO); /* a chunk is missing: what was asked for is there */
    log_result(c->automatic, r, &result, &err, took_ms);
    bool tell;
    bool asked;
    {
        HOLD_LOCK(&c->lock);
        asked = !c->automatic;
        /* That there was too little, or that one gave way, is nothing that happened. */
        tell = asked || result.collected || (r < 0 && r != -ECANCELED);
        if (tell) {
            c->any = true;
            c->result = result;
            c->ended_ns = clock_wall_ns();
            c->took_ms = took_ms;
            c->err = err;
            c->err.code = r < 0 ? -r : 0;
        }
        c->busy = false;
        c->looked_at_bytes = stored_bytes(c);
        if (c->automatic)
            c->not_before_ms = clock_boot_ms() + took_ms * PAUSE_PART;
    }
    if (tell)
        c->events.collected(c->events.arg);
    if (asked)
        answer(c, r);
}

static void *work(void *arg)
{
    struct collector *c = arg;
    while (wait_for_work(c))
        collect(c);
    answer(c, -ECANCELED);
    return NULL;
}

int64_t collector_ended_ns(struct collector *c)
{
    HOLD_LOCK(&c->lock);
    return c->any ? c->ended_ns : 0;
}

void collector_show(struct collector *c, struct buf *out, int64_t *changed_ns)
{
    char when[32];
    HOLD_LOCK(&c->lock);
    if (changed_ns)
        *changed_ns = c->any ? c->ended_ns : 0;
    if (!c->any) {
        buf_printf(out, "never\n");
        return;
    }
    clock_format(c->ended_ns, when);
    buf_printf(out,
               "when %s\nremoved_chunks %" PRIu64 "\nfreed_bytes %" PRIu64 "\nkept_chunks %" PRIu64
               "\nmoved_bytes %" PRIu64 "\npacks_removed %" PRIu64 "\ntook_ms %" PRId64 "\n",
               when, c->result.removed_chunks, c->result.freed_bytes, c->result.kept_chunks,
               c->result.moved_bytes, c->result.packs_removed, c->took_ms);
    if (c->err.code)
        buf_printf(out, "error %s\n", c->err.message);
}
