/*
 * The footers of a store's packs, read into the index at the start. It is filled by two threads, each of
 * which goes through all footers (the second finds them in memory) and puts in what belongs to its part of
 * the index, so that neither waits for the other.
 */
#include <inttypes.h>
#include <string.h>

#include "store_parts.h"

#define FOOTER_GUESS_BYTES (64u << 10) /* most footers come with the first read */
#define PACKS_FOR_TWO 16u              /* fewer are not worth a second thread */
#define PREFETCH_AHEAD 8u              /* entries */

static int newer_format(uint32_t number, struct err *err)
{
    return err_set(err, EPROTONOSUPPORT,
                   "packs/%016" PRIx32
                   ".pack in the store is of a newer format than this program's (%d): use "
                   "the newer bladefs",
                   number, PACK_VERSION);
}

/* What a thread does. */
struct share {
    struct blob_store *store;
    unsigned part, parts;
    const uint32_t *numbers;
    size_t count;
    uint8_t *states;      /* its own */
    uint64_t entry_count; /* of all parts, so far */
    int error;
    struct err err;
};

static int index_entries(const struct share *share, uint32_t number, const uint8_t *entries, uint32_t count,
                         struct err *err)
{
    struct index *index = &share->store->index;
    for (uint32_t k = 0; k < count; k++) {
        struct pack_entry e;
        if (k + PREFETCH_AHEAD < count) {
            pack_footer_entry(entries, k + PREFETCH_AHEAD, &e);
            if (index_part_of(&e.id, share->parts) == share->part)
                index_prefetch(index, &e.id);
        }
        pack_footer_entry(entries, k, &e);
        if (index_part_of(&e.id, share->parts) != share->part)
            continue;
        if (index_reserve(index, &e.id) < 0)
            return err_sys(err, ENOMEM, "the index of chunks cannot grow");
        index_put_later(index, &e.id,
                        &(struct index_place){.pack = number,
                                              .offset_bytes = e.offset_bytes,
                                              .stored_bytes = e.stored_bytes,
                                              .raw_bytes = e.raw_bytes});
    }
    return 0;
}

int store_index_entries(struct blob_store *store, uint32_t number, const uint8_t *entries, uint32_t count,
                        struct err *err)
{
    const struct share all = {.store = store, .parts = 1};
    return index_entries(&all, number, entries, count, err);
}

int store_read_footer(const struct pack_reader *pack, uint64_t pack_bytes, struct buf *out,
                      struct pack_trailer *trailer, struct err *err)
{
    if (pack_bytes < PACK_HEADER_BYTES + PACK_TRAILER_BYTES || pack_bytes > PACK_FILE_MAX_BYTES)
        return 0;
    size_t have = pack_bytes < FOOTER_GUESS_BYTES ? (size_t)pack_bytes : FOOTER_GUESS_BYTES;
    uint8_t *room = buf_room(out, have);
    if (!room)
        return err_sys(err, ENOMEM, "a pack's footer cannot be read");
    if (pack_reader_read(pack, room, have, pack_bytes - have) != (ssize_t)have ||
        pack_trailer_decode(room + have - PACK_TRAILER_BYTES, pack_bytes, pack->number, trailer) < 0)
        return 0;
    if (trailer->footer_bytes > have) {
        have = trailer->footer_bytes;
        room = buf_room(out, have);
        if (!room)
            return err_sys(err, ENOMEM, "a pack's footer cannot be read");
        if (pack_reader_read(pack, room, have, pack_bytes - have) != (ssize_t)have)
            return 0;
    }
    size_t before = have - trailer->footer_bytes;
    int r = pack_footer_check(room + before, trailer);
    if (r == -EPROTONOSUPPORT)
        return newer_format(pack->number, err);
    if (r < 0)
        return 0;
    memmove(room, room + before, trailer->footer_bytes);
    buf_grew(out, trailer->footer_bytes);
    return 1;
}

/* 1: the footer was good and is indexed. 0: there is none to be trusted. */
static int load_footer(struct share *share, const struct pack_reader *pack, uint64_t size, struct err *err)
{
    OWNED_BUF struct buf footer = BUF_EMPTY;
    struct pack_trailer trailer = {0};
    int r = store_read_footer(pack, size, &footer, &trailer, err);
    if (r <= 0)
        return r;
    share->entry_count += trailer.count;
    r = index_entries(share, pack->number, footer.bytes, trailer.count, err);
    return r < 0 ? r : 1;
}

/* Returns an enum pack_state, or -errno. */
static int load_pack(struct share *share, uint32_t number, struct err *err)
{
    OWNED_READER pack = PACK_READER_NONE;
    int r = pack_reader_open(&share->store->io, number, &pack);
    int64_t size = r < 0 ? r : pack_reader_size(&pack);
    if (size < 0)
        return err_sys(err, (int)-size, "packs/%016" PRIx32 ".pack in the store cannot be opened", number);
    uint8_t header[PACK_HEADER_BYTES];
    ssize_t n = pack_reader_read(&pack, header, sizeof(header), 0);
    int header_state = pack_header_check(header, n > 0 ? (size_t)n : 0, number);
    if (header_state == -EPROTONOSUPPORT)
        return newer_format(number, err);
    if (header_state < 0 && n == (ssize_t)sizeof(header))
        return PACK_HEADERLESS; /* whatever its footer says: so it is mended */
    int sealed = load_footer(share, &pack, (uint64_t)size, err);
    if (sealed != 0)
        return sealed < 0 ? sealed : PACK_SEALED;
    return header_state == 0 ? PACK_OPEN : PACK_HEADERLESS;
}

static void *load_share(void *arg)
{
    struct share *share = arg;
    for (size_t i = 0; i < share->count && share->error == 0; i++) {
        int r = load_pack(share, share->numbers[i], &share->err);
        if (r >= 0)
            share->states[i] = (uint8_t)r;
        else
            share->error = r;
        /* The packs still to come are taken to hold as much as those that came. */
        if (share->part == 0 &&
            index_expect(&share->store->index, share->entry_count * share->count / (i + 1)) < 0)
            share->error = err_sys(&share->err, ENOMEM, "the index of chunks cannot grow");
    }
    return NULL;
}

int store_load_footers(struct blob_store *store, const uint32_t *numbers, size_t count, uint8_t *states,
                       struct err *err)
{
    if (index_expect(&store->index, 0) < 0)
        return err_sys(err, ENOMEM, "the index of chunks cannot grow");
    struct share mine = {.store = store, .parts = 1, .numbers = numbers, .count = count, .states = states};
    struct share other = mine;
    OWNED uint8_t *other_states = count >= PACKS_FOR_TWO ? calloc(count, sizeof(*other_states)) : NULL;
    pthread_t thread;
    if (other_states) {
        mine.parts = other.parts = 2;
        other.part = 1;
        other.states = other_states;
        if (pthread_create(&thread, NULL, load_share, &other) != 0) {
            free(STEAL(other_states));
            mine.parts = 1;
        }
    }
    load_share(&mine);
    if (other_states)
        pthread_join(thread, NULL);
    int r = index_expect(&store->index, 0);
    const struct share *failed = mine.error < 0 ? &mine : &other;
    if (failed->error < 0) {
        if (err)
            *err = failed->err;
        return failed->error;
    }
    /* A pack that only one could read is scanned as one that neither could. */
    for (size_t i = 0; other_states && i < count; i++)
        if (other_states[i] > states[i])
            states[i] = other_states[i];
    return r;
}
