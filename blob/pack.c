#include "pack.h"

#include <string.h>

/* "bladPACK" and "bladFOOT": they and the version behind them never move. */
static const uint8_t header_magic[8] = {'b', 'l', 'a', 'd', 'P', 'A', 'C', 'K'};
static const uint8_t trailer_magic[8] = {'b', 'l', 'a', 'd', 'F', 'O', 'O', 'T'};

#define HEADER_AT_VERSION 8
#define HEADER_AT_ZERO 12
#define HEADER_AT_NUMBER 16
#define HEADER_AT_CHECK 24

#define TRAILER_AT_VERSION 0
#define TRAILER_AT_COUNT 4
#define TRAILER_AT_RECORDS_END 8
#define TRAILER_AT_ZERO 12
#define TRAILER_AT_NUMBER 16
#define TRAILER_AT_CHECK 24 /* over the entries and the trailer before it */
#define TRAILER_AT_MAGIC 32

#define ENTRY_AT_OFFSET 16
#define ENTRY_AT_STORED 20
#define ENTRY_AT_RAW 24

void pack_header_encode(uint32_t number, uint8_t out[PACK_HEADER_BYTES])
{
    memcpy(out, header_magic, sizeof(header_magic));
    le32_to(out + HEADER_AT_VERSION, PACK_VERSION);
    le32_to(out + HEADER_AT_ZERO, 0);
    le64_to(out + HEADER_AT_NUMBER, number);
    le64_to(out + HEADER_AT_CHECK, blob_check_of(out, HEADER_AT_CHECK));
}

int pack_header_check(const uint8_t *bytes, size_t len_bytes, uint32_t number)
{
    if (len_bytes < PACK_HEADER_BYTES || memcmp(bytes, header_magic, sizeof(header_magic)) != 0 ||
        le64_at(bytes + HEADER_AT_CHECK) != blob_check_of(bytes, HEADER_AT_CHECK))
        return -EBADMSG;
    if (le32_at(bytes + HEADER_AT_VERSION) > PACK_VERSION)
        return -EPROTONOSUPPORT;
    return le64_at(bytes + HEADER_AT_NUMBER) == number ? 0 : -EBADMSG;
}

void pack_footer_add(struct buf *entries, const struct pack_entry *entry)
{
    buf_put(entries, entry->id.bytes, BLOB_ID_BYTES);
    buf_put_u32(entries, entry->offset_bytes);
    buf_put_u32(entries, entry->stored_bytes);
    buf_put_u32(entries, entry->raw_bytes);
}

void pack_footer_close(struct buf *entries, uint32_t number, uint32_t records_end)
{
    uint32_t count = (uint32_t)(entries->len_bytes / PACK_ENTRY_BYTES);
    buf_put_u32(entries, PACK_VERSION);
    buf_put_u32(entries, count);
    buf_put_u32(entries, records_end);
    buf_put_u32(entries, 0);
    buf_put_u64(entries, number);
    if (entries->error)
        return;
    buf_put_u64(entries, blob_check_of(entries->bytes, entries->len_bytes));
    buf_put(entries, trailer_magic, sizeof(trailer_magic));
}

int pack_trailer_decode(const uint8_t trailer[PACK_TRAILER_BYTES], uint64_t pack_bytes, uint32_t number,
                        struct pack_trailer *out)
{
    if (memcmp(trailer + TRAILER_AT_MAGIC, trailer_magic, sizeof(trailer_magic)) != 0 ||
        le64_at(trailer + TRAILER_AT_NUMBER) != number)
        return -EBADMSG;
    struct pack_trailer t = {
        .version = le32_at(trailer + TRAILER_AT_VERSION),
        .count = le32_at(trailer + TRAILER_AT_COUNT),
        .records_end = le32_at(trailer + TRAILER_AT_RECORDS_END),
    };
    if (t.count > PACK_ENTRIES_MAX || t.records_end < PACK_HEADER_BYTES ||
        t.records_end > PACK_RECORDS_MAX_BYTES)
        return -EBADMSG;
    t.footer_bytes = (size_t)t.count * PACK_ENTRY_BYTES + PACK_TRAILER_BYTES;
    if (t.records_end + t.footer_bytes != pack_bytes)
        return -EBADMSG;
    *out = t;
    return 0;
}

