#include "base/thread.h"

#include <sched.h>
#include <unistd.h>

int thread_start(pthread_t *out, void *(*run)(void *arg), void *arg)
{
    pthread_attr_t attr;
    cpu_set_t all;
    const struct sched_param no_priority = {0};
    int r = pthread_attr_init(&attr);
    if (r != 0)
        return -r;
    pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attr, SCHED_OTHER);
    pthread_attr_setschedparam(&attr, &no_priority);
    if (sched_getaffinity(getpid(), sizeof(all), &all) == 0)
        pthread_attr_setaffinity_np(&attr, sizeof(all), &all);
    r = pthread_create(out, &attr, run, arg);
    pthread_attr_destroy(&attr);
    return -r;
}
