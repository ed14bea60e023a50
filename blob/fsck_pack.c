/* One pack: what it should hold, as its footer or its records say, against what is there. */
#include <inttypes.h>
#include <string.h>

#include "base/fdio.h"
#include "fsck_parts.h"

int64_t fsck_pack_size(struct blob_fsck *f, uint32_t number)
{
    OWNED_READER reader = PACK_READER_NONE;
    int r = pack_reader_open(&f->store->io, number, &reader);
    return r < 0 ? r : pack_reader_size(&reader);
}

/* Whether it still takes records or a footer; then how much of it is written, all of it by now, and what its
 * footer would be. */
static int is_open(struct blob_fsck *f, uint32_t number, uint32_t *written_bytes, struct buf *entries)
{
    struct blob_store *store = f->store;
    HOLD_LOCK(&store->append_lock);
    for (const struct open_pack *p = store->open; p; p = p->next) {
        if (p->number != number)
            continue;
        int r = p == store->current ? store_flush(store, NULL) : 0;
        *written_bytes = p->written_bytes;
        buf_put(entries, p->entries.bytes, p->entries.len_bytes);
        return r < 0 ? r : entries->error ? entries->error : 1;
    }
    return 0;
}

/* The whole pack; less where it is shorter. */
static int read_pack(struct blob_fsck *f, uint32_t number, struct buf *out)
{
    OWNED_READER reader = PACK_READER_NONE;
    int r = pack_reader_open(&f->store->io, number, &reader);
    int64_t size = r < 0 ? r : pack_reader_size(&reader);
    if (size < 0)
        return (int)size;
    if (size > PACK_FILE_MAX_BYTES)
        size = PACK_FILE_MAX_BYTES;
    uint8_t *room = buf_room(out, (size_t)size + 1);
    if (!room)
        return -ENOMEM;
    ssize_t n = pack_reader_read(&reader, room, (size_t)size, 0);
    if (n < 0)
        return (int)n;
    buf_grew(out, (size_t)n);
    return 0;
}

static bool has_its_id(struct blob_fsck *f, const uint8_t *bytes, const struct pack_entry *e)
{
    struct blob_record record;
    int n = blob_record_decode(bytes + e->offset_bytes, BLOB_RECORD_HEADER_BYTES + (size_t)e->stored_bytes,
                               &record);
    if (n < 0 || record.raw_bytes != e->raw_bytes || blob_id_compare(&record.id, &e->id) != 0 ||
        blob_expand(record.codec, record.payload, record.stored_bytes, f->room, record.raw_bytes) < 0)
        return false;
    struct blob_id id = blob_id_of(&f->store->secret, f->room, record.raw_bytes);
    return blob_id_compare(&id, &e->id) == 0;
}

/* A record is damaged: the chunk is set aside if it lies there. */
static int bad_record(struct blob_fsck *f, uint32_t pack, const struct pack_entry *e, struct err *err)
{
    struct index_place place;
    {
        HOLD_LOCK(&f->store->index_lock);
        if (!index_find(&f->store->index, &e->id, &place) || place.pack != pack ||
            place.offset_bytes != e->offset_bytes)
            return 0; /* it is of no use to anybody */
    }
    if (id_set_add(&f->bad, &e->id) < 0)
        return err_sys(err, ENOMEM, "the damaged chunks cannot be noted");
    store_set_aside(f->store, &e->id, &place);
    f->result.bad_chunks++;
    fsck_tell(f, &(struct blob_fsck_event){
                     .fault = BLOB_FSCK_CHUNK, .pack = pack, .offset_bytes = e->offset_bytes, .id = e->id});
    return 0;
}

static bool is_among(const struct fsck_pack *pack, uint32_t offset_bytes)
{
    uint32_t low = 0;
    uint32_t high = pack->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (pack->offsets[middle] < offset_bytes)
            low = middle + 1;
        else
            high = middle;
    }
    return low < pack->count && pack->offsets[low] == offset_bytes;
}

/* The records that are there: the good ones are noted, of others it is told. */
static int check_records(struct blob_fsck *f, struct fsck_pack *pack, const struct buf *bytes, size_t end,
                         struct err *err)
{
    OWNED_BUF struct buf entries = BUF_EMPTY;
    struct pack_scan scan = {0};
    int r = pack_scan(&f->store->secret, bytes->bytes, end, &entries, &scan);
    size_t count = entries.len_bytes / PACK_ENTRY_BYTES;
    if (r == 0) {
        pack->offsets = calloc(count + 1, sizeof(*pack->offsets));
        r = pack->offsets ? 0 : -ENOMEM;
    }
    if (r < 0)
        return err_sys(err, -r, "packs/%016" PRIx32 ".pack in the store cannot be checked", pack->number);
    for (uint32_t k = 0; k < count && r == 0; k++) {
        struct pack_entry e;
        pack_footer_entry(entries.bytes, k, &e);
        if (has_its_id(f, bytes->bytes, &e))
            pack->offsets[pack->count++] = e.offset_bytes;
        else
            r = bad_record(f, pack->number, &e, err);
    }
    f->result.chunks += pack->count;
    return r < 0 ? r : scan.damaged_runs > 0 ? (int)scan.first_damage : 0;
}

