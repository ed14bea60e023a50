#include "workers.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "lead.h"
#include "near.h"

enum { WORKERS = 16, TICK_NS = 1000000, IDLE_TICKS = 100, STARVED_TICKS = 2 };
#define NEAR_AGAIN_NS 50000000 /* after a processor was too busy: two ticks are lost each time */

struct worker {
    struct workers *workers;
    pthread_t thread;
    struct fuse_buf buf;
    atomic_uint turns; /* odd while it answers as the leader */
    unsigned score, at_once;
    bool waiting; /* the request in the buffer was there when it was looked for first */
    int64_t answered_ns;
    struct lead_client client;
    pid_t id;             /* the kernel's, of the thread */
    atomic_int processor; /* that it is near on; -1: it is not */
};

struct workers {
    struct fuse_session *fuse;
    int end_fd; /* an eventfd: readable at the end */
    unsigned processors;
    cpu_set_t all; /* of them */
    bool can_be_near;
    atomic_int_fast64_t not_near_ns; /* until then */
    pthread_mutex_t lock;
    pthread_cond_t lead_free, request; /* for the others; for the watch */
    _Atomic(struct worker *) leader;
    atomic_bool ended, watch_sleeps;
    atomic_int result;
    pthread_t watch;
    _Atomic(pid_t) watch_id;
    struct worker worker[WORKERS];
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int workers_new(struct fuse_session *fuse, struct workers **out)
{
    int fd = fuse_session_fd(fuse);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    struct workers *workers = calloc(1, sizeof(*workers));
    if (!workers)
        return -ENOMEM;
    workers->fuse = fuse;
    workers->processors = 1;
    if (sched_getaffinity(0, sizeof(workers->all), &workers->all) == 0)
        workers->processors = (unsigned)CPU_COUNT(&workers->all);
    workers->can_be_near = workers->processors > 1 && near_is_possible();
    workers->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (workers->end_fd < 0) {
        int r = -errno;
        free(workers);
        return r;
    }
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->lead_free, NULL);
    pthread_cond_init(&workers->request, NULL);
    *out = workers;
    return 0;
}

void workers_free(struct workers *workers)
{
    if (!workers)
        return;
    for (size_t i = 0; i < WORKERS; i++)
        free(workers->worker[i].buf.mem);
    close(workers->end_fd);
    pthread_cond_destroy(&workers->request);
    pthread_cond_destroy(&workers->lead_free);
    pthread_mutex_destroy(&workers->lock);
    free(workers);
}

void workers_end(struct workers *workers)
{
    HOLD_LOCK(&workers->lock);
    workers->ended = true;
    pthread_cond_broadcast(&workers->lead_free);
    pthread_cond_broadcast(&workers->request);
    (void)eventfd_write(workers->end_fd, 1);
}

/* ---- the lead ---- */

/* Waits for the lead; false: it is the end. */
static bool take_lead(struct workers *workers, struct worker *me)
{
    HOLD_LOCK(&workers->lock);
    while (!workers->ended && workers->leader)
        pthread_cond_wait(&workers->lead_free, &workers->lock);
    if (workers->ended)
        return false;
    workers->leader = me;
    return true;
}

/* From `leader`, if it still has it. */
static void free_lead(struct workers *workers, struct worker *leader)
{
    if (!atomic_compare_exchange_strong(&workers->leader, &leader, NULL))
        return;
    HOLD_LOCK(&workers->lock);
    pthread_cond_signal(&workers->lead_free);
}

/* More than 0: a request is in the buffer. */
static int try_receive(struct workers *workers, struct worker *me)
{
    if (workers->ended || fuse_session_exited(workers->fuse))
        return 0;
    return fuse_session_receive_buf(workers->fuse, &me->buf);
}

/* Looks for a request without sleeping, for a while if that is promising. */
static int look(struct workers *workers, struct worker *me)
{
    int r = try_receive(workers, me);
    me->waiting = r > 0;
    /* Nobody asks on the processor that it looks on. */
    if (workers->processors < 2 || me->processor >= 0 || !lead_looks(me->score))
        return r;
    int64_t until_ns = me->answered_ns + LEAD_LOOK_NS;
    while (r == -EAGAIN && now_ns() < until_ns)
        r = try_receive(workers, me);
    return r;
}

/* The next request: more than 0; 0: it is the end; or -errno. */
static int receive(struct workers *workers, struct worker *me)
{
    struct pollfd fds[] = {
        {.fd = fuse_session_fd(workers->fuse), .events = POLLIN},
        {.fd = workers->end_fd, .events = POLLIN},
    };
    int r = look(workers, me);
    while (r == -EAGAIN || r == -EINTR) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return -errno;
        r = try_receive(workers, me);
    }
    me->score = lead_score(me->score, now_ns() - me->answered_ns);
    return r;
}

/* What lies in a pipe is long, and has none. */
static struct fuse_in_header header_of(const struct fuse_buf *buf)
{
    struct fuse_in_header header = {0};
    if (!(buf->flags & FUSE_BUF_IS_FD) && buf->size >= sizeof(header))
        memcpy(&header, buf->mem, sizeof(header));
    return header;
}

static void wake_watch(struct workers *workers)
{
    if (!workers->watch_sleeps)
        return;
    HOLD_LOCK(&workers->lock);
    pthread_cond_signal(&workers->request);
}

