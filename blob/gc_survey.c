/* How much of each pack must stay. The packs that are still written to are not looked at, save that one which
 * holds much garbage is ended, so that it is a sealed one. */
#include <inttypes.h>

#include "gc_parts.h"

#define WORTH_PART 8u /* a pack of which one byte in so many is garbage is emptied */

/* Stands for a record in a set of ids. */
static struct blob_id name_of(uint32_t pack, const struct pack_entry *entry)
{
    struct blob_id name = entry->id;
    uint64_t place = (uint64_t)pack << 32 | entry->offset_bytes;
    for (size_t i = 0; i < BLOB_ID_BYTES; i++)
        name.bytes[i] ^= (uint8_t)(place >> (i % sizeof(place) * 8));
    return name;
}

int gc_give_up(struct gc *gc, uint32_t pack, const struct pack_entry *entry)
{
    const struct blob_id name = name_of(pack, entry);
    return id_set_add(&gc->given_up, &name);
}

/* What lives and is not in the index was set aside: then this may be another copy, or can be read again. */
bool gc_lives(const struct gc *gc, uint32_t pack, const struct pack_entry *entry)
{
    struct index_place place;
    bool live = id_set_has(&gc->live, &entry->id);
    if (!index_find(&gc->store->index, &entry->id, &place)) {
        const struct blob_id name = name_of(pack, entry);
        return live && !id_set_has(&gc->given_up, &name);
    }
    return place.pack == pack && place.offset_bytes == entry->offset_bytes &&
           (live || id_set_has(&gc->store->touched, &entry->id));
}

bool gc_is_worth_it(const struct gc_pack *pack)
{
    return (uint64_t)pack->dead_bytes * WORTH_PART >= (uint64_t)pack->live_bytes + pack->dead_bytes;
}

int gc_read_footer(const struct gc *gc, uint32_t number, struct buf *out, struct pack_trailer *trailer,
                   uint32_t *file_bytes, struct err *err)
{
    OWNED_READER pack = PACK_READER_NONE;
    int r = pack_reader_open(&gc->store->io, number, &pack);
    int64_t size = r < 0 ? r : pack_reader_size(&pack);
    if (size < 0)
        return err_sys(err, (int)-size, "packs/%016" PRIx32 ".pack in the store cannot be opened", number);
    r = store_read_footer(&pack, (uint64_t)size, out, trailer, err);
    *file_bytes = (uint32_t)size;
    return r;
}

/* `records_end`: where the records end that the entries name. */
static void count_live(const struct gc *gc, const uint8_t *entries, size_t count, uint32_t records_end,
                       struct gc_pack *pack)
{
    HOLD_LOCK(&gc->store->index_lock);
    for (size_t k = 0; k < count; k++) {
        struct pack_entry e;
        pack_footer_entry(entries, (uint32_t)k, &e);
        if (gc_lives(gc, pack->number, &e))
            pack->live_bytes += BLOB_RECORD_HEADER_BYTES + e.stored_bytes;
    }
    pack->dead_bytes = records_end - PACK_HEADER_BYTES - pack->live_bytes;
}

/* Whether the pack that takes records is to be ended. */
static bool current_is_worth_it(const struct gc *gc)
{
    struct blob_store *store = gc->store;
    HOLD_LOCK(&store->append_lock);
    const struct open_pack *p = store->current;
    if (!p || p->entries.len_bytes == 0)
        return false;
    struct gc_pack pack = {.number = p->number};
    count_live(gc, p->entries.bytes, p->entries.len_bytes / PACK_ENTRY_BYTES,
               p->written_bytes + store->tail_bytes, &pack);
    return pack.dead_bytes > 0 && gc_is_worth_it(&pack);
}

static bool is_open(struct blob_store *store, uint32_t number)
{
    HOLD_LOCK(&store->append_lock);
    for (const struct open_pack *p = store->open; p; p = p->next)
        if (p->number == number)
            return true;
    return false;
}

/* 1 when it was counted, 0 when it is none that can be emptied. */
static int survey_pack(const struct gc *gc, uint32_t number, struct gc_pack *out, struct err *err)
{
    if (is_open(gc->store, number))
        return 0;
    OWNED_BUF struct buf footer = BUF_EMPTY;
    struct pack_trailer trailer = {0};
    *out = (struct gc_pack){.number = number};
    int r = gc_read_footer(gc, number, &footer, &trailer, &out->file_bytes, err);
    if (r > 0)
        count_live(gc, footer.bytes, trailer.count, trailer.records_end, out);
    return r;
}

/* Nothing but garbage first, for that needs no room; then where most is gained by copying least. */
static int by_gain(const void *a, const void *b)
{
    const struct gc_pack *x = a;
    const struct gc_pack *y = b;
    uint64_t xs = (uint64_t)x->dead_bytes * ((uint64_t)y->live_bytes + y->dead_bytes);
    uint64_t ys = (uint64_t)y->dead_bytes * ((uint64_t)x->live_bytes + x->dead_bytes);
    if ((x->live_bytes == 0) != (y->live_bytes == 0))
        return x->live_bytes == 0 ? -1 : 1;
    return xs != ys ? (xs > ys ? -1 : 1) : (x->number > y->number) - (x->number < y->number);
}

int gc_survey(struct gc *gc, struct err *err)
{
    int r = 0;
    /* Not when it is only asked how much there is: each time would leave a small pack. */
    if (gc->options->least_bytes == 0 && current_is_worth_it(gc))
        r = gc_next_pack(gc, err);
    if (r == 0)
        r = gc_sync(gc, err);
    OWNED uint32_t *numbers = NULL;
    size_t count = 0;
    if (r == 0)
        r = gc->store->io.ops->list(gc->store->io.packs, &numbers, &count, err);
    if (r < 0)
        return r;
    gc->packs = calloc(count + 1, sizeof(*gc->packs));
    if (!gc->packs)
        return err_sys(err, ENOMEM, "the store's packs cannot be listed");
    for (size_t i = 0; i < count && r >= 0; i++) {
        r = gc_cancelled(gc, err);
        if (r == 0)
            r = survey_pack(gc, numbers[i], &gc->packs[gc->pack_count], err);
        if (r > 0)
            gc->result.garbage_bytes += gc->packs[gc->pack_count++].dead_bytes;
    }
    if (r < 0)
        return r;
    qsort(gc->packs, gc->pack_count, sizeof(*gc->packs), by_gain);
    return 0;
}
