/*
 * Expanded chunks, the least recently used leaving first. A chunk that several threads want at once is read
 * once: the others wait for the first. Copies are made outside the lock, of entries that their users hold.
 */
#include <pthread.h>
#include <string.h>

#include "blob/store.h"

#define BUCKETS_MIN 64
#define ENTRY_BYTES (16u << 10) /* rather too few: most files are smaller than the shortest cut */

enum entry_state { LOADING, READY, FAILED };

struct entry {
    struct blob_id id;
    enum entry_state state;
    int error; /* of FAILED */
    struct err why;
    unsigned users;
    bool listed; /* in a bucket; else its last user frees it */
    uint32_t raw_bytes;
    struct entry *bucket_next;
    struct entry *newer, *older;
    uint8_t raw[];
};

struct blob_cache {
    struct blob_store *store;
    size_t max_bytes;
    size_t used_bytes;
    pthread_mutex_t lock;
    pthread_cond_t loaded;
    struct entry *newest, *oldest;
    size_t bucket_count; /* a power of two */
    struct entry *buckets[];
};

int blob_cache_new(struct blob_store *store, size_t max_bytes, struct blob_cache **out)
{
    size_t buckets = BUCKETS_MIN;
    while (buckets < max_bytes / ENTRY_BYTES && buckets < (size_t)1 << 20)
        buckets *= 2;
    struct blob_cache *cache = calloc(1, sizeof(*cache) + buckets * sizeof(struct entry *));
    if (!cache)
        return -ENOMEM;
    cache->store = store;
    cache->max_bytes = max_bytes;
    cache->bucket_count = buckets;
    pthread_mutex_init(&cache->lock, NULL);
    pthread_cond_init(&cache->loaded, NULL);
    *out = cache;
    return 0;
}

void blob_cache_free(struct blob_cache *cache)
{
    if (!cache)
        return;
    while (cache->oldest) {
        struct entry *e = cache->oldest;
        cache->oldest = e->newer;
        free(e);
    }
    pthread_mutex_destroy(&cache->lock);
    pthread_cond_destroy(&cache->loaded);
    free(cache);
}

static struct entry **bucket_of(struct blob_cache *cache, const struct blob_id *id)
{
    return &cache->buckets[le64_at(id->bytes) & (cache->bucket_count - 1)];
}

static void unlink_order(struct blob_cache *cache, struct entry *e)
{
    *(e->newer ? &e->newer->older : &cache->newest) = e->older;
    *(e->older ? &e->older->newer : &cache->oldest) = e->newer;
    e->newer = NULL;
    e->older = NULL;
}

static void link_newest(struct blob_cache *cache, struct entry *e)
{
    e->older = cache->newest;
    *(e->older ? &e->older->newer : &cache->oldest) = e;
    cache->newest = e;
}

/* Takes an entry out; it is freed now or by its last user. */
static void drop(struct blob_cache *cache, struct entry *e)
{
    struct entry **at = bucket_of(cache, &e->id);
    while (*at != e)
        at = &(*at)->bucket_next;
    *at = e->bucket_next;
    unlink_order(cache, e);
    cache->used_bytes -= sizeof(*e) + e->raw_bytes;
    e->listed = false;
    if (e->users == 0)
        free(e);
}

/* Makes room among what nobody is using. */
static void shrink(struct blob_cache *cache, size_t needed)
{
    for (struct entry *e = cache->oldest; e && cache->used_bytes + needed > cache->max_bytes;) {
        struct entry *newer = e->newer;
        if (e->users == 0)
            drop(cache, e);
        e = newer;
    }
}

static void let_go(struct blob_cache *cache, struct entry *e)
{
    HOLD_LOCK(&cache->lock);
    if (--e->users == 0 && !e->listed)
        free(e);
}

/* The entry of a chunk, held for the caller; `*load`: it is the caller who must fill it. NULL: no memory. */
static struct entry *hold(struct blob_cache *cache, const struct blob_id *id, uint32_t raw_bytes, bool *load)
{
    HOLD_LOCK(&cache->lock);
    *load = false;
    for (struct entry *e = *bucket_of(cache, id); e; e = e->bucket_next) {
        if (blob_id_compare(&e->id, id) != 0 || e->raw_bytes != raw_bytes)
            continue;
        e->users++;
        unlink_order(cache, e);
        link_newest(cache, e);
        while (e->state == LOADING)
            pthread_cond_wait(&cache->loaded, &cache->lock);
        return e;
    }
    size_t needed = sizeof(struct entry) + raw_bytes;
    shrink(cache, needed);
    struct entry *e = malloc(needed);
    if (!e)
        return NULL;
    *e = (struct entry){.id = *id, .state = LOADING, .users = 1, .listed = true, .raw_bytes = raw_bytes};
    struct entry **bucket = bucket_of(cache, id);
    e->bucket_next = *bucket;
    *bucket = e;
    link_newest(cache, e);
    cache->used_bytes += needed;
    *load = true;
    return e;
}

/* Fills the entry, and wakes who waits for it. What failed is not kept, nor is what is over the bound. */
static void fill(struct blob_cache *cache, struct entry *e)
{
    int r = blob_store_get(cache->store, &e->id, e->raw, e->raw_bytes, &e->why);
    HOLD_LOCK(&cache->lock);
    e->error = r;
    e->state = r < 0 ? FAILED : READY;
    if (r < 0 || cache->used_bytes > cache->max_bytes)
        drop(cache, e); /* not freed: the caller holds it */
    pthread_cond_broadcast(&cache->loaded);
}

int blob_cache_read(struct blob_cache *cache, const struct blob_id *id, uint32_t raw_bytes,
                    uint32_t offset_bytes, void *out, uint32_t len_bytes, struct err *err)
{
    if (raw_bytes == 0 || raw_bytes > BLOB_CHUNK_MAX_BYTES || offset_bytes > raw_bytes ||
        len_bytes > raw_bytes - offset_bytes)
        return err_set(err, EINVAL, "a read of a chunk goes past its end");
    bool load;
    struct entry *e = hold(cache, id, raw_bytes, &load);
    if (!e)
        return err_sys(err, ENOMEM, "a chunk cannot be read");
    if (load)
        fill(cache, e);
    int r = e->error;
    if (r == 0)
        memcpy(out, e->raw + offset_bytes, len_bytes);
    else if (err)
        *err = e->why;
    let_go(cache, e);
    return r;
}
