#include "near.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

static const struct sched_param no_priority;

static void *try_it(void *arg)
{
    bool *possible = arg;
    *possible = sched_setscheduler(0, SCHED_IDLE, &no_priority) == 0 &&
                sched_setscheduler(0, SCHED_OTHER, &no_priority) == 0;
    return NULL;
}

bool near_is_possible(void)
{
    bool possible = false;
    pthread_t thread;
    if (pthread_create(&thread, NULL, try_it, &possible) != 0)
        return false;
    pthread_join(thread, NULL);
    return possible;
}

int near_processor_of(pid_t client)
{
    char path[32], text[512];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)client);
    OWNED_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    /* proc_pid_stat(5): the name, which may hold anything, is field 2, the processor is field 39. */
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < 39; field++) {
        at = strchr(at + 1, ' ');
    }
    if (!at)
        return -EBADMSG;
    return atoi(at + 1);
}

int near_go(pid_t thread, int processor)
{
    cpu_set_t one;
    if (processor < 0 || processor >= CPU_SETSIZE)
        return -EINVAL;
    CPU_ZERO(&one);
    CPU_SET((size_t)processor, &one);
    if (sched_setaffinity(thread, sizeof(one), &one) < 0)
        return -errno;
    return sched_setscheduler(thread, SCHED_IDLE, &no_priority) < 0 ? -errno : 0;
}

void near_keep_off(pid_t thread, int processor, const cpu_set_t *all)
{
    cpu_set_t others = *all;
    if (processor >= 0 && processor < CPU_SETSIZE)
        CPU_CLR((size_t)processor, &others);
    (void)!sched_setaffinity(thread, sizeof(others), &others);
}

void near_leave(pid_t thread, const cpu_set_t *all)
{
    if (sched_setscheduler(thread, SCHED_OTHER, &no_priority) < 0 ||
        sched_setaffinity(thread, sizeof(*all), all) < 0)
        log_warn("a thread that answers cannot be scheduled as before: %s", strerror(errno));
}
