/*
 * One chunk as it lies in a pack and, header aside, as it goes over the wire: a small header, then the
 * content, compressed with zstd or, where that does not pay, as it is. Pure codec, any thread.
 */
#ifndef BLOB_RECORD_H
#define BLOB_RECORD_H

#include <stdint.h>

#include "base/err.h"
#include "blob/cut.h"
#include "blob/id.h"

enum blob_codec { BLOB_CODEC_RAW = 0, BLOB_CODEC_ZSTD = 1 };

#define BLOB_RECORD_MAGIC "bREC" /* a record's first four bytes */
#define BLOB_RECORD_HEADER_BYTES 40
#define BLOB_STORED_MAX_BYTES BLOB_CHUNK_MAX_BYTES /* a payload is never longer than its content */
#define BLOB_RECORD_MAX_BYTES (BLOB_RECORD_HEADER_BYTES + BLOB_STORED_MAX_BYTES)

struct blob_record {
    struct blob_id id;
    enum blob_codec codec;
    uint32_t raw_bytes;
    uint32_t stored_bytes;
    const uint8_t *payload; /* a view of the input */
};

struct blob_compressor; /* zstd contexts of one thread */
int blob_compressor_new(int level, struct blob_compressor **out) MUST_CHECK;
void blob_compressor_free(struct blob_compressor *c);

/* Header and payload into `out` (BLOB_RECORD_MAX_BYTES); returns the record's length, or -errno. */
int blob_record_encode(struct blob_compressor *c, const struct blob_id *id, const void *raw,
                       uint32_t raw_bytes, uint8_t *out) MUST_CHECK;

/*
 * Checks the record at `bytes` (its lengths, and the checksum over header and payload) and gives a view of
 * it. Returns the record's whole length, -EBADMSG when it is damaged or is none, -ENODATA when `len_bytes`
 * ends first.
 */
int blob_record_decode(const uint8_t *bytes, size_t len_bytes, struct blob_record *out) MUST_CHECK;

/* The same for bytes that blob_record_decode has found good: their check is not computed again. */
int blob_record_view(const uint8_t *bytes, size_t len_bytes, struct blob_record *out) MUST_CHECK;

/*
 * Gives the content back: exactly `raw_bytes` into `raw`, or -EBADMSG. The caller checks the content against
 * an id or a checksum. `payload` may come from anyone.
 */
int blob_expand(enum blob_codec codec, const void *payload, uint32_t stored_bytes, void *raw,
                uint32_t raw_bytes) MUST_CHECK;

#endif
