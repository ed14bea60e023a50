/*
 * Records. The first byte says how the rest is taken: as it is, with its checksum put right (so that what is
 * behind the checksum is reached), or as a payload that claims some length.
 */
#include <string.h>

#include "base/buf.h"
#include "blob/record.h"
#include "fuzz.h"

#define AT_CHECK 4
#define AT_CODEC 12
#define AT_STORED_BYTES 20

static void expand(enum blob_codec codec, const uint8_t *payload, uint32_t stored_bytes, uint32_t raw_bytes)
{
    uint8_t *raw = malloc(raw_bytes ? raw_bytes : 1); /* exact: a sanitizer watches its end */
    if (!raw)
        return;
    int r = blob_expand(codec, payload, stored_bytes, raw, raw_bytes);
    MUST(r == 0 || r == -EBADMSG || r == -ENOMEM);
    free(raw);
}

static void decode(const uint8_t *bytes, size_t len_bytes)
{
    struct blob_record record;
    int n = blob_record_decode(bytes, len_bytes, &record);
    if (n < 0) {
        MUST(n == -EBADMSG || n == -ENODATA);
        return;
    }
    MUST((size_t)n <= len_bytes && record.stored_bytes <= record.raw_bytes);
    MUST(record.raw_bytes > 0 && record.raw_bytes <= BLOB_CHUNK_MAX_BYTES);
    MUST(record.payload + record.stored_bytes == bytes + n);
    expand(record.codec, record.payload, record.stored_bytes, record.raw_bytes);
}

static void mend(uint8_t *bytes, size_t len_bytes)
{
    if (len_bytes < BLOB_RECORD_HEADER_BYTES)
        return;
    size_t whole = BLOB_RECORD_HEADER_BYTES + (size_t)le32_at(bytes + AT_STORED_BYTES);
    memcpy(bytes, BLOB_RECORD_MAGIC, 4);
    if (whole <= len_bytes)
        le64_to(bytes + AT_CHECK, blob_check_of(bytes + AT_CODEC, whole - AT_CODEC));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    if (len_bytes < 5)
        return 0;
    uint8_t how = bytes[0] % 3;
    if (how == 2) {
        uint32_t raw_bytes = le32_at(bytes + 1) % (BLOB_CHUNK_MAX_BYTES + 2);
        expand((enum blob_codec)(bytes[0] / 3 % 3), bytes + 5, (uint32_t)(len_bytes - 5), raw_bytes);
        return 0;
    }
    size_t n = len_bytes - 1;
    uint8_t *copy = malloc(n);
    if (!copy)
        return 0;
    memcpy(copy, bytes + 1, n);
    if (how == 1)
        mend(copy, n);
    decode(copy, n);
    free(copy);
    return 0;
}
