/*
 * Each table is an ordered hash table (Amble and Knuth, "Ordered hash tables", 1974): linear probing where
 * the entries stand in the order of their ids. An id's home rises with the id, so the whole table is sorted,
 * a look-up ends at the first greater id, known or not, and a table is spread over more homes in one pass
 * from one end to the other.
 */
#include "index.h"

#include <endian.h>
#include <string.h>
#include <sys/mman.h>

#include "blob/record.h"

/* 28 bytes; `where` holds offset (25 bits), stored - 1 (18) and raw - 1 (18) in two words of 32 bits. */
struct index_entry {
    struct blob_id id;
    uint32_t pack; /* 0: free */
    uint32_t where[2];
};

_Static_assert(sizeof(struct index_entry) == 28, "an entry is dense");
_Static_assert(BLOB_CHUNK_MAX_BYTES <= 1u << 18 && BLOB_STORED_MAX_BYTES <= 1u << 18, "lengths fit 18 bits");

#define LENGTH_BITS 18
#define LENGTH_MASK ((UINT64_C(1) << LENGTH_BITS) - 1)

#define TABLE_BITS 8 /* of an id, which choose its table */
#define TABLES (1u << TABLE_BITS)
#define PAGE_BYTES 4096u
#define HOMES_FIRST 64u
#define HOMES_MAX (UINT32_MAX / 2)
#define ROOM_STEP 64u  /* entries */
#define LOAD_PARTS 8u  /* 7 of 8 homes are taken when a table grows, */
#define GROWTH_PART 8u /* which adds one to 8 */

/* A home is where an id stands if nothing is in its way; behind the last one is room for what had to give
 * way. The place behind all of these stays free: a search ends there. */
struct index_table {
    struct index_entry *entries; /* whole pages, mapped; NULL: none yet */
    size_t mapped_bytes;
    uint32_t homes;
    uint32_t room;
    uint32_t end; /* no entry is there or behind it */
    uint32_t count;
    uint64_t raw_bytes, stored_bytes;
};

/* ---- entries ---- */

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

/* An id as two numbers, which are in the order of ids. */
struct key {
    uint64_t high, low;
};

static struct key key_of(const struct blob_id *id)
{
    struct key key;
    memcpy(&key.high, id->bytes, sizeof(key.high));
    memcpy(&key.low, id->bytes + sizeof(key.high), sizeof(key.low));
    key.high = be64toh(key.high);
    key.low = be64toh(key.low);
    return key;
}

/* ---- tables ---- */

static struct index_table *table_of(const struct index *index, struct key key)
{
    return &index->tables[key.high >> (64 - TABLE_BITS)];
}

/* The bits behind those that choose the table, as a part of all homes (Lemire, "Fast random integer
 * generation in an interval", 2019). */
static uint32_t home_of(const struct index_table *t, struct key key)
{
    return (uint32_t)(((key.high << TABLE_BITS >> 32) * t->homes) >> 32);
}

/* The place that holds `key`, or where it belongs: a free one, or one of the next greater id. */
static uint32_t search(const struct index_table *t, struct key key, bool *found)
{
    uint32_t i = home_of(t, key);
    for (; t->entries[i].pack; i++) {
        struct key at = key_of(&t->entries[i].id);
        if (at.high < key.high || (at.high == key.high && at.low < key.low))
            continue;
        *found = at.high == key.high && at.low == key.low;
        return i;
    }
    *found = false;
    return i;
}

/* All of this will be written to soon: one call is cheaper than a fault for each page. It is a hint (of Linux
 * 5.14). */
static void populate(const struct index_table *t, size_t end_bytes)
{
    size_t from = (size_t)t->room * sizeof(struct index_entry) / PAGE_BYTES * PAGE_BYTES;
    if (end_bytes - from > PAGE_BYTES)
        (void)madvise((char *)t->entries + from, end_bytes - from, MADV_POPULATE_WRITE);
}

static void *map_pages(size_t bytes)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* Pages move without being copied. ThreadSanitizer does not know mremap(2): it takes an address that is free
 * again, and given to another thread, for memory that both use. */
static void *move_pages(void *pages, size_t old_bytes, size_t bytes)
{
#if defined(__SANITIZE_THREAD__)
    void *moved = map_pages(bytes);
    if (moved == MAP_FAILED)
        return moved;
    memcpy(moved, pages, old_bytes);
    munmap(pages, old_bytes);
    return moved;
#else
    return mremap(pages, old_bytes, bytes, MREMAP_MAYMOVE);
#endif
}

