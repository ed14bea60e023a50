#include <inttypes.h>
#include <string.h>

#include "base/fdio.h"
#include "base/log.h"
#include "store_parts.h"

/* So many full packs (16 MiB each) wait for a sync at most: it bounds fds and memory. */
#define FULL_PACKS_MAX 16

_Static_assert(TAIL_ROOM_BYTES >= BLOB_RECORD_MAX_BYTES + PACK_HEADER_BYTES, "a record fits");

static int broken_error(const struct blob_store *store, struct err *err)
{
    return err_sys(err, store->broken,
                   "the store takes no more: a pack could not be synced, look at its disk and start again");
}

static void set_tail(struct blob_store *store)
{
    HOLD_LOCK(&store->index_lock);
    store->tail_pack = store->current ? store->current->number : 0;
    store->tail_from_bytes = store->current ? store->current->written_bytes : 0;
}

int store_flush(struct blob_store *store, struct err *err)
{
    struct open_pack *p = store->current;
    if (!p || store->tail_bytes == 0)
        return 0;
    const struct pack_ops *ops = store->io.ops;
    int r = ops->write(p->file, store->tail, store->tail_bytes, p->written_bytes);
    if (r < 0) {
        /* The tail stays in memory and is written whole another time; half of it must not stay. */
        if (ops->cut(p->file, p->written_bytes) < 0)
            log_warn("packs/%016" PRIx32 ".pack could not be cut after a write that failed", p->number);
        return err_sys(err, -r, "packs/%016" PRIx32 ".pack in the store cannot be written", p->number);
    }
    {
        HOLD_LOCK(&store->index_lock);
        p->written_bytes += store->tail_bytes;
    }
    store->tail_bytes = 0;
    p->dirty = true;
    set_tail(store);
    return 0;
}

int store_add_open_pack(struct blob_store *store, uint32_t number, struct pack_grower *file,
                        uint32_t written_bytes, struct buf *entries, bool takes_more)
{
    struct open_pack *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->number = number;
    p->file = file;
    p->written_bytes = written_bytes;
    p->full = !takes_more;
    p->dirty = true;
    p->entries = *entries;
    *entries = BUF_EMPTY;
    p->next = store->open;
    store->open = p;
    store->names_dirty = true;
    if (takes_more) {
        store->current = p;
        set_tail(store);
    } else {
        store->full_packs++;
    }
    return 0;
}

static void free_open_pack(const struct blob_store *store, struct open_pack *p)
{
    store->io.ops->close_grower(p->file);
    buf_free(&p->entries);
    free(p);
}

void store_free_open_packs(struct blob_store *store)
{
    while (store->open) {
        struct open_pack *p = store->open;
        store->open = p->next;
        free_open_pack(store, p);
    }
    store->current = NULL;
}

/* Ends the current pack, whose tail was flushed, and begins another. */
static int next_pack(struct blob_store *store, struct err *err)
{
    if (store->current) {
        store->io.ops->begin_sync(store->current->file);
        store->current->full = true;
        store->full_packs++;
        store->current = NULL;
        set_tail(store);
    }
    if (store->last_number >= UINT32_MAX - 1)
        return err_set(err, ENOSPC, "the store has no numbers for packs left");
    uint32_t number = store->last_number + 1;
    struct pack_grower *file = NULL;
    int r = store->io.ops->grow(store->io.packs, number, true, &file);
    if (r < 0)
        return err_sys(err, -r, "packs/%016" PRIx32 ".pack in the store cannot be made", number);
    store->last_number = number;
    struct buf entries = BUF_EMPTY;
    r = store_add_open_pack(store, number, file, 0, &entries, true);
    if (r < 0)
        store->io.ops->close_grower(file);
    if (r < 0)
        return err_sys(err, -r, "packs/%016" PRIx32 ".pack in the store cannot be made", number);
    pack_header_encode(number, store->tail);
    store->tail_bytes = PACK_HEADER_BYTES;
    HOLD_LOCK(&store->index_lock);
    store->packs++;
    return 0;
}

/* Makes room for a record in the tail of a pack that it fits in. */
static int make_room(struct blob_store *store, uint32_t record_bytes, struct err *err)
{
    struct open_pack *p = store->current;
    bool fits = p && PACK_RECORDS_MAX_BYTES - p->written_bytes - store->tail_bytes >= record_bytes;
    if (fits && TAIL_ROOM_BYTES - store->tail_bytes >= record_bytes)
        return 0;
    int r = store_flush(store, err);
    if (r < 0 || fits)
        return r;
    return next_pack(store, err);
}

