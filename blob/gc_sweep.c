/*
 * Emptying packs and removing them, some at a time: what lives is copied, then everything is synced, then
 * what is dead leaves the index, and then the packs are removed. What somebody touches before it has left the
 * index is copied too, so a second look follows the sync, and a third if it found something.
 */
#include <inttypes.h>

#include "base/log.h"
#include "gc_parts.h"

#define BATCH_PACKS 32
#define BATCH_BYTES (64u << 20) /* copied, before they are removed */
#define UNREADABLE (-EUCLEAN)   /* the disk gives an error for a record: its pack stays, for another time */
#define TRIES 3                 /* without a record copied: then the pack stays */

struct emptied {
    uint32_t number;
    uint32_t file_bytes;
    uint32_t count;
    struct buf footer; /* owned */
};

struct batch {
    struct emptied packs[BATCH_PACKS];
    size_t count;
    uint64_t copied_bytes;
    uint8_t *record, *raw; /* owned: room for one */
};

static int flush_batch(struct gc *gc, struct batch *batch, struct err *err);

/* 1: copied; 0: it need not be, or is damaged; UNREADABLE, -ENOSPC. */
static int copy_once(struct gc *gc, struct batch *batch, uint32_t pack, const struct pack_entry *e,
                     struct err *err)
{
    struct blob_store *store = gc->store;
    const struct index_place from = {.pack = pack,
                                     .offset_bytes = e->offset_bytes,
                                     .stored_bytes = e->stored_bytes,
                                     .raw_bytes = e->raw_bytes};
    uint32_t len = BLOB_RECORD_HEADER_BYTES + e->stored_bytes;
    int r = store_check_record(store, &e->id, &from, batch->record, batch->raw);
    if (r == -EBADMSG && store_file_read(store, pack, batch->record, len, e->offset_bytes) == -EIO)
        return UNREADABLE;
    if (r == -EBADMSG) {
        blob_store_set_aside(store, &e->id);
        return gc_give_up(gc, pack, e) < 0 ? err_sys(err, ENOMEM, "a damaged chunk cannot be noted") : 0;
    }
    if (r < 0)
        return err_sys(err, -r, "packs/%016" PRIx32 ".pack in the store cannot be read", pack);
    r = store_move(store, &e->id, &from, batch->record, len, err);
    if (r == 0) /* it lies elsewhere by now, or was set aside */
        r = store_append(store, &e->id, batch->record, len, e->raw_bytes, err);
    if (r <= 0)
        return r;
    gc->result.moved_bytes += (uint64_t)r;
    batch->copied_bytes += (uint64_t)r;
    return 1;
}

/* On a full disk first what was copied makes room by its old packs' going, then what is kept for it. */
static int copy(struct gc *gc, struct batch *batch, uint32_t pack, const struct pack_entry *e, bool may_flush,
                struct err *err)
{
    for (;;) {
        int r = copy_once(gc, batch, pack, e, err);
        if (r != -ENOSPC)
            return r;
        if (may_flush && batch->count > 0) {
            r = flush_batch(gc, batch, err);
            if (r < 0)
                return r;
        } else if (!blob_store_give_room(gc->store)) {
            return r;
        }
    }
}

static bool must_stay(const struct gc *gc, uint32_t pack, const struct pack_entry *e)
{
    HOLD_LOCK(&gc->store->index_lock);
    return gc_lives(gc, pack, e);
}

/* Copies what lives in the pack, and adds it to the batch. */
static int empty_pack(struct gc *gc, struct batch *batch, uint32_t number, struct err *err)
{
    struct emptied pack = {.number = number, .footer = BUF_EMPTY};
    struct pack_trailer trailer = {0};
    int r = gc_read_footer(gc, number, &pack.footer, &trailer, &pack.file_bytes, err);
    bool readable = r > 0;
    pack.count = readable ? trailer.count : 0;
    for (uint32_t k = 0; k < pack.count && r >= 0; k++) {
        struct pack_entry e;
        pack_footer_entry(pack.footer.bytes, k, &e);
        if (must_stay(gc, number, &e))
            r = copy(gc, batch, number, &e, true, err);
    }
    if (r == UNREADABLE) {
        log_error("packs/%016" PRIx32 ".pack cannot be read everywhere and stays: look at its disk", number);
        readable = false;
        r = 0;
    }
    if (r < 0 || !readable) {
        buf_free(&pack.footer);
        return r < 0 ? r : 0;
    }
    batch->packs[batch->count++] = pack;
    return 0;
}

/* Takes what is dead out of the index. How many records must stay; -ENOMEM: not everything that was touched
 * is known, so nothing is dead. */
static int64_t strip(struct gc *gc, const struct emptied *pack)
{
    struct blob_store *store = gc->store;
    int64_t left = 0;
    HOLD_LOCK(&store->index_lock);
    if (store->touched_lost)
        return -ENOMEM;
    for (uint32_t k = 0; k < pack->count; k++) {
        struct pack_entry e;
        pack_footer_entry(pack->footer.bytes, k, &e);
        if (gc_lives(gc, pack->number, &e))
            left++;
        else if (index_remove(&store->index, &e.id, pack->number, e.offset_bytes))
            gc->result.removed_chunks++;
    }
    return left;
}

