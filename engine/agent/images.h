/*
 * The images below the agent's directory: complete ones as pristine trees, and the one that is arriving.
 *
 *   DIR/images/<number>/image      the stripped image (blob/FORMAT.md); its mtime: when it was last used
 *   DIR/images/<number>/base       of a layer: the number below it, in decimal, on the first line
 *   DIR/images/<number>/foreign    there when the number is one of a store that DIR/store no longer names
 *   DIR/images/<number>/tree/      its files; nothing changes here once it is complete
 *   DIR/incoming/<number>/...      the same, unfinished, and `have`: which chunks are in place
 *   DIR/store                      the uuid of the store that the numbers belong to, in hex
 *   DIR/trash/                     what is being deleted
 *
 * A tree may be whole, or a layer: only what differs from the tree of `base`, with overlayfs' whiteouts and
 * opaque directories, to be stacked above it. images_lowerdirs gives the stack; what an image stands on stays
 * as long as the image. What arrives is written as a layer where that saves copying (receive_layer.h); both
 * kinds are taken as they are found. `base` is written before the tree is begun, so that who goes on with an
 * interrupted arrival knows which it is.
 */
#ifndef AGENT_IMAGES_H
#define AGENT_IMAGES_H

#include "base/buf.h"
#include "base/err.h"
#include "base/loop.h"
#include "blob/image.h"

#define IMAGES_STACK_MAX 4
#define IMAGES_UUID_BYTES 16

struct images;

/* `dirfd`: the agent's directory, borrowed. Removes what a crash left half done, but keeps DIR/incoming.
 * Blocks. */
int images_open(int dirfd, unsigned keep, struct images **out, struct err *err) MUST_CHECK;
/* Waits for what is being deleted at the moment; the rest of the trash goes at the next start. */
void images_close(struct images *images);

/* Complete and of this store. Any thread. */
bool images_has(const struct images *images, uint64_t number);
/* Numbers of complete images, and the one that is arriving (0 none). Returns their count; `out` is a view
 * until the next call. One thread: the loop's. */
size_t images_list(const struct images *images, const uint64_t **out, uint64_t *partial);

/* The parsed image of a complete one: borrowed until images_drop or _close, by who has it pinned until
 * images_unpin. */
int images_get(struct images *images, uint64_t number, const struct blob_image **out,
               struct err *err) MUST_CHECK;
/* Who has parsed it already gives it away for that. */
void images_give_parsed(struct images *images, uint64_t number, struct blob_image *image);

/* The overlay's lower directories, uppermost first, as paths relative to DIR ("images/7/tree"). Returns how
 * many. */
int images_lowerdirs(struct images *images, uint64_t number, char out[IMAGES_STACK_MAX][64]) MUST_CHECK;

/* In use by an instance (current or previous): never removed meanwhile, nor what it is stacked on. */
void images_hold(struct images *images, uint64_t number);
void images_release(struct images *images, uint64_t number);
/* The same for who only reads it (a seed, a base): that is no use. */
void images_pin(struct images *images, uint64_t number);
void images_unpin(struct images *images, uint64_t number);

/* Forgets and deletes an image, unless it is held: then later. Then trims to what --keep and the disk allow.
 */
void images_drop(struct images *images, uint64_t number);
void images_trim(struct images *images);

/*
 * The store whose numbers come from now on. When it is another than DIR/store names, the images of the old
 * one are dropped; those that an instance holds stay, as foreign ones: they are nobody's seed and not listed.
 * Returns 1 when it was another, else 0 or -errno.
 */
int images_set_store(struct images *images, const uint8_t uuid[IMAGES_UUID_BYTES],
                     struct err *err) MUST_CHECK;
bool images_is_foreign(struct images *images, uint64_t number);

/* For who receives one; any thread, one arrival at a time. */

/* Opens (or makes) DIR/incoming/<number> and removes any other that is there. Returns its fd, the caller's.
 */
int images_arrive(struct images *images, uint64_t number, struct err *err) MUST_CHECK;
/* What has arrived is whole: syncs it and makes it an image. It is durable when this returns 0. Blocks. */
int images_complete(struct images *images, uint64_t number, struct err *err) MUST_CHECK;
/* Removes what has arrived so far. */
void images_abandon(struct images *images, uint64_t number);

/* Fds of an image's tree and of what that stands on, uppermost first, the caller's: returns how many. The
 * caller has the image pinned meanwhile. */
int images_open_trees(struct images *images, uint64_t number, int out[IMAGES_STACK_MAX],
                      struct err *err) MUST_CHECK;

/* Images that a layer may be put on so that the stack is no deeper than IMAGES_STACK_MAX - 1: those of this
 * store, last used first. Fills up to `max` numbers and returns how many. */
size_t images_bases(struct images *images, uint64_t *out, size_t max);

/* Drops images that nobody holds, oldest use first, while DIR has fewer than `need_bytes` free. Returns what
 * is free then; deleting is waited for. Blocks. */
uint64_t images_make_room(struct images *images, uint64_t need_bytes);

#endif
