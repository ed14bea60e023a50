#include "index.h"

#include <string.h>

#include "base/buf.h"
#include "blob/record.h"

/* 28 bytes; `where` holds offset (25 bits), stored - 1 (18) and raw - 1 (18) in two words of 32 bits. */
struct index_entry {
    struct blob_id id;
    uint32_t pack;
    uint32_t where[2];
};

_Static_assert(sizeof(struct index_entry) == 28, "an entry is dense");
_Static_assert(BLOB_CHUNK_MAX_BYTES <= 1u << 18 && BLOB_STORED_MAX_BYTES <= 1u << 18, "lengths fit 18 bits");

#define LENGTH_BITS 18
#define LENGTH_MASK ((UINT64_C(1) << LENGTH_BITS) - 1)
#define ENTRIES_MAX (UINT32_MAX / 2)

static void place_pack(struct index_entry *e, const struct index_place *place)
{
    uint64_t where = (uint64_t)place->offset_bytes << (2 * LENGTH_BITS) |
                     (uint64_t)(place->stored_bytes - 1) << LENGTH_BITS | (place->raw_bytes - 1);
    e->pack = place->pack;
    e->where[0] = (uint32_t)where;
    e->where[1] = (uint32_t)(where >> 32);
}

static struct index_place place_of(const struct index_entry *e)
{
    uint64_t where = (uint64_t)e->where[1] << 32 | e->where[0];
    return (struct index_place){
        .pack = e->pack,
        .offset_bytes = (uint32_t)(where >> (2 * LENGTH_BITS)),
        .stored_bytes = (uint32_t)(where >> LENGTH_BITS & LENGTH_MASK) + 1,
        .raw_bytes = (uint32_t)(where & LENGTH_MASK) + 1,
    };
}

static uint32_t home_of(const struct index *index, const struct blob_id *id)
{
    return le32_at(id->bytes) & (index->slot_count - 1);
}

void index_free(struct index *index)
{
    free(index->entries);
    free(index->slots);
    *index = (struct index){0};
}

/* The slot that holds `id`, or the free one where it would be. There is always a free one. */
static uint32_t slot_of(const struct index *index, const struct blob_id *id)
{
    uint32_t s = home_of(index, id);
    while (index->slots[s] && blob_id_compare(&index->entries[index->slots[s] - 1].id, id) != 0)
        s = (s + 1) & (index->slot_count - 1);
    return s;
}

static int grow_slots(struct index *index, uint32_t wanted)
{
    uint32_t slot_count = index->slot_count ? index->slot_count : 1024;
    while (slot_count / 5 * 4 < wanted) {
        if (slot_count > UINT32_MAX / 2)
            return -ENOMEM;
        slot_count *= 2;
    }
    if (slot_count == index->slot_count)
        return 0;
    uint32_t *slots = calloc(slot_count, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    free(index->slots);
    index->slots = slots;
    index->slot_count = slot_count;
    for (uint32_t i = 0; i < index->count; i++)
        slots[slot_of(index, &index->entries[i].id)] = i + 1;
    return 0;
}

int index_reserve(struct index *index, uint32_t more)
{
    if (more > ENTRIES_MAX - index->count)
        return -ENOMEM;
    uint32_t wanted = index->count + more;
    if (wanted > index->room) {
        uint32_t room = index->room + index->room / 4;
        if (room < wanted)
            room = wanted < 1024 ? 1024 : wanted;
        struct index_entry *entries = reallocarray(index->entries, room, sizeof(*entries));
        if (!entries)
            return -ENOMEM;
        index->entries = entries;
        index->room = room;
    }
    return grow_slots(index, wanted);
}

static void uncount(struct index *index, const struct index_entry *e)
{
    struct index_place place = place_of(e);
    index->raw_bytes -= place.raw_bytes;
    index->stored_bytes -= place.stored_bytes;
}

void index_put(struct index *index, const struct blob_id *id, const struct index_place *place)
{
    uint32_t s = slot_of(index, id);
    if (!index->slots[s]) {
        index->entries[index->count].id = *id;
        index->slots[s] = ++index->count;
    } else {
        uncount(index, &index->entries[index->slots[s] - 1]);
    }
    place_pack(&index->entries[index->slots[s] - 1], place);
    index->raw_bytes += place->raw_bytes;
    index->stored_bytes += place->stored_bytes;
}

bool index_find(const struct index *index, const struct blob_id *id, struct index_place *out)
{
    if (index->count == 0)
        return false;
    uint32_t s = slot_of(index, id);
    if (!index->slots[s])
        return false;
    *out = place_of(&index->entries[index->slots[s] - 1]);
    return true;
}

/* Frees a slot and moves up what had to go past it (Knuth, TAOCP 6.4, algorithm R). */
static void slot_free(struct index *index, uint32_t hole)
{
    uint32_t mask = index->slot_count - 1;
    for (uint32_t s = (hole + 1) & mask; index->slots[s]; s = (s + 1) & mask) {
        uint32_t home = home_of(index, &index->entries[index->slots[s] - 1].id);
        if (((s - home) & mask) >= ((s - hole) & mask)) {
            index->slots[hole] = index->slots[s];
            hole = s;
        }
    }
    index->slots[hole] = 0;
}

static void entry_remove(struct index *index, uint32_t s)
{
    uint32_t gone = index->slots[s] - 1;
    uncount(index, &index->entries[gone]);
    slot_free(index, s);
    uint32_t last = index->count - 1;
    if (gone != last) {
        index->slots[slot_of(index, &index->entries[last].id)] = gone + 1;
        index->entries[gone] = index->entries[last];
    }
    index->count = last;
}

bool index_remove(struct index *index, const struct blob_id *id, uint32_t pack, uint32_t offset_bytes)
{
    if (index->count == 0)
        return false;
    uint32_t s = slot_of(index, id);
    if (!index->slots[s])
        return false;
    struct index_place place = place_of(&index->entries[index->slots[s] - 1]);
    if (place.pack != pack || place.offset_bytes != offset_bytes)
        return false;
    entry_remove(index, s);
    return true;
}
