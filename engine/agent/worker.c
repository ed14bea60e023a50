#include "worker.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "base/container.h"

struct queue {
    struct worker_job *first, **end;
};

struct worker {
    struct loop *loop;
    struct loop_op op; /* waits for `event_fd` */
    int event_fd;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct queue waiting, finished;
    bool leaving;
};

static void put(struct queue *q, struct worker_job *job)
{
    job->next = NULL;
    *q->end = job;
    q->end = &job->next;
}

static struct worker_job *take(struct queue *q)
{
    struct worker_job *job = q->first;
    if (job) {
        q->first = job->next;
        if (!q->first)
            q->end = &q->first;
    }
    return job;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->leaving) {
        struct worker_job *job = take(&w->waiting);
        if (!job) {
            pthread_cond_wait(&w->more, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        job->run(job);
        pthread_mutex_lock(&w->lock);
        put(&w->finished, job);
        eventfd_write(w->event_fd, 1);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void destroy(struct worker *w)
{
    close(w->event_fd);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static void on_event(struct loop_op *op, int result)
{
    struct worker *w = CONTAINER_OF(op, struct worker, op);
    if (w->leaving) { /* set and read on this thread */
        destroy(w);
        return;
    }
    if (result < 0) /* the loop ends */
        return;
    eventfd_t count;
    (void)!eventfd_read(w->event_fd, &count);
    loop_poll(w->loop, &w->op, w->event_fd, POLLIN);
    pthread_mutex_lock(&w->lock);
    struct worker_job *job = w->finished.first;
    w->finished = (struct queue){.end = &w->finished.first};
    pthread_mutex_unlock(&w->lock);
    while (job) {
        struct worker_job *next = job->next;
        job->done(job);
        job = next;
    }
}

int worker_new(struct loop *loop, struct worker **out, struct err *err)
{
    struct worker *w = calloc(1, sizeof(*w));
    if (!w)
        return err_set(err, ENOMEM, "no memory for a thread");
    w->loop = loop;
    w->op.done = on_event;
    w->waiting.end = &w->waiting.first;
    w->finished.end = &w->finished.first;
    w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->event_fd < 0) {
        int code = errno;
        free(w);
        return err_sys(err, code, "cannot make an eventfd");
    }
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    sigset_t all, old; /* signals are for the other threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int code = pthread_create(&w->thread, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (code) {
        destroy(w);
        return err_sys(err, code, "cannot start a thread");
    }
    loop_poll(loop, &w->op, w->event_fd, POLLIN);
    *out = w;
    return 0;
}

void worker_put(struct worker *w, struct worker_job *job)
{
    pthread_mutex_lock(&w->lock);
    put(&w->waiting, job);
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
}

void worker_free(struct worker *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->leaving = true;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    if (w->op.busy)
        loop_cancel(w->loop, &w->op); /* its `done` frees it */
    else
        destroy(w);
}
