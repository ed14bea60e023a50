/* A collection from its beginning to its end: blob/gc.h says in which order. */
#include "blob/gc.h"

#include <inttypes.h>

#include "base/log.h"
#include "gc_parts.h"

int gc_at(const struct gc *gc, enum gc_step step)
{
    return gc->hook ? gc->hook->at(gc->hook->arg, step) : 0;
}

int gc_cancelled(const struct gc *gc, struct err *err)
{
    const bool *cancelled = gc->options->cancelled;
    if (cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED))
        return err_set(err, ECANCELED, "the collection was cancelled");
    return 0;
}

int gc_sync(const struct gc *gc, struct err *err)
{
    int r;
    do {
        r = blob_store_sync(gc->store, err);
    } while (r == -ENOSPC && blob_store_give_room(gc->store));
    return r;
}

int gc_next_pack(const struct gc *gc, struct err *err)
{
    int r;
    do {
        r = store_next_pack(gc->store, err);
    } while (r == -ENOSPC && blob_store_give_room(gc->store));
    return r;
}

/* No image is being committed at this moment: it is either among the roots, or touches its chunks later. */
static int begin(struct gc *gc, const struct blob_gc_roots *roots, size_t count, struct err *err)
{
    int r = pthread_rwlock_wrlock(&gc->store->commit_lock);
    if (r != 0)
        return err_sys(err, r, "the collection cannot begin");
    store_record(gc->store, true);
    r = gc_list_roots(gc, roots, count, err);
    pthread_rwlock_unlock(&gc->store->commit_lock);
    return r;
}

static bool is_too_little(const struct gc *gc, uint64_t packs_bytes)
{
    const struct blob_gc_options *o = gc->options;
    return gc->result.garbage_bytes < o->least_bytes ||
           (o->least_part > 0 && gc->result.garbage_bytes < packs_bytes / o->least_part);
}

static uint64_t packs_bytes(const struct gc *gc)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < gc->pack_count; i++)
        sum += gc->packs[i].file_bytes;
    return sum;
}

static int collect(struct gc *gc, const struct blob_gc_roots *roots, size_t count, struct err *err)
{
    int r = begin(gc, roots, count, err);
    if (r == 0)
        r = gc_at(gc, GC_BEGUN);
    if (r == 0)
        r = gc_mark(gc, err);
    if (r == 0)
        r = gc_at(gc, GC_MARKED);
    if (r == 0)
        r = gc_survey(gc, err);
    if (r < 0 || is_too_little(gc, packs_bytes(gc)))
        return r;
    gc->result.collected = true;
    return gc_sweep(gc, err);
}

static bool take_turn(struct blob_store *store)
{
    HOLD_LOCK(&store->index_lock);
    bool mine = !store->collecting;
    store->collecting = true;
    return mine;
}

int store_gc(struct blob_store *store, const struct blob_gc_roots *roots, size_t count,
             const struct blob_gc_options *options, const struct gc_hook *hook, struct blob_gc_result *out,
             struct err *err)
{
    *out = (struct blob_gc_result){0};
    if (!take_turn(store))
        return err_set(err, EEXIST, "a collection is under way");
    struct gc gc = {.store = store, .options = options, .hook = hook};
    int r = collect(&gc, roots, count, err);
    store_record(store, false);
    store_reserve_take(store);
    struct blob_store_stats stats;
    blob_store_stats(store, &stats);
    gc.result.kept_chunks = stats.chunks;
    free(gc.roots);
    free(gc.packs);
    id_set_free(&gc.live);
    id_set_free(&gc.given_up);
    {
        HOLD_LOCK(&store->index_lock);
        store->collecting = false;
    }
    *out = gc.result;
    return r;
}

int blob_store_gc(struct blob_store *store, const struct blob_gc_roots *roots, size_t count,
                  const struct blob_gc_options *options, struct blob_gc_result *out, struct err *err)
{
    return store_gc(store, roots, count, options, NULL, out, err);
}
