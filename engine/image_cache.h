/* Parsed images by number, shared and counted; some that nobody uses stay for the next one. Any thread. */
#ifndef ENGINE_IMAGE_CACHE_H
#define ENGINE_IMAGE_CACHE_H

#include "runnings.h"

struct image_cache;

/* Keeps unused images of `idle_bytes` together, the last used ones. */
int image_cache_new(struct blob_store *store, size_t idle_bytes, struct image_cache **out) MUST_CHECK;
/* Every image was given back. */
void image_cache_free(struct image_cache *cache);

/* Image `number`, whose object is `content`. One thread loads it, others that want it meanwhile wait. */
int image_cache_get(struct image_cache *cache, uint64_t number, const struct blob_id *content,
                    struct shared_image **out, struct err *err) MUST_CHECK;
void image_cache_put(struct image_cache *cache, struct shared_image *image);

#endif