/* `from`: where a record that is copied lies, else NULL. */
static int append_locked(struct blob_store *store, const struct blob_id *id, const struct index_place *from,
                         const uint8_t *record, uint32_t record_bytes, uint32_t raw_bytes, struct err *err)
{
    if (store->broken)
        return broken_error(store, err);
    {
        /* Another thread may have stored the same content while this one compressed it. */
        HOLD_LOCK(&store->index_lock);
        struct index_place there;
        bool found = index_find(&store->index, id, &there);
        if (found && !from) {
            store_keep(store, id);
            return 0;
        }
        if (from && (!found || there.pack != from->pack || there.offset_bytes != from->offset_bytes))
            return 0;
        if (index_reserve(&store->index, id) < 0)
            return err_sys(err, ENOMEM, "the index of chunks cannot grow");
    }
    int r = make_room(store, record_bytes, err);
    if (r < 0)
        return r;

    struct open_pack *p = store->current;
    struct pack_entry entry = {.id = *id,
                               .offset_bytes = p->written_bytes + store->tail_bytes,
                               .stored_bytes = record_bytes - BLOB_RECORD_HEADER_BYTES,
                               .raw_bytes = raw_bytes};
    if (!buf_room(&p->entries, PACK_ENTRY_BYTES)) {
        p->entries.error = 0; /* what it has is good */
        return err_sys(err, ENOMEM, "the list of a pack's chunks cannot grow");
    }
    pack_footer_add(&p->entries, &entry);
    memcpy(store->tail + store->tail_bytes, record, record_bytes);
    store->tail_bytes += record_bytes;

    HOLD_LOCK(&store->index_lock);
    if (!from)
        store_keep(store, id);
    index_put(&store->index, id,
              &(struct index_place){.pack = p->number,
                                    .offset_bytes = entry.offset_bytes,
                                    .stored_bytes = entry.stored_bytes,
                                    .raw_bytes = raw_bytes});
    return (int)record_bytes;
}

static int append(struct blob_store *store, const struct blob_id *id, const struct index_place *from,
                  const uint8_t *record, uint32_t record_bytes, uint32_t raw_bytes, struct err *err)
{
    bool many_wait;
    int added;
    {
        HOLD_LOCK(&store->append_lock);
        added = append_locked(store, id, from, record, record_bytes, raw_bytes, err);
        many_wait = store->full_packs >= FULL_PACKS_MAX;
    }
    if (added > 0 && many_wait) {
        int r = blob_store_sync(store, err);
        if (r < 0)
            return r;
    }
    return added;
}

int store_append(struct blob_store *store, const struct blob_id *id, const uint8_t *record,
                 uint32_t record_bytes, uint32_t raw_bytes, struct err *err)
{
    return append(store, id, NULL, record, record_bytes, raw_bytes, err);
}

int store_move(struct blob_store *store, const struct blob_id *id, const struct index_place *from,
               const uint8_t *record, uint32_t record_bytes, struct err *err)
{
    return append(store, id, from, record, record_bytes, from->raw_bytes, err);
}

int store_next_pack(struct blob_store *store, struct err *err)
{
    HOLD_LOCK(&store->append_lock);
    if (store->broken)
        return broken_error(store, err);
    int r = store_flush(store, err);
    return r < 0 ? r : next_pack(store, err);
}

/*
 * After a sync that failed, the kernel has dropped what it could not write, and a second sync would succeed
 * without it (fsync(2), "Errors"). So nothing more is believed.
 */
static int sync_failed(struct blob_store *store, int error, struct err *err)
{
    HOLD_LOCK(&store->append_lock);
    store->broken = -error;
    return broken_error(store, err);
}

/*
 * The footer is trusted at the next start, so it is written only when the records are on disk. It need not
 * be there itself: a pack without one is scanned. It is made of a copy: who holds append_lock may read the
 * entries meanwhile.
 */
static void seal(const struct blob_store *store, const struct open_pack *p)
{
    OWNED_BUF struct buf footer = BUF_EMPTY;
    buf_put(&footer, p->entries.bytes, p->entries.len_bytes);
    pack_footer_close(&footer, p->number, p->written_bytes);
    int r = footer.error;
    if (r == 0)
        r = pack_io_seal(&store->io, p->number, p->file, footer.bytes, footer.len_bytes, p->written_bytes);
    if (r == 0)
        return;
    log_warn("packs/%016" PRIx32 ".pack could not be sealed (errno %d): it is scanned at the next start",
             p->number, -r);
    if (store->io.ops->cut(p->file, p->written_bytes) < 0)
        log_warn("packs/%016" PRIx32 ".pack could not be cut either", p->number);
}

/* Takes the sealed packs out of the list. */
static void drop_sealed(struct blob_store *store)
{
    HOLD_LOCK(&store->append_lock);
    for (struct open_pack **at = &store->open; *at;) {
        struct open_pack *p = *at;
        if (!p->sealing) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        store->full_packs--;
        free_open_pack(store, p);
    }
}

int blob_store_sync(struct blob_store *store, struct err *err)
{
    HOLD_LOCK(&store->sync_lock);
    struct open_pack *first;
    bool names;
    {
        HOLD_LOCK(&store->append_lock);
        if (store->broken)
            return broken_error(store, err);
        int r = store_flush(store, err);
        if (r < 0)
            return r;
        first = store->open;
        for (struct open_pack *p = first; p; p = p->next) {
            p->syncing = p->dirty;
            p->dirty = false;
            p->sealing = p->full;
        }
        names = store->names_dirty;
        store->names_dirty = false;
    }
    /* Puts go on: they add packs before `first` only. */
    for (struct open_pack *p = first; p; p = p->next) {
        int r = p->syncing ? store->io.ops->sync_records(p->file) : 0;
        if (r < 0)
            return sync_failed(store, r, err);
    }
    int r = names ? store->io.ops->sync(store->io.packs) : 0;
    if (r < 0)
        return sync_failed(store, r, err);
    for (struct open_pack *p = first; p; p = p->next)
        if (p->sealing)
            seal(store, p);
    drop_sealed(store);
    return 0;
}
