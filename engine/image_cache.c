#include "image_cache.h"

struct cached {
    struct shared_image shared; /* first: what users hold points here */
    struct cached *next;        /* the last used one first */
    struct blob_id content;
    size_t bytes;
    unsigned users;
    bool loading; /* by one of the users */
    bool failed;  /* unlinked: goes with its last user */
    struct err err;
};

struct image_cache {
    pthread_mutex_t lock;
    pthread_cond_t loaded;
    struct blob_store *store;
    struct cached *first;
    size_t idle_bytes, idle_max_bytes;
};

int image_cache_new(struct blob_store *store, size_t idle_bytes, struct image_cache **out)
{
    struct image_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return -ENOMEM;
    pthread_mutex_init(&cache->lock, NULL);
    pthread_cond_init(&cache->loaded, NULL);
    cache->store = store;
    cache->idle_max_bytes = idle_bytes;
    *out = cache;
    return 0;
}

static void cached_free(struct cached *c)
{
    blob_image_free(c->shared.image);
    free(c);
}

void image_cache_free(struct image_cache *cache)
{
    if (!cache)
        return;
    while (cache->first) {
        struct cached *c = cache->first;
        cache->first = c->next;
        cached_free(c);
    }
    pthread_cond_destroy(&cache->loaded);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

static void unlink_cached(struct image_cache *cache, struct cached *c)
{
    for (struct cached **at = &cache->first; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            return;
        }
}

static void link_first(struct image_cache *cache, struct cached *c)
{
    c->next = cache->first;
    cache->first = c;
}

/* Idle ones beyond the limit, the longest unused first. */
static void shrink(struct image_cache *cache)
{
    while (cache->idle_bytes > cache->idle_max_bytes) {
        struct cached *last = NULL;
        for (struct cached *c = cache->first; c; c = c->next)
            if (c->users == 0)
                last = c;
        if (!last)
            return;
        unlink_cached(cache, last);
        cache->idle_bytes -= last->bytes;
        cached_free(last);
    }
}

static int load(struct blob_store *store, const struct blob_id *content, struct blob_image **out,
                struct err *err)
{
    OWNED_BUF struct buf bytes = BUF_EMPTY;
    int r = blob_object_load(store, content, BLOB_IMAGE_MAX_BYTES, &bytes, err);
    return r < 0 ? r : blob_image_parse(&bytes, out, err);
}

/* Under the lock. */
static void drop_user(struct image_cache *cache, struct cached *c)
{
    if (--c->users > 0)
        return;
    if (c->failed) {
        cached_free(c);
        return;
    }
    unlink_cached(cache, c);
    link_first(cache, c);
    cache->idle_bytes += c->bytes;
    shrink(cache);
}

/* The caller has added itself as a user. */
static int load_into(struct image_cache *cache, struct cached *c)
{
    struct blob_image *image = NULL;
    struct err err = {0};
    int r = load(cache->store, &c->content, &image, &err);
    HOLD_LOCK(&cache->lock);
    c->loading = false;
    if (r < 0) {
        c->failed = true;
        c->err = err;
        c->err.code = -r;
        unlink_cached(cache, c);
    } else {
        const uint8_t *bytes = NULL;
        c->shared.image = image;
        c->bytes = blob_image_bytes(image, &bytes);
    }
    pthread_cond_broadcast(&cache->loaded);
    return r;
}

static struct cached *find_or_add(struct image_cache *cache, uint64_t number, const struct blob_id *content,
                                  bool *mine)
{
    for (struct cached *c = cache->first; c; c = c->next)
        if (c->shared.number == number) {
            if (c->users++ == 0)
                cache->idle_bytes -= c->bytes;
            return c;
        }
    struct cached *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->shared.number = number;
    c->content = *content;
    c->users = 1;
    c->loading = true;
    link_first(cache, c);
    *mine = true;
    return c;
}

int image_cache_use(struct image_cache *cache, uint64_t number, const struct blob_id *content,
                    struct image_use *out, struct err *err)
{
    HOLD_LOCK(&cache->lock);
    *out = (struct image_use){.mine = false};
    out->cached = find_or_add(cache, number, content, &out->mine);
    return out->cached ? 0 : err_set(err, ENOMEM, "image %llu: no memory", (unsigned long long)number);
}

int image_cache_load(struct image_cache *cache, const struct image_use *use, struct shared_image **out,
                     struct err *err)
{
    struct cached *c = use->cached;
    if (use->mine && load_into(cache, c) == 0) {
        *out = &c->shared;
        return 0;
    }
    HOLD_LOCK(&cache->lock);
    while (!use->mine && c->loading)
        pthread_cond_wait(&cache->loaded, &cache->lock);
    if (!c->failed) {
        *out = &c->shared;
        return 0;
    }
    int r = err_set(err, c->err.code, "image %llu: %s", (unsigned long long)c->shared.number, c->err.message);
    drop_user(cache, c);
    return r;
}

int image_cache_roots(struct image_cache *cache, blob_gc_root root, void *arg)
{
    HOLD_LOCK(&cache->lock);
    int r = 0;
    for (const struct cached *c = cache->first; c && r >= 0; c = c->next)
        if (c->users > 0)
            r = root(arg, &c->content);
    return r < 0 ? r : 0;
}

void image_cache_put(struct image_cache *cache, struct shared_image *image)
{
    if (!image)
        return;
    HOLD_LOCK(&cache->lock);
    drop_user(cache, (struct cached *)(void *)image);
}
