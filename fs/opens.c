#include "opens.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct opens {
    pthread_mutex_t lock;
    struct opened *first;
};

int opens_new(struct opens **out)
{
    struct opens *opens = calloc(1, sizeof(*opens));
    if (!opens)
        return -ENOMEM;
    pthread_mutex_init(&opens->lock, NULL);
    *out = opens;
    return 0;
}

void opens_free(struct opens *opens)
{
    if (!opens)
        return;
    pthread_mutex_destroy(&opens->lock);
    free(opens);
}

void opens_add(struct opens *opens, struct opened *opened, void (*end)(struct fs *fs, struct opened *opened))
{
    HOLD_LOCK(&opens->lock);
    opened->end = end;
    opened->next = opens->first;
    opened->at = &opens->first;
    if (opened->next)
        opened->next->at = &opened->next;
    opens->first = opened;
}

void opens_remove(struct opens *opens, struct opened *opened)
{
    HOLD_LOCK(&opens->lock);
    if (!opened->at)
        return;
    *opened->at = opened->next;
    if (opened->next)
        opened->next->at = opened->at;
    opened->next = NULL;
    opened->at = NULL;
}

int opens_written(struct opens *opens, uint64_t **nodes, size_t *count)
{
    HOLD_LOCK(&opens->lock);
    size_t found = 0;
    for (const struct opened *o = opens->first; o; o = o->next)
        found += o->written != 0;
    uint64_t *list = calloc(found + 1, sizeof(*list));
    if (!list)
        return -ENOMEM;
    found = 0;
    for (const struct opened *o = opens->first; o; o = o->next)
        if (o->written)
            list[found++] = o->written;
    *nodes = list;
    *count = found;
    return 0;
}

static struct opened *first_of(struct opens *opens)
{
    HOLD_LOCK(&opens->lock);
    return opens->first;
}

void opens_end(struct opens *opens, struct fs *fs)
{
    struct opened *opened;
    while ((opened = first_of(opens))) {
        opens_remove(opens, opened);
        opened->end(fs, opened);
    }
}
