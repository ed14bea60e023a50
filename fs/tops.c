#include "tops.h"

struct tops {
    pthread_mutex_t lock;
    struct engine *engine;
    struct top *first;
};

int tops_new(struct engine *engine, struct tops **out)
{
    struct tops *tops = calloc(1, sizeof(*tops));
    if (!tops)
        return -ENOMEM;
    pthread_mutex_init(&tops->lock, NULL);
    tops->engine = engine;
    *out = tops;
    return 0;
}

void tops_free(struct tops *tops)
{
    if (!tops)
        return;
    pthread_mutex_destroy(&tops->lock);
    free(tops);
}

static struct top *find(const struct tops *tops, uint64_t inode)
{
    struct top *top = tops->first;
    while (top && top->inode != inode)
        top = top->next;
    return top;
}

struct top *top_get(struct tops *tops, const char *name, uint64_t inode)
{
    {
        HOLD_LOCK(&tops->lock);
        struct top *known = find(tops, inode);
        if (known) {
            known->users++;
            return known;
        }
    }
    struct top *fresh = calloc(1, sizeof(*fresh));
    if (!fresh)
        return NULL;
    /* Outside the lock: it may wait for the catalog. */
    fresh->source = engine_source_get(tops->engine, name, inode);
    if (!fresh->source) {
        free(fresh);
        return NULL;
    }
    fresh->inode = inode;
    fresh->tops = tops;
    fresh->users = 1;
    pthread_mutex_lock(&tops->lock);
    struct top *known = find(tops, inode);
    if (known) { /* somebody was faster */
        known->users++;
    } else {
        fresh->next = tops->first;
        tops->first = fresh;
    }
    pthread_mutex_unlock(&tops->lock);
    if (!known)
        return fresh;
    engine_source_put(fresh->source);
    free(fresh);
    return known;
}

void top_removed(struct top *top)
{
    engine_source_removed(top->source);
    HOLD_LOCK(&top->tops->lock);
    top->inode = 0;
}

struct top *top_ref(struct top *top)
{
    HOLD_LOCK(&top->tops->lock);
    top->users++;
    return top;
}

void top_put(struct top *top)
{
    struct tops *tops = top->tops;
    {
        HOLD_LOCK(&tops->lock);
        if (--top->users > 0)
            return;
        struct top **at = &tops->first;
        while (*at != top)
            at = &(*at)->next;
        *at = top->next;
    }
    engine_source_put(top->source);
    free(top);
}
