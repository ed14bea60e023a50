#include "cursors.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct cursors {
    pthread_mutex_t lock;
    struct cursor *newest;
    size_t count, max;
};

int cursors_new(size_t max, struct cursors **out)
{
    struct cursors *cursors = calloc(1, sizeof(*cursors));
    if (!cursors)
        return -ENOMEM;
    pthread_mutex_init(&cursors->lock, NULL);
    cursors->max = max;
    *out = cursors;
    return 0;
}

void cursor_free(struct cursor *cursor)
{
    if (!cursor)
        return;
    close(cursor->fd);
    free(cursor);
}

void cursors_free(struct cursors *cursors)
{
    if (!cursors)
        return;
    while (cursors->newest) {
        struct cursor *cursor = cursors->newest;
        cursors->newest = cursor->older;
        cursor_free(cursor);
    }
    pthread_mutex_destroy(&cursors->lock);
    free(cursors);
}

int cursor_new(int fd, uint64_t inode, struct cursor **out)
{
    OWNED_FD mine = fd;
    struct cursor *cursor = malloc(sizeof(*cursor) + CURSOR_BUFFER_BYTES);
    if (!cursor)
        return -ENOMEM;
    *cursor = (struct cursor){.inode = inode, .fd = steal_fd(&mine)};
    *out = cursor;
    return 0;
}

struct cursor *cursor_take(struct cursors *cursors, uint64_t inode, off_t off)
{
    HOLD_LOCK(&cursors->lock);
    for (struct cursor **at = &cursors->newest; *at; at = &(*at)->older)
        if ((*at)->inode == inode && (*at)->next == off) {
            struct cursor *cursor = *at;
            *at = cursor->older;
            cursors->count--;
            return cursor;
        }
    return NULL;
}

/* Under the lock. */
static struct cursor *take_oldest(struct cursors *cursors)
{
    struct cursor **at = &cursors->newest;
    while ((*at)->older)
        at = &(*at)->older;
    struct cursor *cursor = *at;
    *at = NULL;
    cursors->count--;
    return cursor;
}

void cursor_keep(struct cursors *cursors, struct cursor *cursor)
{
    OWNED_CURSOR struct cursor *too_many = NULL;
    HOLD_LOCK(&cursors->lock);
    cursor->older = cursors->newest;
    cursors->newest = cursor;
    if (++cursors->count > cursors->max)
        too_many = take_oldest(cursors); /* NOLINT(*-deadcode.DeadStores): freed by its cleanup */
}

void cursors_drop(struct cursors *cursors, uint64_t inode)
{
    struct cursor *dropped = NULL;
    {
        HOLD_LOCK(&cursors->lock);
        for (struct cursor **at = &cursors->newest; *at;) {
            struct cursor *cursor = *at;
            if (cursor->inode != inode) {
                at = &cursor->older;
                continue;
            }
            *at = cursor->older;
            cursors->count--;
            cursor->older = dropped;
            dropped = cursor;
        }
    }
    while (dropped) {
        struct cursor *cursor = dropped;
        dropped = cursor->older;
        cursor_free(cursor);
    }
}