/* Room for `room` entries and the free one behind them; the new places are free. */
static int table_extend(struct index_table *t, uint32_t room)
{
    size_t need_bytes = ((size_t)room + 1) * sizeof(struct index_entry);
    if (need_bytes > t->mapped_bytes) {
        /* Not malloc: pages that were not touched yet cost nothing, so twice what is needed is mapped: moving
         * page tables is dear on a virtual machine. */
        size_t bytes = (2 * need_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
        void *pages = t->entries ? move_pages(t->entries, t->mapped_bytes, bytes) : map_pages(bytes);
        if (pages == MAP_FAILED)
            return -ENOMEM;
        t->entries = pages;
        t->mapped_bytes = bytes;
    }
    populate(t, need_bytes);
    t->room = room;
    return 0;
}

/* The end that the entries will have, spread over so many homes. */
static uint32_t end_after(const struct index_table *t, uint32_t homes)
{
    struct index_table wider = {.homes = homes};
    uint32_t end = 0;
    for (uint32_t i = 0; i < t->end; i++) {
        uint32_t home = home_of(&wider, key_of(&t->entries[i].id));
        uint32_t behind = (home > end ? home : end) + 1;
        end = t->entries[i].pack ? behind : end;
    }
    return end;
}

/* Gives the table so many homes. -ENOMEM leaves it as it was. Which places are taken is as good as random: no
 * branch depends on it. */
static int spread(struct index_table *t, uint32_t homes)
{
    uint32_t end = end_after(t, homes);
    int r = table_extend(t, (end > homes ? end : homes) + ROOM_STEP);
    if (r < 0)
        return r;
    t->homes = homes;

    /* All to the end, in their order; then each to its home, or behind the one before it. As all fit so, none
     * is put where one stands that was not yet moved. */
    uint32_t high = end > t->end ? end : t->end;
    uint32_t from = high;
    for (uint32_t i = t->end; i-- > 0;) {
        uint32_t taken = t->entries[i].pack != 0;
        t->entries[from - 1] = t->entries[i];
        from -= taken;
    }
    uint32_t to = 0;
    for (; from < high; from++) {
        struct index_entry e = t->entries[from];
        for (uint32_t home = home_of(t, key_of(&e.id)); to < home; to++)
            t->entries[to].pack = 0;
        t->entries[to++] = e;
    }
    t->end = to;
    for (; to < high; to++)
        t->entries[to].pack = 0;
    return 0;
}

/* ---- the index ---- */

void index_free(struct index *index)
{
    for (unsigned i = 0; index->tables && i < TABLES; i++)
        if (index->tables[i].entries)
            munmap(index->tables[i].entries, index->tables[i].mapped_bytes);
    free(index->tables);
    *index = (struct index){0};
}

void index_totals(const struct index *index, struct index_totals *out)
{
    *out = (struct index_totals){0};
    for (unsigned i = 0; index->tables && i < TABLES; i++) {
        const struct index_table *t = &index->tables[i];
        out->count += t->count;
        out->raw_bytes += t->raw_bytes;
        out->stored_bytes += t->stored_bytes;
    }
}

int index_expect(struct index *index, uint64_t count)
{
    if (!index->tables)
        index->tables = calloc(TABLES, sizeof(*index->tables));
    if (!index->tables)
        return -ENOMEM;
    __atomic_store_n(&index->expected, count, __ATOMIC_RELAXED);
    return 0;
}

unsigned index_part_of(const struct blob_id *id, unsigned parts)
{
    _Static_assert(TABLE_BITS == 8, "the first byte chooses the table");
    return id->bytes[0] % parts;
}

/* How many homes a table has that grows. */
static uint32_t more_homes(const struct index *index, uint32_t homes)
{
    if (homes == 0)
        return HOMES_FIRST;
    uint32_t next = homes + homes / GROWTH_PART;
    uint64_t enough =
        __atomic_load_n(&index->expected, __ATOMIC_RELAXED) / TABLES / (LOAD_PARTS - 1) * LOAD_PARTS;
    if (enough <= next)
        return next;
    return enough < 2 * (uint64_t)homes ? (uint32_t)enough : 2 * homes;
}

int index_reserve(struct index *index, const struct blob_id *id)
{
    if (!index->tables && index_expect(index, 0) < 0)
        return -ENOMEM;
    struct index_table *t = table_of(index, key_of(id));
    if (t->count >= t->homes / LOAD_PARTS * (LOAD_PARTS - 1)) {
        if (t->homes > HOMES_MAX)
            return -ENOMEM;
        return spread(t, more_homes(index, t->homes));
    }
    return t->end == t->room ? table_extend(t, t->room + ROOM_STEP) : 0;
}

static void count_in(struct index_table *t, const struct index_place *place)
{
    t->count++;
    t->raw_bytes += place->raw_bytes;
    t->stored_bytes += place->stored_bytes;
}

static void count_out(struct index_table *t, const struct index_entry *e)
{
    struct index_place place = place_of(e);
    t->count--;
    t->raw_bytes -= place.raw_bytes;
    t->stored_bytes -= place.stored_bytes;
}

static bool is_later(const struct index_entry *e, const struct index_place *than)
{
    return e->pack > than->pack || (e->pack == than->pack && place_of(e).offset_bytes > than->offset_bytes);
}

/* Makes a free entry of `id` at `i`: what stands there, up to the next free place, moves on by one. */
static struct index_entry *make_way(struct index_table *t, uint32_t i, const struct blob_id *id)
{
    uint32_t end = i;
    while (t->entries[end].pack)
        end++;
    if (end >= t->end)
        t->end = end + 1;
    struct index_entry *e = &t->entries[i];
    memmove(e + 1, e, (end - i) * sizeof(*e));
    e->id = *id;
    return e;
}

static void put(struct index *index, const struct blob_id *id, const struct index_place *place, bool always)
{
    struct key key = key_of(id);
    struct index_table *t = table_of(index, key);
    bool found;
    uint32_t i = search(t, key, &found);
    struct index_entry *e = &t->entries[i];
    if (found && !always && is_later(e, place))
        return;
    if (found)
        count_out(t, e);
    else
        e = make_way(t, i, id);
    place_pack(e, place);
    count_in(t, place);
}

void index_put(struct index *index, const struct blob_id *id, const struct index_place *place)
{
    put(index, id, place, true);
}

void index_put_later(struct index *index, const struct blob_id *id, const struct index_place *place)
{
    put(index, id, place, false);
}

/* The entry of `id`, or NULL; `*table` and its place there. */
static struct index_entry *find(const struct index *index, const struct blob_id *id,
                                struct index_table **table)
{
    if (!index->tables)
        return NULL;
    struct key key = key_of(id);
    struct index_table *t = table_of(index, key);
    if (t->count == 0)
        return NULL;
    bool found;
    uint32_t i = search(t, key, &found);
    *table = t;
    return found ? &t->entries[i] : NULL;
}

bool index_find(const struct index *index, const struct blob_id *id, struct index_place *out)
{
    struct index_table *t;
    const struct index_entry *e = find(index, id, &t);
    if (!e)
        return false;
    *out = place_of(e);
    return true;
}

bool index_remove(struct index *index, const struct blob_id *id, uint32_t pack, uint32_t offset_bytes)
{
    struct index_table *t;
    struct index_entry *e = find(index, id, &t);
    if (!e || e->pack != pack || place_of(e).offset_bytes != offset_bytes)
        return false;
    count_out(t, e);
    /* What had to give way comes one nearer to its home. */
    uint32_t hole = (uint32_t)(e - t->entries);
    uint32_t next = hole + 1;
    while (t->entries[next].pack && home_of(t, key_of(&t->entries[next].id)) < next)
        next++;
    memmove(e, e + 1, (next - hole - 1) * sizeof(*e));
    t->entries[next - 1].pack = 0;
    return true;
}

int index_each(const struct index *index, unsigned part,
               int (*each)(void *arg, const struct blob_id *id, const struct index_place *place), void *arg)
{
    _Static_assert(INDEX_PARTS == TABLES, "a part is a table");
    if (!index->tables)
        return 0;
    const struct index_table *t = &index->tables[part];
    for (uint32_t i = 0; i < t->end; i++) {
        if (!t->entries[i].pack)
            continue;
        struct index_place place = place_of(&t->entries[i]);
        int r = each(arg, &t->entries[i].id, &place);
        if (r < 0)
            return r;
    }
    return 0;
}

void index_prefetch(const struct index *index, const struct blob_id *id)
{
    if (!index->tables)
        return;
    struct key key = key_of(id);
    const struct index_table *t = table_of(index, key);
    if (t->count == 0)
        return;
    const struct index_entry *e = &t->entries[home_of(t, key)];
    __builtin_prefetch(e);
    __builtin_prefetch(e + 2);
    __builtin_prefetch(e + 4);
}
