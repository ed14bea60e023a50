#include "lingering.h"

#include <fcntl.h>
#include <pthread.h>
#include <time.h>

#include "base/log.h"
#include "base/thread.h"

enum { SOON_MS = 2, LATEST_MS = 500 };

struct lingering {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct lingers *first;
    void (*settled)(void *arg, struct lingers *file);
    void *arg;
    pthread_t looker;
    bool looks; /* the thread was made */
    bool stop;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t lingering_next_ms(int64_t since_ms, int64_t now)
{
    int64_t wait_ms = (now - since_ms) / 2;
    if (wait_ms < SOON_MS)
        wait_ms = SOON_MS;
    return now + (wait_ms < LATEST_MS ? wait_ms : LATEST_MS);
}

bool lingering_is_over(int fd)
{
    if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
        return false;
    (void)fcntl(fd, F_SETLEASE, F_UNLCK);
    return true;
}

int lingering_new(void (*settled)(void *arg, struct lingers *file), void *arg, struct lingering **out)
{
    struct lingering *lingering = calloc(1, sizeof(*lingering));
    pthread_condattr_t attr;
    if (!lingering)
        return -ENOMEM;
    lingering->settled = settled;
    lingering->arg = arg;
    pthread_mutex_init(&lingering->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lingering->changed, &attr);
    pthread_condattr_destroy(&attr);
    *out = lingering;
    return 0;
}

/* Under the lock: takes those off that are over, as a list; says when to look again. */
static struct lingers *take_over(struct lingering *lingering, int64_t now, int64_t *next_ms)
{
    struct lingers *over = NULL;
    struct lingers **at = &lingering->first;
    *next_ms = now + LATEST_MS;
    while (*at) {
        struct lingers *file = *at;
        if (file->next_ms <= now && lingering_is_over(file->fd)) {
            *at = file->next;
            file->next = over;
            over = file;
            continue;
        }
        if (file->next_ms <= now)
            file->next_ms = lingering_next_ms(file->since_ms, now);
        if (file->next_ms < *next_ms)
            *next_ms = file->next_ms;
        at = &file->next;
    }
    return over;
}

static void settle_all(struct lingering *lingering, struct lingers *list)
{
    while (list) {
        struct lingers *file = list;
        list = file->next;
        lingering->settled(lingering->arg, file);
    }
}

static void *look(void *arg)
{
    struct lingering *lingering = arg;
    pthread_mutex_lock(&lingering->lock);
    while (!lingering->stop) {
        if (!lingering->first) {
            pthread_cond_wait(&lingering->changed, &lingering->lock);
            continue;
        }
        int64_t next_ms;
        struct lingers *over = take_over(lingering, now_ms(), &next_ms);
        if (over) {
            pthread_mutex_unlock(&lingering->lock);
            settle_all(lingering, over);
            pthread_mutex_lock(&lingering->lock);
            continue;
        }
        const struct timespec until = {.tv_sec = next_ms / 1000, .tv_nsec = next_ms % 1000 * 1000000};
        pthread_cond_timedwait(&lingering->changed, &lingering->lock, &until);
    }
    pthread_mutex_unlock(&lingering->lock);
    return NULL;
}

void lingering_add(struct lingering *lingering, struct lingers *file)
{
    if (lingering_is_over(file->fd)) {
        lingering->settled(lingering->arg, file);
        return;
    }
    HOLD_LOCK(&lingering->lock);
    file->since_ms = now_ms();
    file->next_ms = lingering_next_ms(file->since_ms, file->since_ms);
    file->next = lingering->first;
    lingering->first = file;
    /* Most mounts never need it. */
    if (!lingering->looks) {
        int r = thread_start(&lingering->looker, look, lingering);
        lingering->looks = r == 0;
        if (r < 0)
            log_warn("files that were mapped stay open for writing: no thread to watch them (errno %d)", -r);
    }
    pthread_cond_signal(&lingering->changed);
}

void lingering_free(struct lingering *lingering)
{
    if (!lingering)
        return;
    pthread_mutex_lock(&lingering->lock);
    lingering->stop = true;
    pthread_cond_broadcast(&lingering->changed);
    pthread_mutex_unlock(&lingering->lock);
    if (lingering->looks)
        pthread_join(lingering->looker, NULL);
    settle_all(lingering, lingering->first);
    pthread_cond_destroy(&lingering->changed);
    pthread_mutex_destroy(&lingering->lock);
    free(lingering);
}
