/*
 * Whole packs: header, footer and scan. The first byte says whether checksums are put right first: 1 the
 * header's, 2 the footer's, 4 those of the records that follow one another from the start.
 */
#include <string.h>

#include "fuzz.h"
#include "pack.h"

#define NUMBER 7
#define RECORD_AT_CHECK 4
#define RECORD_AT_CODEC 12
#define RECORD_AT_STORED 20
#define TRAILER_AT_COUNT 4
#define TRAILER_AT_CHECK 24

static void mend_records(uint8_t *bytes, size_t len_bytes)
{
    for (size_t at = PACK_HEADER_BYTES; len_bytes - at >= BLOB_RECORD_HEADER_BYTES;) {
        size_t whole = BLOB_RECORD_HEADER_BYTES + (size_t)le32_at(bytes + at + RECORD_AT_STORED);
        if (whole > len_bytes - at || memcmp(bytes + at, BLOB_RECORD_MAGIC, 4) != 0)
            return;
        le64_to(bytes + at + RECORD_AT_CHECK,
                blob_check_of(bytes + at + RECORD_AT_CODEC, whole - RECORD_AT_CODEC));
        at += whole;
    }
}

static void mend_footer(uint8_t *bytes, size_t len_bytes)
{
    uint8_t *trailer = bytes + len_bytes - PACK_TRAILER_BYTES;
    uint64_t entries = (uint64_t)le32_at(trailer + TRAILER_AT_COUNT) * PACK_ENTRY_BYTES;
    if (entries > len_bytes - PACK_TRAILER_BYTES)
        return;
    uint8_t *footer = trailer - entries;
    le64_to(trailer + TRAILER_AT_CHECK, blob_check_of(footer, (size_t)entries + TRAILER_AT_CHECK));
}

/* Entries, wherever they are from, lie within the records, one behind the other. */
static void check_entries(const uint8_t *entries, size_t count, uint64_t records_end)
{
    uint64_t free_from = PACK_HEADER_BYTES;
    for (size_t k = 0; k < count; k++) {
        struct pack_entry e;
        pack_footer_entry(entries, (uint32_t)k, &e);
        MUST(e.offset_bytes >= free_from);
        MUST(e.raw_bytes > 0 && e.raw_bytes <= BLOB_CHUNK_MAX_BYTES);
        MUST(e.stored_bytes > 0 && e.stored_bytes <= e.raw_bytes);
        free_from = (uint64_t)e.offset_bytes + BLOB_RECORD_HEADER_BYTES + e.stored_bytes;
        MUST(free_from <= records_end);
    }
}

static void read_footer(const uint8_t *bytes, size_t len_bytes)
{
    struct pack_trailer t;
    if (len_bytes < PACK_TRAILER_BYTES ||
        pack_trailer_decode(bytes + len_bytes - PACK_TRAILER_BYTES, len_bytes, NUMBER, &t) < 0)
        return;
    MUST(t.footer_bytes <= len_bytes);
    const uint8_t *footer = bytes + len_bytes - t.footer_bytes;
    if (pack_footer_check(footer, &t) == 0)
        check_entries(footer, t.count, t.records_end);
}

static void scan(const uint8_t *bytes, size_t len_bytes)
{
    struct blob_secret secret;
    memset(&secret, 3, sizeof(secret));
    OWNED_BUF struct buf entries = BUF_EMPTY;
    struct pack_scan found;
    if (pack_scan(&secret, bytes, len_bytes, &entries, &found) < 0)
        return;
    MUST(found.records_end <= (len_bytes > PACK_HEADER_BYTES ? len_bytes : PACK_HEADER_BYTES));
    MUST(entries.len_bytes % PACK_ENTRY_BYTES == 0);
    check_entries(entries.bytes, entries.len_bytes / PACK_ENTRY_BYTES, found.records_end);

    /* What is cut off behind the records does not change what a scan finds. */
    OWNED_BUF struct buf again = BUF_EMPTY;
    struct pack_scan second;
    size_t kept = found.records_end < len_bytes ? found.records_end : len_bytes;
    if (pack_scan(&secret, bytes, kept, &again, &second) < 0)
        return;
    MUST(second.records_end == found.records_end && again.len_bytes == entries.len_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    if (len_bytes < 1 || len_bytes > PACK_RECORDS_MAX_BYTES)
        return 0;
    uint8_t how = bytes[0];
    size_t n = len_bytes - 1;
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy)
        return 0;
    memcpy(copy, bytes + 1, n);
    if (how & 1 && n >= PACK_HEADER_BYTES)
        le64_to(copy + 24, blob_check_of(copy, 24));
    if (how & 4 && n >= PACK_HEADER_BYTES)
        mend_records(copy, n);
    if (how & 2 && n >= PACK_TRAILER_BYTES)
        mend_footer(copy, n);
    int r = pack_header_check(copy, n, NUMBER);
    MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
    read_footer(copy, n);
    scan(copy, n);
    free(copy);
    return 0;
}