/* ---- on the client's processor ---- */

/* Any thread, and again if it likes. */
static void leave(struct workers *workers, struct worker *worker)
{
    worker->processor = -1;
    near_leave(worker->id, &workers->all);
}

static void leave_if_near(struct workers *workers, struct worker *me)
{
    if (me->processor >= 0)
        leave(workers, me);
}

/* `me` of itself, after a request was received. */
static void come_near(struct workers *workers, struct worker *me)
{
    if (!workers->can_be_near || !lead_is_near(&me->client, me->score, workers->processors) ||
        workers->not_near_ns > now_ns()) {
        leave_if_near(workers, me);
        return;
    }
    if (!lead_looks_after(&me->client, me->waiting))
        return;
    int processor = near_processor_of((pid_t)me->client.id);
    if (processor == me->processor)
        return;
    me->processor = processor;
    near_keep_off(workers->watch_id, processor, &workers->all);
    wake_watch(workers); /* before this thread may get too little to do it */
    if (processor < 0 || near_go(me->id, processor) < 0 || me->processor != processor)
        leave(workers, me);
}

static void answer(struct workers *workers, struct worker *me)
{
    bool long_one = me->buf.flags & FUSE_BUF_IS_FD;
    struct fuse_in_header header = header_of(&me->buf);
    uint32_t opcode = header.opcode;
    lead_asked(&me->client, opcode, header.pid);
    come_near(workers, me);
    me->at_once = lead_queue(opcode, me->waiting, me->at_once);
    if (long_one || lead_gives(opcode, me->at_once, workers->processors)) {
        leave_if_near(workers, me);
        free_lead(workers, me);
        me->at_once = 0;
        fuse_session_process_buf(workers->fuse, &me->buf);
    } else {
        me->turns++;
        wake_watch(workers);
        fuse_session_process_buf(workers->fuse, &me->buf);
        me->turns++;
    }
    me->answered_ns = now_ns();
}

static void *work(void *arg)
{
    struct worker *me = arg;
    struct workers *workers = me->workers;
    me->id = gettid();
    while (take_lead(workers, me)) {
        int r;
        do {
            r = receive(workers, me);
            if (r > 0)
                answer(workers, me);
        } while (r > 0 && workers->leader == me);
        leave_if_near(workers, me);
        if (r <= 0) {
            workers->result = r;
            workers_end(workers);
        }
    }
    return NULL;
}

/* Sleeps while nobody leads at work; false: it is the end. */
static bool watch_waits(struct workers *workers)
{
    HOLD_LOCK(&workers->lock);
    workers->watch_sleeps = true;
    const struct worker *leader = workers->leader;
    if (!workers->ended && !(leader && (leader->turns & 1 || leader->processor >= 0)))
        pthread_cond_wait(&workers->request, &workers->lock);
    workers->watch_sleeps = false;
    return !workers->ended;
}

static bool has_request(const struct workers *workers)
{
    struct pollfd p = {.fd = fuse_session_fd(workers->fuse), .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

/* Takes the lead away from who has answered the same request for a tick. */
static void *watch(void *arg)
{
    struct workers *workers = arg;
    struct worker *last = NULL;
    workers->watch_id = gettid();
    unsigned last_turns = 0, idle = IDLE_TICKS, starved = 0;
    while (!workers->ended) {
        if (idle >= IDLE_TICKS && !watch_waits(workers))
            break;
        if (idle >= IDLE_TICKS)
            idle = 0;
        nanosleep(&(struct timespec){.tv_nsec = TICK_NS}, NULL);
        struct worker *leader = workers->leader;
        unsigned turns = leader ? leader->turns : 0;
        bool same = leader == last && turns == last_turns;
        bool stuck = same && leader && (turns & 1 || has_request(workers));
        starved = stuck ? starved + 1 : 0;
        if (starved >= STARVED_TICKS && workers->can_be_near) { /* others may need its processor */
            workers->not_near_ns = now_ns() + NEAR_AGAIN_NS;
            leave(workers, leader);
        }
        if (same && leader && turns & 1)
            free_lead(workers, leader);
        idle = same ? idle + 1 : 0;
        if (idle == IDLE_TICKS && leader) /* nobody watches over it from now on */
            leave_if_near(workers, leader);
        last = leader;
        last_turns = turns;
    }
    return NULL;
}

int workers_serve(struct workers *workers)
{
    size_t started = 0;
    int r = -pthread_create(&workers->watch, NULL, watch, workers);
    if (r < 0)
        return r;
    for (size_t i = 0; i < WORKERS; i++) {
        struct worker *worker = &workers->worker[i];
        worker->workers = workers;
        worker->processor = -1;
        r = -pthread_create(&worker->thread, NULL, work, worker);
        if (r < 0)
            break;
        started++;
    }
    if (started < WORKERS)
        log_warn("%zu threads answer requests instead of %d (errno %d)", started, WORKERS, -r);
    if (started == 0)
        workers_end(workers);
    for (size_t i = 0; i < started; i++)
        pthread_join(workers->worker[i].thread, NULL);
    workers_end(workers);
    pthread_join(workers->watch, NULL);
    return started == 0 ? r : workers->result;
}
