#include "memory_packs.h"

#include <string.h>

struct pack_grower {
    struct memory_packs *m;
    uint32_t number;
};

void memory_packs_init(struct memory_packs *m)
{
    memset(m, 0, sizeof(*m));
    pthread_mutex_init(&m->lock, NULL);
}

void memory_packs_free(struct memory_packs *m)
{
    for (unsigned i = 0; i < m->count; i++)
        buf_free(&m->packs[i].bytes);
    pthread_mutex_destroy(&m->lock);
}

static struct memory_pack *find(struct memory_packs *m, uint32_t number)
{
    for (unsigned i = 0; i < m->count; i++)
        if (m->packs[i].number == number)
            return &m->packs[i];
    return NULL;
}

static struct memory_pack *add(struct memory_packs *m, uint32_t number)
{
    if (m->count == MEMORY_PACKS_MAX)
        return NULL;
    unsigned at = m->count;
    while (at > 0 && m->packs[at - 1].number > number)
        at--;
    memmove(&m->packs[at + 1], &m->packs[at], (m->count - at) * sizeof(m->packs[0]));
    m->packs[at] = (struct memory_pack){.number = number, .bytes = BUF_EMPTY};
    m->count++;
    return &m->packs[at];
}

static void memory_close(void *packs)
{
    (void)packs;
}

static int memory_list(void *packs, uint32_t **numbers, size_t *count, struct err *err)
{
    struct memory_packs *m = packs;
    HOLD_LOCK(&m->lock);
    *numbers = calloc(m->count + 1, sizeof(**numbers));
    if (!*numbers)
        return err_sys(err, ENOMEM, "no memory");
    for (unsigned i = 0; i < m->count; i++)
        (*numbers)[i] = m->packs[i].number;
    *count = m->count;
    return 0;
}

static int64_t memory_size(void *packs, uint32_t number)
{
    struct memory_packs *m = packs;
    HOLD_LOCK(&m->lock);
    const struct memory_pack *p = find(m, number);
    return p ? (int64_t)p->bytes.len_bytes : -ENOENT;
}

static bool is_unreadable(const struct memory_packs *m, uint32_t number, uint64_t from, uint64_t to)
{
    for (unsigned i = 0; i < sizeof(m->spots) / sizeof(m->spots[0]); i++)
        if (m->spots[i].pack == number && from < m->spots[i].to && to > m->spots[i].from)
            return true;
    return false;
}

static ssize_t memory_read(void *packs, uint32_t number, void *out, size_t len_bytes, uint64_t offset)
{
    struct memory_packs *m = packs;
    HOLD_LOCK(&m->lock);
    const struct memory_pack *p = find(m, number);
    m->reads++;
    if (!p)
        return -ENOENT;
    size_t left = offset < p->bytes.len_bytes ? p->bytes.len_bytes - (size_t)offset : 0;
    size_t n = left < len_bytes ? left : len_bytes;
    if (is_unreadable(m, number, offset, offset + n))
        return -EIO;
    if (n > 0)
        memcpy(out, p->bytes.bytes + offset, n);
    return (ssize_t)n;
}

static int memory_remove(void *packs, uint32_t number)
{
    struct memory_packs *m = packs;
    HOLD_LOCK(&m->lock);
    struct memory_pack *p = find(m, number);
    if (!p)
        return -ENOENT;
    buf_free(&p->bytes);
    m->count--;
    memmove(p, p + 1, (size_t)(&m->packs[m->count] - p) * sizeof(*p));
    return 0;
}

static int memory_sync(void *packs)
{
    (void)packs;
    return 0;
}

static int memory_put(void *packs, uint32_t number, const void *bytes, size_t len_bytes)
{
    struct memory_packs *m = packs;
    HOLD_LOCK(&m->lock);
    struct memory_pack *p = find(m, number);
    if (p && p->sealed)
        return -EEXIST;
    if (m->full)
        return -ENOSPC;
    if (!p)
        p = add(m, number);
    if (!p)
        return -ENOSPC;
    buf_free(&p->bytes); /* what grew is of no use now */
    p->bytes = BUF_EMPTY;
    buf_put(&p->bytes, bytes, len_bytes);
    p->sealed = true;
    m->puts++;
    return p->bytes.error;
}

static int memory_grow(void *packs, uint32_t number, bool anew, struct pack_grower **out)
{
    struct memory_packs *m = packs;
    HOLD_LOCK(&m->lock);
    struct memory_pack *p = find(m, number);
    if (anew ? p != NULL : p == NULL)
        return anew ? -EEXIST : -ENOENT;
    if (!p)
        p = add(m, number);
    struct pack_grower *grower = p ? malloc(sizeof(*grower)) : NULL;
    if (!grower)
        return -ENOMEM;
    p->sealed = false; /* one whose footer was no good */
    *grower = (struct pack_grower){.m = m, .number = number};
    *out = grower;
    return 0;
}

static int memory_write(struct pack_grower *grower, const void *bytes, size_t len_bytes, uint64_t offset)
{
    HOLD_LOCK(&grower->m->lock);
    struct memory_pack *p = find(grower->m, grower->number);
    if (!p || p->sealed)
        return -EROFS; /* what is sealed never changes */
    if (grower->m->full)
        return -ENOSPC;
    uint8_t *room = offset + len_bytes > p->bytes.len_bytes
                        ? buf_room(&p->bytes, (size_t)offset + len_bytes - p->bytes.len_bytes)
                        : p->bytes.bytes;
    if (!room)
        return -ENOMEM;
    if (offset + len_bytes > p->bytes.len_bytes)
        buf_grew(&p->bytes, (size_t)offset + len_bytes - p->bytes.len_bytes);
    memcpy(p->bytes.bytes + offset, bytes, len_bytes);
    return 0;
}

static int memory_cut(struct pack_grower *grower, uint64_t at_bytes)
{
    HOLD_LOCK(&grower->m->lock);
    struct memory_pack *p = find(grower->m, grower->number);
    if (p && !p->sealed && at_bytes < p->bytes.len_bytes)
        p->bytes.len_bytes = (size_t)at_bytes;
    return 0;
}

static int memory_sync_records(struct pack_grower *grower)
{
    (void)grower;
    return 0;
}

static void memory_begin_sync(struct pack_grower *grower)
{
    (void)grower;
}

static void memory_close_grower(struct pack_grower *grower)
{
    free(grower);
}

struct pack_io memory_packs_io(struct memory_packs *m)
{
    static const struct pack_ops ops = {
        .close = memory_close,
        .list = memory_list,
        .size = memory_size,
        .read = memory_read,
        .remove = memory_remove,
        .sync = memory_sync,
        .put = memory_put,
        .grow = memory_grow,
        .write = memory_write,
        .cut = memory_cut,
        .sync_records = memory_sync_records,
        .begin_sync = memory_begin_sync,
        .close_grower = memory_close_grower,
    };
    return (struct pack_io){.ops = &ops, .packs = m};
}
