#include "waits.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "base/fdio.h"
#include "value.h"

enum { LOOK_AGAIN_MS = 100, STATUS_MAX_BYTES = 8192 };

struct wait {
    struct wait *next, **at; /* among the unanswered */
    struct waits *waits;
    fuse_req_t req;
    pid_t caller; /* a thread's id, 0: not to be seen from here */
    uint64_t request;
    uint32_t users; /* who started it, and the engine */
    bool answered;
    bool interrupted;
    bool cancelled;
    struct control_file *file; /* held, where it reads the answer; else NULL */
    char *written;             /* owned; for `file` */
    size_t written_bytes;
    off_t offset;
};

struct waits {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct engine *engine;
    struct wait *first;
    pthread_t watcher;
    bool ending; /* refuses what comes */
    bool stop;   /* the watcher */
};

static void *watch(void *arg);

int waits_new(struct engine *engine, struct waits **out)
{
    OWNED struct waits *waits = calloc(1, sizeof(*waits));
    pthread_condattr_t attr;
    if (!waits)
        return -ENOMEM;
    waits->engine = engine;
    pthread_mutex_init(&waits->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&waits->changed, &attr);
    pthread_condattr_destroy(&attr);
    int r = pthread_create(&waits->watcher, NULL, watch, waits);
    if (r != 0)
        return -r;
    *out = STEAL(waits);
    return 0;
}

void waits_free(struct waits *waits)
{
    if (!waits)
        return;
    pthread_mutex_lock(&waits->lock);
    waits->stop = true;
    pthread_cond_broadcast(&waits->changed);
    pthread_mutex_unlock(&waits->lock);
    pthread_join(waits->watcher, NULL);
    pthread_cond_destroy(&waits->changed);
    pthread_mutex_destroy(&waits->lock);
    free(waits);
}

static struct timespec after_ms(int ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

static bool caller_ends(pid_t caller)
{
    OWNED_BUF struct buf status = BUF_EMPTY;
    char path[48];
    if (caller <= 0)
        return false;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)caller);
    if (file_read(AT_FDCWD, path, STATUS_MAX_BYTES, &status) < 0)
        return false;
    buf_put_u8(&status, 0);
    return !status.error && status_shows_end((const char *)status.bytes);
}

/* Some interrupted request that was not looked at in this round; its number and caller. */
static bool next_interrupted(struct waits *waits, uint64_t after, uint64_t *request, pid_t *caller)
{
    const struct wait *best = NULL;
    for (const struct wait *w = waits->first; w; w = w->next)
        if (w->interrupted && !w->cancelled && w->request > after && (!best || w->request < best->request))
            best = w;
    if (!best)
        return false;
    *request = best->request;
    *caller = best->caller;
    return true;
}

static void mark_cancelled(struct waits *waits, uint64_t request)
{
    for (struct wait *w = waits->first; w; w = w->next)
        if (w->request == request)
            w->cancelled = true;
}

/* Looks at every interrupted request once; the lock is given back meanwhile. True: there was one. */
static bool look(struct waits *waits)
{
    uint64_t request = 0;
    pid_t caller;
    bool some = false;
    while (next_interrupted(waits, request, &request, &caller)) {
        some = true;
        pthread_mutex_unlock(&waits->lock);
        bool ends = caller_ends(caller);
        if (ends)
            engine_cancel(waits->engine, request);
        pthread_mutex_lock(&waits->lock);
        if (ends)
            mark_cancelled(waits, request);
    }
    return some;
}

static void *watch(void *arg)
{
    struct waits *waits = arg;
    pthread_mutex_lock(&waits->lock);
    while (!waits->stop) {
        if (look(waits)) {
            struct timespec until = after_ms(LOOK_AGAIN_MS);
            (void)pthread_cond_timedwait(&waits->changed, &waits->lock, &until);
        } else if (!waits->stop) {
            pthread_cond_wait(&waits->changed, &waits->lock);
        }
    }
    pthread_mutex_unlock(&waits->lock);
    return NULL;
}