/* Copies what was touched since. The number of records copied. */
static int64_t copy_rest(struct gc *gc, struct batch *batch, const struct emptied *pack, struct err *err)
{
    int64_t copied = 0;
    for (uint32_t k = 0; k < pack->count; k++) {
        struct pack_entry e;
        pack_footer_entry(pack->footer.bytes, k, &e);
        int r = must_stay(gc, pack->number, &e) ? copy(gc, batch, pack->number, &e, false, err) : 0;
        if (r < 0)
            return r;
        copied += r;
    }
    int r = copied > 0 ? gc_sync(gc, err) : 0;
    return r < 0 ? r : copied;
}

/* Nothing of the pack is used any more: 1; 0: it must stay. */
static int let_go(struct gc *gc, struct batch *batch, const struct emptied *pack, struct err *err)
{
    for (int tries = 0; tries < TRIES;) {
        int64_t left = strip(gc, pack);
        if (left == 0)
            return 1;
        if (left < 0)
            return err_sys(err, ENOMEM, "what is used while the store is collected cannot be noted");
        int64_t copied = copy_rest(gc, batch, pack, err);
        if (copied == UNREADABLE)
            break;
        if (copied < 0)
            return (int)copied;
        tries = copied > 0 ? 0 : tries + 1;
    }
    log_warn("packs/%016" PRIx32 ".pack cannot be emptied and stays", pack->number);
    return 0;
}

static int remove_pack(struct gc *gc, const struct emptied *pack, struct err *err)
{
    struct blob_store *store = gc->store;
    int r = store->io.ops->remove(store->io.packs, pack->number);
    if (r < 0 && r != -ENOENT)
        return err_sys(err, -r, "packs/%016" PRIx32 ".pack in the store cannot be removed", pack->number);
    store_file_drop(store, pack->number);
    gc->result.packs_removed++;
    gc->result.freed_bytes += pack->file_bytes;
    HOLD_LOCK(&store->index_lock);
    store->packs--;
    return 0;
}

static void clear_batch(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        buf_free(&batch->packs[i].footer);
    batch->count = 0;
    batch->copied_bytes = 0;
}

static int remove_batch(struct gc *gc, struct batch *batch, struct err *err)
{
    int r = gc_at(gc, GC_COPIED);
    if (r == 0)
        r = gc_sync(gc, err);
    if (r == 0)
        r = gc_at(gc, GC_SYNCED);
    for (size_t i = 0; i < batch->count && r >= 0; i++) {
        r = let_go(gc, batch, &batch->packs[i], err);
        if (r > 0)
            r = remove_pack(gc, &batch->packs[i], err);
    }
    if (r >= 0)
        r = gc_at(gc, GC_REMOVED);
    if (r < 0)
        return r;
    r = gc->store->io.ops->sync(gc->store->io.packs);
    return r < 0 ? err_sys(err, -r, "the store's directory packs cannot be synced") : 0;
}

static int flush_batch(struct gc *gc, struct batch *batch, struct err *err)
{
    int r = batch->count > 0 ? remove_batch(gc, batch, err) : 0;
    clear_batch(batch);
    return r;
}

/* The highest number that a pack ever had is that of a pack which stays: so none is given twice. */
static int keep_last_number(const struct gc *gc, struct err *err)
{
    struct blob_store *store = gc->store;
    uint32_t last;
    {
        HOLD_LOCK(&store->append_lock);
        last = store->last_number;
    }
    for (size_t i = 0; i < gc->pack_count; i++) {
        if (gc->packs[i].number != last || !gc_is_worth_it(&gc->packs[i]))
            continue;
        return gc_next_pack(gc, err);
    }
    return 0;
}

int gc_sweep(struct gc *gc, struct err *err)
{
    struct batch batch = {.record = malloc(BLOB_RECORD_MAX_BYTES), .raw = malloc(BLOB_CHUNK_MAX_BYTES)};
    int r = batch.record && batch.raw ? keep_last_number(gc, err)
                                      : err_sys(err, ENOMEM, "the store cannot be collected");
    for (size_t i = 0; i < gc->pack_count && r == 0; i++) {
        const struct gc_pack *pack = &gc->packs[i];
        if (!gc_is_worth_it(pack))
            continue;
        r = gc_cancelled(gc, err);
        if (r == 0 && batch.count > 0 &&
            (batch.count == BATCH_PACKS || batch.copied_bytes >= BATCH_BYTES ||
             (pack->live_bytes > 0 && batch.copied_bytes == 0)))
            r = flush_batch(gc, &batch, err); /* what is nothing but garbage goes before anything is copied */
        if (r == 0)
            r = empty_pack(gc, &batch, pack->number, err);
    }
    struct err late = {0};
    int ended = r == 0 ? flush_batch(gc, &batch, err) : r == -ECANCELED ? flush_batch(gc, &batch, &late) : 0;
    clear_batch(&batch);
    free(batch.record);
    free(batch.raw);
    gc->result.freed_bytes -=
        gc->result.freed_bytes < gc->result.moved_bytes ? gc->result.freed_bytes : gc->result.moved_bytes;
    return r == 0 ? ended : r;
}
