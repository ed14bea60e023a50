#include "work.h"

#include <signal.h>

#include "base/container.h"

struct work_queue {
    struct loop *loop;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct work *first, **last;
    bool ends;
};

static void bring_back(struct loop_task *task)
{
    struct work *work = CONTAINER_OF(task, struct work, task);
    work->finished(work);
}

static struct work *take(struct work_queue *queue)
{
    HOLD_LOCK(&queue->lock);
    while (!queue->first && !queue->ends)
        pthread_cond_wait(&queue->more, &queue->lock);
    struct work *work = queue->first;
    if (work) {
        queue->first = work->next;
        if (!queue->first)
            queue->last = &queue->first;
    }
    return work;
}

static void *serve(void *arg)
{
    struct work_queue *queue = arg;
    for (struct work *work = take(queue); work; work = take(queue)) {
        work->run(work);
        work->task.run = bring_back;
        loop_post(queue->loop, &work->task);
    }
    return NULL;
}

int work_queue_new(struct loop *loop, const char *name, struct work_queue **out, struct err *err)
{
    struct work_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        return err_set(err, ENOMEM, "no memory for the %s thread", name);
    queue->loop = loop;
    queue->last = &queue->first;
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->more, NULL);

    sigset_t all, old; /* signals are for the program's main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&queue->thread, NULL, serve, queue);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        pthread_cond_destroy(&queue->more);
        pthread_mutex_destroy(&queue->lock);
        free(queue);
        return err_sys(err, rc, "cannot start the %s thread", name);
    }
    pthread_setname_np(queue->thread, name);
    *out = queue;
    return 0;
}

void work_queue_free(struct work_queue *queue)
{
    if (!queue)
        return;
    pthread_mutex_lock(&queue->lock);
    queue->ends = true;
    pthread_cond_signal(&queue->more);
    pthread_mutex_unlock(&queue->lock);
    pthread_join(queue->thread, NULL);
    pthread_cond_destroy(&queue->more);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

void work_submit(struct work_queue *queue, struct work *work)
{
    HOLD_LOCK(&queue->lock);
    work->next = NULL;
    *queue->last = work;
    queue->last = &work->next;
    pthread_cond_signal(&queue->more);
}