/* libfuse calls it under a lock of the request: nothing is done here but to wake the watcher. */
static void on_interrupt(fuse_req_t req, void *data)
{
    struct wait *wait = data;
    (void)req;
    HOLD_LOCK(&wait->waits->lock);
    wait->interrupted = true;
    pthread_cond_broadcast(&wait->waits->changed);
}

static void wait_free(struct wait *wait)
{
    if (wait->file)
        control_file_put(wait->file);
    free(wait->written);
    free(wait);
}

static void wait_put(struct wait *wait)
{
    bool last;
    {
        HOLD_LOCK(&wait->waits->lock);
        last = --wait->users == 0;
    }
    if (last)
        wait_free(wait);
}

struct wait *wait_new(struct waits *waits, const struct control_write *write)
{
    struct wait *wait = calloc(1, sizeof(*wait));
    if (!wait)
        return NULL;
    wait->written = malloc(write->written_bytes);
    if (!wait->written) {
        free(wait);
        return NULL;
    }
    memcpy(wait->written, write->written, write->written_bytes);
    wait->written_bytes = write->written_bytes;
    wait->offset = write->offset;
    wait->waits = waits;
    wait->req = write->req;
    wait->caller = fuse_req_ctx(write->req)->pid;
    wait->users = 2;
    if (write->file && write->file->row->place == PLACE_ANY) {
        HOLD_LOCK(&write->file->lock);
        write->file->users++;
        wait->file = write->file;
    }
    {
        HOLD_LOCK(&waits->lock);
        wait->next = waits->first;
        wait->at = &waits->first;
        if (wait->next)
            wait->next->at = &wait->next;
        waits->first = wait;
    }
    fuse_req_interrupt_func(write->req, on_interrupt, wait);
    return wait;
}

/* Takes it off the list; from here on nobody else answers it. */
static void settle(struct wait *wait)
{
    HOLD_LOCK(&wait->waits->lock);
    wait->answered = true;
    *wait->at = wait->next;
    if (wait->next)
        wait->next->at = wait->at;
    pthread_cond_broadcast(&wait->waits->changed);
}

void wait_done(void *arg, int result, const char *line)
{
    struct wait *wait = arg;
    /* Waits for an interrupt that is being told right now; then none comes any more. */
    fuse_req_interrupt_func(wait->req, NULL, NULL);
    if (result == 0 && wait->file)
        control_file_answer(wait->file, wait->written, wait->written_bytes, wait->offset, line);
    if (result < 0)
        reply_result(wait->req, value_errno(result));
    else
        fuse_reply_write(wait->req, wait->written_bytes);
    settle(wait);
    wait_put(wait);
}

int wait_started(struct wait *wait, int result, uint64_t request)
{
    bool cancel = false;
    if (result < 0) {
        fuse_req_interrupt_func(wait->req, NULL, NULL);
        settle(wait);
        wait_free(wait); /* the engine has no share in it */
        return result;
    }
    {
        HOLD_LOCK(&wait->waits->lock);
        wait->request = request;
        cancel = wait->waits->ending && !wait->answered;
        if (wait->interrupted)
            pthread_cond_broadcast(&wait->waits->changed);
    }
    if (cancel)
        engine_cancel(wait->waits->engine, request);
    wait_put(wait);
    return CONTROL_LATER;
}

void waits_end(struct waits *waits, int timeout_ms)
{
    struct timespec until = after_ms(timeout_ms);
    pthread_mutex_lock(&waits->lock);
    waits->ending = true;
    uint64_t done = 0;
    for (;;) { /* the numbers only grow, so each is cancelled once */
        uint64_t next = 0;
        for (const struct wait *w = waits->first; w; w = w->next)
            if (w->request > done && (next == 0 || w->request < next))
                next = w->request;
        if (next == 0)
            break;
        done = next;
        pthread_mutex_unlock(&waits->lock);
        engine_cancel(waits->engine, next);
        pthread_mutex_lock(&waits->lock);
    }
    while (waits->first && pthread_cond_timedwait(&waits->changed, &waits->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&waits->lock);
}
