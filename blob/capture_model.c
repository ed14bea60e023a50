/*
 * The tree in memory: a node an inode, found by its number, and the names of each directory. Nodes are
 * numbered, not pointed to: the array moves as it grows.
 */
#include <string.h>

#include "capture_parts.h"

int capture_no_memory(struct err *err)
{
    return err_set(err, ENOMEM, "There is not enough memory to capture the tree; free some and try again.");
}

int capture_list_add(struct capture_list *l, uint32_t v)
{
    uint32_t *list = array_room(l->list, l->count, &l->cap, sizeof(*list));
    if (!list)
        return -ENOMEM;
    l->list = list;
    l->list[l->count++] = v;
    return 0;
}

int capture_pend(struct blob_capture *c, uint64_t key)
{
    uint64_t *list = array_room(c->pending, c->n_pending, &c->cap_pending, sizeof(*list));
    if (!list)
        return -ENOMEM;
    c->pending = list;
    c->pending[c->n_pending++] = key;
    return 0;
}

static uint64_t mix(uint64_t v)
{
    v = (v ^ (v >> 31)) * UINT64_C(0x9e3779b97f4a7c15);
    return v ^ (v >> 29);
}

static uint64_t dev_of(const struct statx *st)
{
    return (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor;
}

uint64_t capture_key(const struct blob_capture *c, const struct statx *st)
{
    uint64_t dev = dev_of(st);
    return dev == c->dev ? st->stx_ino : st->stx_ino ^ mix(dev + 1);
}

uint32_t capture_find(const struct blob_capture *c, uint64_t key)
{
    if (c->n_buckets == 0)
        return CAPTURE_NONE;
    uint32_t n = c->buckets[mix(key) & (c->n_buckets - 1)];
    while (n != CAPTURE_NONE && c->nodes[n].key != key)
        n = c->nodes[n].hash_next;
    return n;
}

static void hash_in(struct blob_capture *c, uint32_t node)
{
    uint32_t *bucket = &c->buckets[mix(c->nodes[node].key) & (c->n_buckets - 1)];
    c->nodes[node].hash_next = *bucket;
    *bucket = node;
}

static void hash_out(struct blob_capture *c, uint32_t node)
{
    uint32_t *at = &c->buckets[mix(c->nodes[node].key) & (c->n_buckets - 1)];
    while (*at != node)
        at = &c->nodes[*at].hash_next;
    *at = c->nodes[node].hash_next;
}

static int hash_room(struct blob_capture *c)
{
    if (c->n_live < c->n_buckets)
        return 0;
    uint32_t more = c->n_buckets ? c->n_buckets * 2 : 1024;
    uint32_t *buckets = more ? malloc(more * sizeof(*buckets)) : NULL;
    if (!buckets)
        return -ENOMEM;
    memset(buckets, 0xff, more * sizeof(*buckets));
    free(c->buckets);
    c->buckets = buckets;
    c->n_buckets = more;
    for (uint32_t n = 0; n < c->n_nodes; n++)
        if (c->nodes[n].live)
            hash_in(c, n);
    return 0;
}

int64_t capture_add(struct blob_capture *c, uint64_t key)
{
    if (hash_room(c) < 0)
        return -ENOMEM;
    uint32_t n = c->free_node;
    if (n != CAPTURE_NONE) {
        c->free_node = c->nodes[n].hash_next;
    } else {
        struct capture_node *nodes = array_room(c->nodes, c->n_nodes, &c->cap_nodes, sizeof(*nodes));
        if (!nodes)
            return -ENOMEM;
        c->nodes = nodes;
        n = c->n_nodes++;
    }
    c->nodes[n] = (struct capture_node){.key = key, .parent = CAPTURE_NONE, .slot = CAPTURE_NONE, .live = 1};
    hash_in(c, n);
    c->n_live++;
    return n;
}

const char *capture_entry_name(const struct capture_dir *dir, uint32_t slot)
{
    return (const char *)(dir->list + dir->count) + dir->list[slot].name_at;
}

const char *capture_name(const struct blob_capture *c, uint32_t node)
{
    const struct capture_node *n = &c->nodes[node];
    return capture_entry_name(c->nodes[n->parent].has.dir, n->slot);
}

/* A name of `child` went. */
static int unname(struct blob_capture *c, uint32_t child)
{
    if (--c->nodes[child].refs > 0)
        return 0;
    return capture_list_add(&c->orphans, child);
}

int capture_set_dir(struct blob_capture *c, uint32_t node, struct capture_dir *dir)
{
    struct capture_dir *old = c->nodes[node].has.dir;
    for (uint32_t i = 0; old && i < old->count; i++) {
        struct capture_node *child = &c->nodes[old->list[i].node];
        if (child->parent == node)
            child->parent = CAPTURE_NONE;
    }
    for (uint32_t i = 0; dir && i < dir->count; i++) {
        struct capture_node *child = &c->nodes[dir->list[i].node];
        child->refs++;
        child->parent = node; /* of several names, the one that was seen last */
        child->slot = i;
    }
    c->nodes[node].has.dir = dir;
    int r = 0;
    for (uint32_t i = 0; old && i < old->count; i++) {
        int failed = unname(c, old->list[i].node);
        r = r ? r : failed;
    }
    free(old);
    return r;
}

int capture_empty(struct blob_capture *c, uint32_t node)
{
    struct capture_node *n = &c->nodes[node];
    int r = 0;
    if (S_ISDIR(n->mode))
        r = capture_set_dir(c, node, NULL);
    else if (S_ISLNK(n->mode))
        free(n->has.target);
    else if (S_ISREG(n->mode) && !n->whole)
        free(n->has.extents);
    n->has.dir = NULL;
    n->whole = 0;
    n->count = 0;
    n->turn = ++c->turns; /* what is being read of it is of no use now */
    return r;
}

int capture_sweep(struct blob_capture *c)
{
    int r = 0;
    while (c->orphans.count > 0) {
        uint32_t n = c->orphans.list[--c->orphans.count];
        if (!c->nodes[n].live || c->nodes[n].refs > 0 || n == CAPTURE_ROOT)
            continue;
        int failed = capture_empty(c, n);
        r = r ? r : failed;
        hash_out(c, n);
        c->nodes[n].live = 0;
        c->nodes[n].hash_next = c->free_node;
        c->free_node = n;
        c->n_live--;
    }
    return r;
}

bool capture_find_name(struct blob_capture *c, uint32_t node)
{
    if (c->nodes[node].parent != CAPTURE_NONE)
        return true;
    if (c->nodes[node].refs == 0)
        return false;
    for (uint32_t n = 0; n < c->n_nodes; n++) {
        const struct capture_node *at = &c->nodes[n];
        if (!at->live || !S_ISDIR(at->mode) || !at->has.dir)
            continue;
        for (uint32_t i = 0; i < at->has.dir->count; i++) {
            if (at->has.dir->list[i].node == node) {
                c->nodes[node].parent = n;
                c->nodes[node].slot = i;
                return true;
            }
        }
    }
    return false;
}

/* Puts `name` and a slash before what is in out[*at...]; false when it does not fit. */
static bool put_before(char out[CAPTURE_PATH_BYTES], size_t *at, const char *name)
{
    size_t len = strlen(name);
    bool slash = out[*at] != '\0';
    if (len + slash + 4 > *at) {
        *at -= 4;
        memcpy(out + *at, ".../", 4);
        return false;
    }
    if (slash)
        out[--*at] = '/';
    *at -= len;
    memcpy(out + *at, name, len);
    return true;
}

void capture_path(const struct blob_capture *c, uint32_t node, const char *name, char out[CAPTURE_PATH_BYTES])
{
    size_t at = CAPTURE_PATH_BYTES - 1;
    out[at] = '\0';
    bool fits = !name || put_before(out, &at, name);
    while (fits && node != CAPTURE_ROOT && node != CAPTURE_NONE && c->nodes[node].parent != CAPTURE_NONE) {
        fits = put_before(out, &at, capture_name(c, node));
        node = c->nodes[node].parent;
    }
    if (out[at] == '\0')
        out[--at] = '.';
    memmove(out, out + at, CAPTURE_PATH_BYTES - at);
}

void capture_model_free(struct blob_capture *c)
{
    for (uint32_t n = 0; n < c->n_nodes; n++) {
        struct capture_node *node = &c->nodes[n];
        if (!node->live)
            continue;
        if (S_ISDIR(node->mode))
            free(node->has.dir);
        else if (S_ISLNK(node->mode))
            free(node->has.target);
        else if (S_ISREG(node->mode) && !node->whole)
            free(node->has.extents);
    }
    free(c->nodes);
    free(c->buckets);
    image_chunks_free(&c->chunks);
    image_sets_free(&c->sets);
    free(c->stack.list);
    free(c->orphans.list);
    free(c->chain.list);
    free(c->pending);
}
