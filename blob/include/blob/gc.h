/*
 * Collection of what no image needs any more. One runs at a time, beside puts, gets and captures:
 *
 *   1. at its beginning, and while no image is being committed (blob_store_commit_begin), the roots are
 * listed; from there on every id that is put or touched is remembered, and stays;
 *   2. the chunks of the roots are marked, and each pack is asked how much of it is garbage;
 *   3. packs that are nothing but garbage are removed, then others emptied one after the other: what lives is
 *      copied into the pack that takes records, synced, and only then the old pack is removed.
 *
 * A kill at any moment loses nothing; what lies in two packs then is garbage for the next one.
 */
#ifndef BLOB_GC_H
#define BLOB_GC_H

#include "blob/store.h"

/* Takes a root: an object's id. What it returns below 0 ends the listing. */
typedef int (*blob_gc_root)(void *arg, const struct blob_id *object);

/* Who knows objects that must stay: `list` calls `root` for each of them, in any order, twice or more for the
 * same if it likes, and returns what `root` returned below 0. It must not put, nor commit. */
struct blob_gc_roots {
    int (*list)(void *cookie, blob_gc_root root, void *arg, struct err *err);
    void *cookie;
};

struct blob_gc_options {
    /* Nothing is removed where there is less garbage than this, or less than one byte in so many. 0: any. */
    uint64_t least_bytes, least_part;
    const bool
        *cancelled; /* read atomically, may be NULL: -ECANCELED soon after, and what was begun is whole */
};

struct blob_gc_result {
    bool collected;         /* false: there was too little */
    uint64_t garbage_bytes; /* of packs, before */
    uint64_t removed_chunks, kept_chunks;
    uint64_t freed_bytes; /* of packs, less what was copied */
    uint64_t moved_bytes;
    uint64_t packs_removed;
    bool root_failed; /* this one could not be read */
    struct blob_id failed_root;
};

/*
 * -EEXIST: one is under way. -ECANCELED. -ENOSPC: what could be removed without room was. An object of the
 * roots that cannot be read ends it (-EIO, -ENOENT) before anything is removed. `out` is what was done, also
 * on failure. Blocks as long as it takes.
 */
int blob_store_gc(struct blob_store *store, const struct blob_gc_roots *roots, size_t count,
                  const struct blob_gc_options *options, struct blob_gc_result *out,
                  struct err *err) MUST_CHECK;

#endif
