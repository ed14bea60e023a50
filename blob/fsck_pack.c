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

/* What there is to look at. */
struct look {
    struct buf bytes;       /* of the file; zeros where it cannot be read, */
    int error;              /* 0, or the -errno of the first such place, */
    size_t error_at;        /* which this is */
    bool grows;             /* it still takes records or a footer: */
    uint32_t written_bytes; /* so much of it was written by now, */
    struct buf entries;     /* and what its footer would be */
};

/* What cannot be written (a full disk) is in memory alone, and no fault of the pack's. */
static int look_at_open(struct blob_fsck *f, uint32_t number, struct look *look)
{
    struct blob_store *store = f->store;
    HOLD_LOCK(&store->append_lock);
    for (const struct open_pack *p = store->open; p; p = p->next) {
        if (p->number != number)
            continue;
        int r = p == store->current ? store_flush(store, NULL) : 0;
        look->grows = true;
        look->written_bytes = p->written_bytes;
        buf_put(&look->entries, p->entries.bytes, p->entries.len_bytes);
        return r == -ENOMEM ? r : look->entries.error;
    }
    return 0;
}

/* What there is of it. */
static int read_pack(struct blob_fsck *f, uint32_t number, struct look *look)
{
    OWNED_READER reader = PACK_READER_NONE;
    int r = pack_reader_open(&f->store->io, number, &reader);
    int64_t size = r < 0 ? r : pack_reader_size(&reader);
    if (size < 0)
        return (int)size;
    int64_t most = look->grows ? look->written_bytes : PACK_FILE_MAX_BYTES;
    if (size > most)
        size = most;
    uint8_t *room = buf_room(&look->bytes, (size_t)size + 1);
    if (!room)
        return -ENOMEM;
    look->error = pack_reader_read_around(&reader, room, (size_t)size, &look->error_at);
    buf_grew(&look->bytes, (size_t)size);
    return look->error == -ENOENT ? -ENOENT : 0;
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
    store_set_aside(f->store, &e->id, &place);
    return fsck_bad_chunk(f, &e->id, pack, e->offset_bytes, err);
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

/* What the footer names, of the records that end at `end`, and is not among the good ones. */
static int check_footer(struct blob_fsck *f, const struct fsck_pack *pack, const uint8_t *footer,
                        size_t count, size_t end, struct err *err)
{
    for (size_t k = 0; k < count; k++) {
        struct pack_entry e;
        pack_footer_entry(footer, (uint32_t)k, &e);
        int r = e.offset_bytes >= end || is_among(pack, e.offset_bytes)
                    ? 0
                    : bad_record(f, pack->number, &e, err);
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

static void tell_of_pack(struct blob_fsck *f, uint32_t number, enum blob_fsck_fault fault,
                         size_t offset_bytes, int error)
{
    fsck_tell(f,
              &(struct blob_fsck_event){
                  .fault = fault, .pack = number, .offset_bytes = (uint32_t)offset_bytes, .error = -error});
}

/* What cannot be read is told as that. */
static void check_header(struct blob_fsck *f, uint32_t number, const struct look *look)
{
    if (look->error < 0)
        tell_of_pack(f, number, BLOB_FSCK_UNREADABLE, look->error_at, look->error);
    if (look->error < 0 && look->error_at < PACK_HEADER_BYTES)
        return;
    if (pack_header_check(look->bytes.bytes, look->bytes.len_bytes, number) < 0)
        tell_of_pack(f, number, BLOB_FSCK_HEADER, 0, 0);
}

static int check_bytes(struct blob_fsck *f, struct fsck_pack *pack, const struct look *look, struct err *err)
{
    struct pack_trailer trailer = {0};
    int64_t footer_at = look->grows ? -EBADMSG : find_footer(pack->number, &look->bytes, &trailer);
    size_t end = look->bytes.len_bytes;
    if (footer_at >= 0)
        end = (size_t)footer_at;
    check_header(f, pack->number, look);
    int first_damage = check_records(f, pack, &look->bytes, end, err);
    if (first_damage < 0)
        return first_damage;
    if (footer_at >= 0)
        return check_footer(f, pack, look->bytes.bytes + footer_at, trailer.count, end, err);
    if (look->grows)
        return check_footer(f, pack, look->entries.bytes, look->entries.len_bytes / PACK_ENTRY_BYTES,
                            look->written_bytes, err);
    if (look->error == 0)
        tell_of_pack(f, pack->number, BLOB_FSCK_FOOTER, 0, 0);
    if (look->error == 0 && first_damage > 0)
        tell_of_pack(f, pack->number, BLOB_FSCK_BYTES, (size_t)first_damage, 0);
    return 0;
}

static int check_pack(struct blob_fsck *f, struct fsck_pack *pack, struct look *look, struct err *err)
{
    int r = look_at_open(f, pack->number, look);
    if (r == 0)
        r = read_pack(f, pack->number, look);
    if (r == -ENOENT)
        return 0;
    if (r == -ENOMEM)
        return err_sys(err, ENOMEM, "packs/%016" PRIx32 ".pack in the store cannot be checked", pack->number);
    if (r < 0) {
        tell_of_pack(f, pack->number, BLOB_FSCK_UNREADABLE, 0, r);
        return 0;
    }
    f->result.packs++;
    f->result.bytes += look->bytes.len_bytes;
    return look->grows && look->written_bytes == 0 ? 0 : check_bytes(f, pack, look, err);
}

int fsck_check_pack(struct blob_fsck *f, struct fsck_pack *pack, struct err *err)
{
    struct look look = {.bytes = BUF_EMPTY, .entries = BUF_EMPTY};
    int r = check_pack(f, pack, &look, err);
    buf_free(&look.bytes);
    buf_free(&look.entries);
    return r;
}

/* 0 where there is no footer to be trusted. */
static int64_t read_footer(struct blob_fsck *f, uint32_t number, struct buf *out, struct err *err)
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

/* Of a pack without one: the records that were found good, one that reads otherwise by now left out. */
static int read_records(struct blob_fsck *f, const struct fsck_pack *pack, struct buf *out)
{
    struct look look = {.bytes = BUF_EMPTY, .entries = BUF_EMPTY};
    int r = read_pack(f, pack->number, &look);
    for (uint32_t k = 0; r == 0 && k < pack->count; k++) {
        struct blob_record record;
        uint32_t at = pack->offsets[k];
        if (at >= look.bytes.len_bytes ||
            blob_record_decode(look.bytes.bytes + at, look.bytes.len_bytes - at, &record) < 0)
            continue;
        pack_footer_add(out, &(struct pack_entry){.id = record.id,
                                                  .offset_bytes = at,
                                                  .stored_bytes = record.stored_bytes,
                                                  .raw_bytes = record.raw_bytes});
    }
    buf_free(&look.bytes);
    return r < 0 ? r : out->error;
}

int64_t fsck_read_entries(struct blob_fsck *f, const struct fsck_pack *pack, struct buf *out, struct err *err)
{
    int64_t count = pack->count > 0 ? read_footer(f, pack->number, out, err) : 0;
    if (count != 0 || pack->count == 0)
        return count;
    out->len_bytes = 0;
    if (read_records(f, pack, out) == -ENOMEM)
        return err_sys(err, ENOMEM, "packs/%016" PRIx32 ".pack in the store cannot be checked", pack->number);
    return (int64_t)(out->len_bytes / PACK_ENTRY_BYTES);
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
