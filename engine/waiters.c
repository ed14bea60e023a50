#include "fleet_parts.h"

void waiters_answer(struct waiter **waiters, int result, const char *line)
{
    struct waiter *waiter = STEAL(*waiters);
    while (waiter) {
        struct waiter *next = waiter->next;
        waiter->done(waiter->arg, result, line);
        free(waiter);
        waiter = next;
    }
}

bool waiters_have(const struct waiter *waiters, uint64_t request)
{
    while (waiters && waiters->request != request)
        waiters = waiters->next;
    return waiters != NULL;
}

bool waiters_cancel(struct waiter **waiters, uint64_t request)
{
    for (struct waiter **at = waiters; *at; at = &(*at)->next) {
        struct waiter *waiter = *at;
        if (waiter->request != request)
            continue;
        *at = waiter->next;
        waiter->done(waiter->arg, -EINTR, "");
        free(waiter);
        return true;
    }
    return false;
}

int answer_code(int code)
{
    switch (code) {
    case ECANCELED:
        return EINTR;
    case 0:
    case EINVAL:
    case ENOENT:
    case ENXIO:
    case EEXIST:
    case ETXTBSY:
    case EINTR:
    case ENOSPC:
    case EDQUOT:
    case EROFS:
    case EACCES:
    case EPERM:
        return code;
    default:
        return EIO;
    }
}