void pack_footer_entry(const uint8_t *footer, uint32_t k, struct pack_entry *out)
{
    const uint8_t *at = footer + (size_t)k * PACK_ENTRY_BYTES;
    memcpy(out->id.bytes, at, BLOB_ID_BYTES);
    out->offset_bytes = le32_at(at + ENTRY_AT_OFFSET);
    out->stored_bytes = le32_at(at + ENTRY_AT_STORED);
    out->raw_bytes = le32_at(at + ENTRY_AT_RAW);
}

int pack_footer_check(const uint8_t *footer, const struct pack_trailer *trailer)
{
    size_t checked = trailer->footer_bytes - (PACK_TRAILER_BYTES - TRAILER_AT_CHECK);
    if (blob_check_of(footer, checked) != le64_at(footer + checked))
        return -EBADMSG;
    if (trailer->version > PACK_VERSION)
        return -EPROTONOSUPPORT;

    uint32_t free_from = PACK_HEADER_BYTES;
    for (uint32_t k = 0; k < trailer->count; k++) {
        struct pack_entry e;
        pack_footer_entry(footer, k, &e);
        if (e.offset_bytes < free_from || e.offset_bytes > trailer->records_end || e.raw_bytes == 0 ||
            e.raw_bytes > BLOB_CHUNK_MAX_BYTES || e.stored_bytes == 0 || e.stored_bytes > e.raw_bytes ||
            trailer->records_end - e.offset_bytes < BLOB_RECORD_HEADER_BYTES + e.stored_bytes)
            return -EBADMSG;
        free_from = e.offset_bytes + BLOB_RECORD_HEADER_BYTES + e.stored_bytes;
    }
    return 0;
}

/* The next place at or behind `from` where a record may begin, or `len_bytes`. */
static size_t next_magic(const uint8_t *bytes, size_t len_bytes, size_t from)
{
    const uint8_t *found = memmem(bytes + from, len_bytes - from, BLOB_RECORD_MAGIC, 4);
    return found ? (size_t)(found - bytes) : len_bytes;
}

static bool content_has_its_id(const struct blob_secret *secret, const struct blob_record *record,
                               uint8_t *room)
{
    if (blob_expand(record->codec, record->payload, record->stored_bytes, room, record->raw_bytes) < 0)
        return false;
    struct blob_id id = blob_id_of(secret, room, record->raw_bytes);
    return blob_id_compare(&id, &record->id) == 0;
}

int pack_scan(const struct blob_secret *secret, const uint8_t *bytes, size_t len_bytes, struct buf *entries,
              struct pack_scan *out)
{
    OWNED uint8_t *room = malloc(BLOB_CHUNK_MAX_BYTES);
    if (!room)
        return -ENOMEM;

    struct pack_scan scan = {.records_end = PACK_HEADER_BYTES};
    bool damage_seen = false;
    for (size_t at = PACK_HEADER_BYTES; at < len_bytes;) {
        struct blob_record record;
        int whole = blob_record_decode(bytes + at, len_bytes - at, &record);
        if (whole < 0 || (damage_seen && !content_has_its_id(secret, &record, room))) {
            damage_seen = true;
            at = next_magic(bytes, len_bytes, at + 1);
            continue;
        }
        if (at > scan.records_end) {
            if (scan.damaged_runs++ == 0)
                scan.first_damage = scan.records_end;
            scan.damaged_bytes += (uint32_t)at - scan.records_end;
        }
        struct pack_entry entry = {.id = record.id,
                                   .offset_bytes = (uint32_t)at,
                                   .stored_bytes = record.stored_bytes,
                                   .raw_bytes = record.raw_bytes};
        pack_footer_add(entries, &entry);
        at += (size_t)whole;
        scan.records_end = (uint32_t)at;
    }
    if (entries->error)
        return entries->error;
    *out = scan;
    return 0;
}
