/* The running snapshots of the catalog in memory, who uses them, and their images. Any thread. */
#ifndef ENGINE_RUNNINGS_H
#define ENGINE_RUNNINGS_H

#include "blob/gc.h"
#include "blob/image.h"
#include "blob/store.h"
#include "catalog.h"
#include "engine/engine.h"

struct runnings;

#define RUNNINGS_IMAGES_BYTES ((size_t)64 << 20) /* of images that nobody uses and that are kept parsed */

int runnings_new(struct blob_store *store, struct catalog *catalog, struct runnings **out,
                 struct err *err) MUST_CHECK;
void runnings_free(struct runnings *runnings);

/* 0 or -ENOENT. */
int runnings_get(struct runnings *runnings, uint32_t id, struct catalog_running *out) MUST_CHECK;
int runnings_find(struct runnings *runnings, const char *name, uint64_t n, uint32_t *id) MUST_CHECK;

/* While it is held (loaded or loading) it cannot be removed. -ENOENT: it is not there any more. */
int runnings_hold(struct runnings *runnings, uint32_t id) MUST_CHECK;
void runnings_release(struct runnings *runnings, uint32_t id);

/* A running snapshot that still exists with this image number (0: none does). */
uint32_t runnings_of_image(struct runnings *runnings, uint64_t image);

/* One whose image is that object. */
bool runnings_of_content(struct runnings *runnings, const struct blob_id *content,
                         struct catalog_running *out);

/*
 * The image of that number, parsed, from a small cache or the store: a counted reference for the caller.
 * Blocks on the disk. -ENOENT when no running snapshot has it.
 */
struct shared_image {
    struct blob_image *image; /* read only */
    uint64_t number;
};
int runnings_image_get(struct runnings *runnings, uint64_t image, struct shared_image **out,
                       struct err *err) MUST_CHECK;
void runnings_image_put(struct runnings *runnings, struct shared_image *image);

/*
 * After a capture: takes the row that catalog_running_add filled into the table (again: nothing happens).
 * -ENOENT: it was being removed, and now is (the caller adds it again). May block on that removal's disk.
 */
int runnings_added(struct runnings *runnings, const struct catalog_running *row) MUST_CHECK;

size_t runnings_count(struct runnings *runnings);
/* The same, and when the newest was made (0: there are none). */
size_t runnings_newest(struct runnings *runnings, int64_t *created_ns);
/* Those with an id above `after`, by id, up to `max`: their number. */
size_t runnings_list(struct runnings *runnings, uint32_t after, struct catalog_running *out,
                     size_t max) MUST_CHECK;

/* Those of a source with a number above `after`, by number. */
size_t runnings_of_name(struct runnings *runnings, const char *name, uint64_t after,
                        struct catalog_running *out, size_t max) MUST_CHECK;

/* A list of blob/gc.h, its cookie being the runnings: the images of all, and those that are in use. */
int runnings_roots(void *runnings, blob_gc_root root, void *arg, struct err *err) MUST_CHECK;

/* From the table and the catalog. -ENOENT; -ENOTEMPTY while it is held. Blocks on the disk. */
int runnings_remove(struct runnings *runnings, uint32_t id, struct err *err) MUST_CHECK;

#endif
