/*
 * The bytes of a pack: header, records, and once it is full a footer that lists them. FORMAT.md, "Packs",
 * gives every one. Pure: what comes in may be any bytes at all.
 */
#ifndef BLOB_PACK_H
#define BLOB_PACK_H

#include <stdbool.h>

#include "base/buf.h"
#include "blob/record.h"

#define PACK_VERSION 1
#define PACK_HEADER_BYTES 32
#define PACK_RECORDS_MAX_BYTES (16u << 20) /* header and records: an object of an object store */
#define PACK_ENTRY_BYTES 28
#define PACK_TRAILER_BYTES 40
#define PACK_ENTRIES_MAX (PACK_RECORDS_MAX_BYTES / (BLOB_RECORD_HEADER_BYTES + 1))
#define PACK_FILE_MAX_BYTES                                                                                  \
    (PACK_RECORDS_MAX_BYTES + PACK_ENTRIES_MAX * PACK_ENTRY_BYTES + PACK_TRAILER_BYTES)

/* Where a record lies and how long it is; enough to read it and to count it. */
struct pack_entry {
    struct blob_id id;
    uint32_t offset_bytes; /* of the record's header in the pack */
    uint32_t stored_bytes;
    uint32_t raw_bytes;
};

void pack_header_encode(uint32_t number, uint8_t out[PACK_HEADER_BYTES]);
/* 0; -EPROTONOSUPPORT: whole, of a newer version; -EBADMSG: damaged, of another pack, or none. */
int pack_header_check(const uint8_t *bytes, size_t len_bytes, uint32_t number) MUST_CHECK;

/* Appends an entry to the list that a footer is made of. */
void pack_footer_add(struct buf *entries, const struct pack_entry *entry);
/* Appends the trailer, which makes the list a footer. `records_end` is the footer's own place. */
void pack_footer_close(struct buf *entries, uint32_t number, uint32_t records_end);

struct pack_trailer {
    uint32_t version;
    uint32_t count;
    uint32_t records_end;
    size_t footer_bytes; /* entries and trailer */
};

/*
 * Looks at the last bytes of a pack of `pack_bytes`: -EBADMSG when they are no trailer that fits,
 * -EPROTONOSUPPORT when it is whole and of a newer version. The footer's checksum is not looked at yet.
 */
int pack_trailer_decode(const uint8_t trailer[PACK_TRAILER_BYTES], uint64_t pack_bytes, uint32_t number,
                        struct pack_trailer *out) MUST_CHECK;
/*
 * Checks the whole footer: its checksum, and that every entry lies within the records, behind the one before
 * it. -EBADMSG else. Afterwards pack_footer_entry gives entries 0 to count - 1.
 */
int pack_footer_check(const uint8_t *footer, const struct pack_trailer *trailer) MUST_CHECK;
void pack_footer_entry(const uint8_t *footer, uint32_t k, struct pack_entry *out);

/* What a scan of a pack without a footer found. */
struct pack_scan {
    uint32_t records_end;   /* behind the last good record: what follows is a torn tail */
    uint32_t damaged_bytes; /* between good records */
    uint32_t damaged_runs;
    uint32_t first_damage; /* the place of the first run */
};

/*
 * Goes through the records of a pack's first `len_bytes` (its header is skipped) and appends an entry for
 * each good one to `entries`. Over damage it goes on at the next bytes that are a good record. As content may
 * itself look like records, everything behind damage is only believed when its content has its id. 0 or
 * -ENOMEM.
 */
int pack_scan(const struct blob_secret *secret, const uint8_t *bytes, size_t len_bytes, struct buf *entries,
              struct pack_scan *out) MUST_CHECK;

#endif
