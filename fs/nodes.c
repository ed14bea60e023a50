#include "nodes.h"

#include <fcntl.h>
#include <string.h>

struct nodes {
    pthread_mutex_t lock;
    const struct backing *backing;
    struct node **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
    size_t open_max;
    size_t closable;
    struct node *newest, *oldest; /* open, unused, with a handle */
};

enum { BUCKETS_FIRST = 1024 };

int nodes_new(const struct backing *backing, size_t open_max, struct nodes **out)
{
    OWNED struct nodes *nodes = calloc(1, sizeof(*nodes));
    if (!nodes)
        return -ENOMEM;
    nodes->buckets = calloc(BUCKETS_FIRST, sizeof(struct node *));
    if (!nodes->buckets)
        return -ENOMEM;
    pthread_mutex_init(&nodes->lock, NULL);
    nodes->bucket_count = BUCKETS_FIRST;
    nodes->backing = backing;
    nodes->open_max = open_max;
    *out = STEAL(nodes);
    return 0;
}

static void node_free(struct node *node)
{
    if (node->fd >= 0)
        close(node->fd);
    if (node->top)
        top_put(node->top);
    free(node);
}

void nodes_free(struct nodes *nodes)
{
    if (!nodes)
        return;
    for (size_t i = 0; i < nodes->bucket_count; i++) {
        while (nodes->buckets[i]) {
            struct node *node = nodes->buckets[i];
            nodes->buckets[i] = node->next;
            node_free(node);
        }
    }
    pthread_mutex_destroy(&nodes->lock);
    free(nodes->buckets);
    free(nodes);
}

