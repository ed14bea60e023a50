/* Parsed images by number, shared and counted; some that nobody uses stay for the next one. Any thread. */
#ifndef ENGINE_IMAGE_CACHE_H
#define ENGINE_IMAGE_CACHE_H

#include "blob/gc.h"
#include "runnings.h"

struct image_cache;

/* Keeps unused images of `idle_bytes` together, the last used ones. */
int image_cache_new(struct blob_store *store, size_t idle_bytes, struct image_cache **out) MUST_CHECK;
/* Every image was given back. */
void image_cache_free(struct image_cache *cache);

/*
 * Image `number`, whose object is `content`, in two steps. From the first on it is in use; that one does not
 * block. The second loads it: one thread does, others that want it meanwhile wait. On failure it is given
 * back.
 */
struct image_use {
    struct cached *cached;
    bool mine;
};
int image_cache_use(struct image_cache *cache, uint64_t number, const struct blob_id *content,
                    struct image_use *out, struct err *err) MUST_CHECK;
int image_cache_load(struct image_cache *cache, const struct image_use *use, struct shared_image **out,
                     struct err *err) MUST_CHECK;
/* The objects of all that are in use: what `root` returns below 0 ends it, and is returned. */
int image_cache_roots(struct image_cache *cache, blob_gc_root root, void *arg) MUST_CHECK;
void image_cache_put(struct image_cache *cache, struct shared_image *image);

#endif
