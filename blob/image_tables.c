#include "image_tables.h"

#include <string.h>
#include <xxhash.h>

#include "image_format.h"

void *array_room(void *array, uint32_t count, uint32_t *cap, size_t each_bytes)
{
    if (count < *cap)
        return array;
    if (*cap > UINT32_MAX / 2)
        return NULL;
    uint32_t more = *cap ? *cap + *cap / 2 : 16;
    void *grown = reallocarray(array, more, each_bytes);
    if (grown)
        *cap = more;
    return grown;
}

/* Makes room for one more, at most half full; `hash_of` gives the hash of number i (from 0). */
static int hash_room(struct image_hash *h, uint32_t count, uint64_t (*hash_of)(const void *table, uint32_t i),
                     const void *table)
{
    if (h->slots && count < h->mask / 2)
        return 0;
    uint32_t size = h->slots ? (h->mask + 1) * 2 : 64;
    if (size == 0)
        return -ENOMEM;
    uint32_t *slots = calloc(size, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = hash_of(table, i) & (size - 1);
        while (slots[at])
            at = (at + 1) & (size - 1);
        slots[at] = i + 1;
    }
    free(h->slots);
    h->slots = slots;
    h->mask = size - 1;
    return 0;
}

static uint64_t chunk_hash(const struct blob_chunk *chunk)
{
    return XXH3_64bits(chunk->id.bytes, BLOB_ID_BYTES);
}

static uint64_t chunk_hash_at(const void *table, uint32_t i)
{
    return chunk_hash(&((const struct image_chunks *)table)->list[i]);
}

static bool same_chunk(const struct blob_chunk *a, const struct blob_chunk *b)
{
    return a->raw_bytes == b->raw_bytes && a->check == b->check &&
           memcmp(a->id.bytes, b->id.bytes, BLOB_ID_BYTES) == 0;
}

int64_t image_chunks_add(struct image_chunks *t, const struct blob_chunk *chunk)
{
    if (hash_room(&t->hash, t->count, chunk_hash_at, t) < 0)
        return -ENOMEM;
    uint64_t at = chunk_hash(chunk) & t->hash.mask;
    for (; t->hash.slots[at]; at = (at + 1) & t->hash.mask)
        if (same_chunk(&t->list[t->hash.slots[at] - 1], chunk))
            return t->hash.slots[at] - 1;

    struct blob_chunk *list = array_room(t->list, t->count, &t->cap, sizeof(*list));
    if (!list)
        return -ENOMEM;
    t->list = list;
    t->list[t->count++] = *chunk;
    t->hash.slots[at] = t->count;
    return t->count - 1;
}

void image_chunks_free(struct image_chunks *t)
{
    free(t->list);
    free(t->hash.slots);
    *t = (struct image_chunks){0};
}

static uint64_t set_hash_at(const void *table, uint32_t i)
{
    const struct image_sets *t = table;
    return XXH3_64bits(t->bytes.bytes + t->list[i].at, t->list[i].len_bytes);
}

static int by_name(const void *a, const void *b)
{
    const struct blob_xattr *x = a, *y = b;
    return image_name_compare(x->name, x->name_bytes, y->name, y->name_bytes);
}

/* The set's bytes behind those of the others; they become part of the table only when its length grows. */
static int put_set(struct image_sets *t, struct blob_xattr *xattrs, size_t count, size_t *len_bytes)
{
    qsort(xattrs, count, sizeof(*xattrs), by_name);
    size_t total = sizeof(uint32_t), list_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const struct blob_xattr *x = &xattrs[i];
        if (x->name_bytes == 0 || x->name_bytes > IMAGE_NAME_MAX_BYTES ||
            memchr(x->name, '\0', x->name_bytes) || x->value_bytes > IMAGE_XATTR_VALUE_MAX_BYTES)
            return -EINVAL;
        if (i > 0 && by_name(x - 1, x) == 0)
            return -EINVAL;
        list_bytes += x->name_bytes + 1u;
        total += XATTR_AT_NAME + (size_t)x->name_bytes + x->value_bytes;
    }
    if (list_bytes > IMAGE_XATTR_LIST_MAX_BYTES)
        return -EINVAL;
    if (t->bytes.len_bytes + total > BLOB_IMAGE_MAX_BYTES)
        return -EFBIG;
    uint8_t *p = buf_room(&t->bytes, total);
    if (!p)
        return -ENOMEM;
    le32_to(p, (uint32_t)count);
    p += sizeof(uint32_t);
    for (size_t i = 0; i < count; i++) {
        const struct blob_xattr *x = &xattrs[i];
        p[XATTR_AT_NAME_BYTES] = (uint8_t)x->name_bytes;
        le32_to(p + XATTR_AT_VALUE_BYTES, x->value_bytes);
        memcpy(p + XATTR_AT_NAME, x->name, x->name_bytes);
        if (x->value_bytes)
            memcpy(p + XATTR_AT_NAME + x->name_bytes, x->value, x->value_bytes);
        p += XATTR_AT_NAME + (size_t)x->name_bytes + x->value_bytes;
    }
    *len_bytes = total;
    return 0;
}

int64_t image_sets_add(struct image_sets *t, struct blob_xattr *xattrs, size_t count)
{
    if (count == 0)
        return 0;
    size_t len_bytes;
    int r = put_set(t, xattrs, count, &len_bytes);
    if (r < 0)
        return r;
    if (hash_room(&t->hash, t->count, set_hash_at, t) < 0)
        return -ENOMEM;
    const uint8_t *bytes = t->bytes.bytes + t->bytes.len_bytes;
    uint64_t at = XXH3_64bits(bytes, len_bytes) & t->hash.mask;
    for (; t->hash.slots[at]; at = (at + 1) & t->hash.mask) {
        const struct image_set *set = &t->list[t->hash.slots[at] - 1];
        if (set->len_bytes == len_bytes && memcmp(t->bytes.bytes + set->at, bytes, len_bytes) == 0)
            return t->hash.slots[at];
    }
    struct image_set *list = array_room(t->list, t->count, &t->cap, sizeof(*list));
    if (!list)
        return -ENOMEM;
    t->list = list;
    t->list[t->count++] =
        (struct image_set){.at = (uint32_t)t->bytes.len_bytes, .len_bytes = (uint32_t)len_bytes};
    buf_grew(&t->bytes, len_bytes);
    t->hash.slots[at] = t->count;
    return t->count;
}

void image_sets_free(struct image_sets *t)
{
    buf_free(&t->bytes);
    free(t->list);
    free(t->hash.slots);
    *t = (struct image_sets){0};
}
