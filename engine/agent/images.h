/*
 * The images below the agent's directory: complete ones as pristine trees, and the one that is arriving.
 *
 *   DIR/images/<number>/image      the stripped image (blob/FORMAT.md), DIR/images/<number>/base: see below
 *   DIR/images/<number>/tree/      its files; nothing changes here once it is complete
 *   DIR/incoming/<number>/...      the same, unfinished, and `have`: which chunks are in place
 *   DIR/store                      the uuid of the store that the numbers belong to
 *
 * A tree may be whole, or a layer: only what differs from the tree of `base`, with overlayfs' whiteouts and
 * opaque directories, to be stacked above it. images_lowerdirs gives the stack.
 */
#ifndef AGENT_IMAGES_H
#define AGENT_IMAGES_H

#include "base/buf.h"
#include "base/err.h"
#include "base/loop.h"
#include "blob/image.h"

#define IMAGES_STACK_MAX 4

struct images;

/* `dirfd`: the agent's directory, borrowed. Removes what a crash left half done, but keeps DIR/incoming.
 * Blocks. */
int images_open(int dirfd, unsigned keep, struct images **out, struct err *err) MUST_CHECK;
void images_close(struct images *images);

bool images_has(const struct images *images, uint64_t number);
/* Numbers of complete images, and the one that is arriving (0 none). Returns their count; `out` is a view. */
size_t images_list(const struct images *images, const uint64_t **out, uint64_t *partial);

/* The parsed image of a complete one: borrowed until images_drop or _close. */
int images_get(struct images *images, uint64_t number, const struct blob_image **out,
               struct err *err) MUST_CHECK;

/* The overlay's lower directories, uppermost first, as paths relative to DIR ("images/7/tree"). Returns how
 * many. */
int images_lowerdirs(struct images *images, uint64_t number, char out[IMAGES_STACK_MAX][64]) MUST_CHECK;

/* In use by an instance (current or previous): never removed meanwhile, nor what it is stacked on. */
void images_hold(struct images *images, uint64_t number);
void images_release(struct images *images, uint64_t number);

/* Forgets and deletes an image, unless it is held: then later. Then trims to what --keep and the disk allow.
 */
void images_drop(struct images *images, uint64_t number);
void images_trim(struct images *images);

#endif