static size_t bucket_of(const struct nodes *nodes, uint64_t inode)
{
    return (size_t)(inode * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (nodes->bucket_count - 1);
}

static struct node *find(const struct nodes *nodes, uint64_t inode)
{
    struct node *node = nodes->buckets[bucket_of(nodes, inode)];
    while (node && node->inode != inode)
        node = node->next;
    return node;
}

/* Without memory the chains get longer, and that is all. */
static void grow(struct nodes *nodes)
{
    size_t old_count = nodes->bucket_count;
    struct node **old = nodes->buckets;
    struct node **buckets = calloc(old_count * 2, sizeof(struct node *));
    if (!buckets)
        return;
    nodes->buckets = buckets;
    nodes->bucket_count = old_count * 2;
    for (size_t i = 0; i < old_count; i++) {
        while (old[i]) {
            struct node *node = old[i];
            old[i] = node->next;
            size_t b = bucket_of(nodes, node->inode);
            node->next = buckets[b];
            buckets[b] = node;
        }
    }
    free(old);
}

static void take_off_list(struct nodes *nodes, struct node *node)
{
    if (!node->listed)
        return;
    *(node->newer ? &node->newer->older : &nodes->newest) = node->older;
    *(node->older ? &node->older->newer : &nodes->oldest) = node->newer;
    node->newer = node->older = NULL;
    node->listed = false;
    nodes->closable--;
}

/* Returns a descriptor to close, once the lock is given back, or -1. */
static int put_on_list(struct nodes *nodes, struct node *node)
{
    node->older = nodes->newest;
    if (nodes->newest)
        nodes->newest->newer = node;
    else
        nodes->oldest = node;
    nodes->newest = node;
    node->listed = true;
    if (++nodes->closable <= nodes->open_max)
        return -1;
    struct node *last = nodes->oldest;
    take_off_list(nodes, last);
    return steal_fd(&last->fd);
}

static void use(struct nodes *nodes, struct node *node)
{
    take_off_list(nodes, node);
    node->users++;
}

struct node *node_get(struct nodes *nodes, uint64_t inode)
{
    HOLD_LOCK(&nodes->lock);
    struct node *node = find(nodes, inode);
    if (node)
        use(nodes, node);
    return node;
}

struct node *node_named(struct nodes *nodes, int dir, const char *name, uint64_t inode)
{
    struct node *node;
    struct handle known, handle;
    {
        HOLD_LOCK(&nodes->lock);
        node = find(nodes, inode);
        if (!node)
            return NULL;
        use(nodes, node);
        if (node->fd >= 0) /* which keeps the number from being used again */
            return node;
        known = node->handle;
    }
    handle_at(nodes->backing, dir, name, &handle);
    if (handle.len_bytes && handle_equal(&known, &handle))
        return node;
    node_put(nodes, node);
    return NULL;
}

struct node *node_ref(struct nodes *nodes, struct node *node)
{
    HOLD_LOCK(&nodes->lock);
    node->users++;
    return node;
}

bool node_is_known(struct nodes *nodes, uint64_t inode)
{
    HOLD_LOCK(&nodes->lock);
    return find(nodes, inode) != NULL;
}

static void unchain(struct nodes *nodes, struct node *node)
{
    struct node **at = &nodes->buckets[bucket_of(nodes, node->inode)];
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    nodes->count--;
}

/* Frees it or makes it closable when nobody uses it; gives the lock back. */
static void settle(struct nodes *nodes, struct node *node)
{
    OWNED_FD to_close = -1;
    struct node *unneeded = NULL;
    if (node->users == 0) {
        take_off_list(nodes, node);
        if (node->lookups == 0) {
            unchain(nodes, node);
            unneeded = node;
        } else if (node->fd >= 0 && node->handle.len_bytes && !node->keep_open) {
            to_close = put_on_list(nodes, node); /* NOLINT(*-deadcode.DeadStores): closed by its cleanup */
        }
    }
    pthread_mutex_unlock(&nodes->lock);
    if (unneeded)
        node_free(unneeded);
}

void node_put(struct nodes *nodes, struct node *node)
{
    if (!node)
        return;
    pthread_mutex_lock(&nodes->lock);
    node->users--;
    settle(nodes, node);
}

int node_fd(struct nodes *nodes, struct node *node)
{
    struct handle handle;
    {
        HOLD_LOCK(&nodes->lock);
        if (node->fd >= 0)
            return node->fd;
        handle = node->handle;
    }
    OWNED_FD fd = backing_open_handle(nodes->backing, &handle, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return fd;
    HOLD_LOCK(&nodes->lock);
    if (node->fd < 0)
        node->fd = steal_fd(&fd);
    return node->fd;
}

/* The number was used again for another file while the kernel still counts look-ups of the old one. */
static void renew(struct node *node, int *fd, const struct handle *handle, struct top *top)
{
    if (handle_equal(&node->handle, handle))
        return;
    int old = node->fd;
    struct top *old_top = node->top;
    node->fd = *fd;
    *fd = old;
    node->handle = *handle;
    node->generation = handle_generation(handle);
    node->keep_open = false;
    node->top = top ? top_ref(top) : NULL;
    if (old_top)
        top_put(old_top);
}

int node_learn(struct nodes *nodes, int fd, uint64_t inode, struct top *top, struct node **out)
{
    OWNED_FD mine = fd;
    struct handle handle;
    handle_of(nodes->backing, mine, &handle);
    OWNED struct node *fresh = calloc(1, sizeof(*fresh));
    if (!fresh)
        return -ENOMEM;
    HOLD_LOCK(&nodes->lock);
    struct node *node = find(nodes, inode);
    if (node) {
        if (node->users > 0 && !handle_equal(&node->handle, &handle))
            return -ESTALE; /* the old file of that number is still being asked about: its descriptor must
                               stay */
        use(nodes, node);
        renew(node, &mine, &handle, top);
        *out = node;
        return 0;
    }
    if (nodes->count >= nodes->bucket_count)
        grow(nodes);
    node = STEAL(fresh);
    node->inode = inode;
    node->handle = handle;
    node->generation = handle_generation(&handle);
    node->fd = steal_fd(&mine);
    node->top = top ? top_ref(top) : NULL;
    node->users = 1;
    size_t b = bucket_of(nodes, inode);
    node->next = nodes->buckets[b];
    nodes->buckets[b] = node;
    nodes->count++;
    *out = node;
    return 0;
}

void node_looked_up(struct nodes *nodes, struct node *node)
{
    HOLD_LOCK(&nodes->lock);
    node->lookups++;
}

void node_forget(struct nodes *nodes, uint64_t inode, uint64_t count)
{
    pthread_mutex_lock(&nodes->lock);
    struct node *node = find(nodes, inode);
    if (!node) {
        pthread_mutex_unlock(&nodes->lock);
        return;
    }
    node->lookups = count < node->lookups ? node->lookups - count : 0;
    settle(nodes, node);
}

void node_keep_open(struct nodes *nodes, uint64_t inode)
{
    struct node *node = node_get(nodes, inode);
    if (!node)
        return;
    if (node_fd(nodes, node) >= 0) {
        HOLD_LOCK(&nodes->lock);
        node->keep_open = true;
    }
    node_put(nodes, node);
}