/* What the footer names and is not among the good records. */
static int check_footer(struct blob_fsck *f, const struct fsck_pack *pack, const uint8_t *footer,
                        uint32_t count, struct err *err)
{
    for (uint32_t k = 0; k < count; k++) {
        struct pack_entry e;
        pack_footer_entry(footer, k, &e);
        int r = is_among(pack, e.offset_bytes) ? 0 : bad_record(f, pack->number, &e, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* A trailer that fits, and the footer before it: the place of the footer in `bytes`, or -EBADMSG. */
static int64_t find_footer(uint32_t number, const struct buf *bytes, struct pack_trailer *trailer)
{
    if (bytes->len_bytes < PACK_TRAILER_BYTES)
        return -EBADMSG;
    int r = pack_trailer_decode(bytes->bytes + bytes->len_bytes - PACK_TRAILER_BYTES, bytes->len_bytes,
                                number, trailer);
    if (r == 0)
        r = pack_footer_check(bytes->bytes + trailer->records_end, trailer);
    return r < 0 ? r : (int64_t)trailer->records_end;
}

/* `written_bytes`, `entries`: of one that grows, else 0. */
static int check_bytes(struct blob_fsck *f, struct fsck_pack *pack, const struct buf *bytes,
                       uint32_t written_bytes, const struct buf *entries, struct err *err)
{
    struct pack_trailer trailer = {0};
    int64_t footer_at = -EBADMSG;
    size_t end = bytes->len_bytes;
    if (written_bytes > 0)
        end = written_bytes < end ? written_bytes : end;
    else
        footer_at = find_footer(pack->number, bytes, &trailer);
    if (footer_at >= 0)
        end = (size_t)footer_at;
    int first_damage = check_records(f, pack, bytes, end, err);
    if (first_damage < 0)
        return first_damage;
    struct blob_fsck_event event = {.fault = BLOB_FSCK_FOOTER, .pack = pack->number};
    if (footer_at >= 0)
        return check_footer(f, pack, bytes->bytes + footer_at, trailer.count, err);
    if (written_bytes > 0)
        return check_footer(f, pack, entries->bytes, (uint32_t)(entries->len_bytes / PACK_ENTRY_BYTES), err);
    fsck_tell(f, &event);
    event.fault = BLOB_FSCK_BYTES;
    event.offset_bytes = (uint32_t)first_damage;
    if (first_damage > 0)
        fsck_tell(f, &event);
    return 0;
}

int fsck_check_pack(struct blob_fsck *f, struct fsck_pack *pack, struct err *err)
{
    OWNED_BUF struct buf bytes = BUF_EMPTY;
    OWNED_BUF struct buf entries = BUF_EMPTY;
    uint32_t written_bytes = 0;
    int r = is_open(f, pack->number, &written_bytes, &entries);
    if (r >= 0)
        r = read_pack(f, pack->number, &bytes);
    if (r == -ENOENT)
        return 0;
    if (r == -ENOMEM)
        return err_sys(err, ENOMEM, "packs/%016" PRIx32 ".pack in the store cannot be checked", pack->number);
    if (r < 0) {
        fsck_tell(
            f, &(struct blob_fsck_event){.fault = BLOB_FSCK_UNREADABLE, .pack = pack->number, .error = -r});
        return 0;
    }
    f->result.packs++;
    f->result.bytes += bytes.len_bytes;
    return check_bytes(f, pack, &bytes, written_bytes, &entries, err);
}

int64_t fsck_read_footer(struct blob_fsck *f, uint32_t number, struct buf *out, struct err *err)
{
    struct pack_trailer trailer = {0};
    OWNED_READER reader = PACK_READER_NONE;
    int opened = pack_reader_open(&f->store->io, number, &reader);
    int64_t size = opened < 0 ? opened : pack_reader_size(&reader);
    if (size < 0)
        return 0;
    int r = store_read_footer(&reader, (uint64_t)size, out, &trailer, err);
    return r <= 0 ? r : (int64_t)trailer.count;
}

int fsck_recover(struct blob_fsck *f, uint32_t number, const struct pack_entry *e, struct err *err)
{
    struct blob_store *store = f->store;
    const struct index_place place = {.pack = number,
                                      .offset_bytes = e->offset_bytes,
                                      .stored_bytes = e->stored_bytes,
                                      .raw_bytes = e->raw_bytes};
    OWNED uint8_t *record = malloc(BLOB_RECORD_HEADER_BYTES + (size_t)e->stored_bytes);
    struct blob_id id;
    if (!record)
        return err_sys(err, ENOMEM, "a chunk cannot be recovered");
    /* As a new record: the next start takes the latest place, which the bad one was. */
    if (blob_store_has(store, &e->id) || store_check_record(store, &e->id, &place, record, f->room) < 0)
        return 0;
    int r = blob_store_put(store, NULL, f->room, e->raw_bytes, &id, err);
    if (r <= 0)
        return r;
    f->result.recovered++;
    fsck_tell(
        f, &(struct blob_fsck_event){
               .fault = BLOB_FSCK_RECOVERED, .pack = number, .offset_bytes = e->offset_bytes, .id = e->id});
    return 0;
}
