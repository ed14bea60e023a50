/* The inside of a collection: gc.c its order, gc_mark.c what must stay, gc_sweep.c emptying packs. */
#ifndef BLOB_GC_PARTS_H
#define BLOB_GC_PARTS_H

#include "blob/gc.h"
#include "store_parts.h"

/* Where a test can stop it, or do something in between. */
enum gc_step {
    GC_BEGUN,   /* the roots are listed */
    GC_MARKED,  /* what must stay is known */
    GC_COPIED,  /* what lives in some packs was copied */
    GC_SYNCED,  /* and is on disk */
    GC_REMOVED, /* the packs are gone, their names perhaps not yet on disk */
};

struct gc_hook {
    int (*at)(void *arg, enum gc_step step); /* what it returns below 0 ends the collection there */
    void *arg;
};

/* What the survey found of a sealed pack. */
struct gc_pack {
    uint32_t number;
    uint32_t file_bytes;
    uint32_t live_bytes; /* records that must stay */
    uint32_t dead_bytes; /* the rest, but for header and footer */
};

struct gc {
    struct blob_store *store;
    const struct blob_gc_options *options;
    const struct gc_hook *hook; /* may be NULL */
    struct blob_id *roots;
    size_t root_count, root_room;
    struct id_set live;
    struct id_set given_up; /* records, by id and place */
    struct gc_pack *packs;
    size_t pack_count;
    struct blob_gc_result result;
};

int gc_at(const struct gc *gc, enum gc_step step) MUST_CHECK;
int gc_cancelled(const struct gc *gc, struct err *err) MUST_CHECK;

/* On a full disk the room that is kept makes them possible. */
int gc_sync(const struct gc *gc, struct err *err) MUST_CHECK;
int gc_next_pack(const struct gc *gc, struct err *err) MUST_CHECK;

/* gc_mark.c */
int gc_list_roots(struct gc *gc, const struct blob_gc_roots *roots, size_t count, struct err *err) MUST_CHECK;
int gc_mark(struct gc *gc, struct err *err) MUST_CHECK;

/* gc_survey.c: fills gc->packs, those to be emptied first in front, and counts the garbage. */
int gc_survey(struct gc *gc, struct err *err) MUST_CHECK;
/* Whether the record that a footer names must stay; under index_lock. */
bool gc_lives(const struct gc *gc, uint32_t pack, const struct pack_entry *entry);
/* This record, of a chunk that was set aside, is damaged as well: it need not stay. */
int gc_give_up(struct gc *gc, uint32_t pack, const struct pack_entry *entry) MUST_CHECK;
/* The footer of a sealed pack: 1; 0: it has none. */
int gc_read_footer(const struct gc *gc, uint32_t number, struct buf *out, struct pack_trailer *trailer,
                   uint32_t *file_bytes, struct err *err) MUST_CHECK;
/* Whether it is worth it to copy what lives. */
bool gc_is_worth_it(const struct gc_pack *pack);

/* gc_sweep.c */
int gc_sweep(struct gc *gc, struct err *err) MUST_CHECK;

/* gc.c: blob_store_gc with a hook. */
int store_gc(struct blob_store *store, const struct blob_gc_roots *roots, size_t count,
             const struct blob_gc_options *options, const struct gc_hook *hook, struct blob_gc_result *out,
             struct err *err) MUST_CHECK;

#endif
