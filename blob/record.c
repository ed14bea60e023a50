/* The record's bytes are given in FORMAT.md, "Records". */
#include "blob/record.h"

#include <string.h>

#include "base/buf.h"
#include "compress.h"

#define AT_MAGIC 0
#define AT_CHECK 4
#define AT_CODEC 12 /* from here on everything is under the checksum, the payload included */
#define AT_ZEROS 13
#define AT_RAW_BYTES 16
#define AT_STORED_BYTES 20
#define AT_ID 24

_Static_assert(AT_ID + BLOB_ID_BYTES == BLOB_RECORD_HEADER_BYTES, "the header's fields fill it");

int blob_record_encode(struct blob_compressor *c, const struct blob_id *id, const void *raw,
                       uint32_t raw_bytes, uint8_t *out)
{
    if (raw_bytes == 0 || raw_bytes > BLOB_CHUNK_MAX_BYTES)
        return -EINVAL;

    enum blob_codec codec = BLOB_CODEC_ZSTD;
    int stored = blob_compress(c, raw, raw_bytes, out + BLOB_RECORD_HEADER_BYTES);
    if (stored < 0)
        return stored;
    if (stored == 0) {
        codec = BLOB_CODEC_RAW;
        stored = (int)raw_bytes;
        memcpy(out + BLOB_RECORD_HEADER_BYTES, raw, raw_bytes);
    }
    memcpy(out + AT_MAGIC, BLOB_RECORD_MAGIC, 4);
    out[AT_CODEC] = (uint8_t)codec;
    memset(out + AT_ZEROS, 0, AT_RAW_BYTES - AT_ZEROS);
    le32_to(out + AT_RAW_BYTES, raw_bytes);
    le32_to(out + AT_STORED_BYTES, (uint32_t)stored);
    memcpy(out + AT_ID, id->bytes, BLOB_ID_BYTES);
    int whole = BLOB_RECORD_HEADER_BYTES + stored;
    le64_to(out + AT_CHECK, blob_check_of(out + AT_CODEC, (size_t)whole - AT_CODEC));
    return whole;
}

int blob_record_view(const uint8_t *bytes, size_t len_bytes, struct blob_record *out)
{
    if (len_bytes >= 4 && memcmp(bytes + AT_MAGIC, BLOB_RECORD_MAGIC, 4) != 0)
        return -EBADMSG;
    if (len_bytes < BLOB_RECORD_HEADER_BYTES)
        return -ENODATA;

    uint8_t codec = bytes[AT_CODEC];
    uint32_t raw_bytes = le32_at(bytes + AT_RAW_BYTES);
    uint32_t stored_bytes = le32_at(bytes + AT_STORED_BYTES);
    if (raw_bytes == 0 || raw_bytes > BLOB_CHUNK_MAX_BYTES || stored_bytes == 0 || stored_bytes > raw_bytes)
        return -EBADMSG;
    if (codec != BLOB_CODEC_ZSTD && !(codec == BLOB_CODEC_RAW && stored_bytes == raw_bytes))
        return -EBADMSG;
    if (bytes[AT_ZEROS] || bytes[AT_ZEROS + 1] || bytes[AT_ZEROS + 2])
        return -EBADMSG;
    size_t whole = BLOB_RECORD_HEADER_BYTES + (size_t)stored_bytes;
    if (len_bytes < whole)
        return -ENODATA;

    memcpy(out->id.bytes, bytes + AT_ID, BLOB_ID_BYTES);
    out->codec = (enum blob_codec)codec;
    out->raw_bytes = raw_bytes;
    out->stored_bytes = stored_bytes;
    out->payload = bytes + BLOB_RECORD_HEADER_BYTES;
    return (int)whole;
}

int blob_record_decode(const uint8_t *bytes, size_t len_bytes, struct blob_record *out)
{
    struct blob_record record;
    int whole = blob_record_view(bytes, len_bytes, &record);
    if (whole < 0)
        return whole;
    if (blob_check_of(bytes + AT_CODEC, (size_t)whole - AT_CODEC) != le64_at(bytes + AT_CHECK))
        return -EBADMSG;
    *out = record;
    return whole;
}
