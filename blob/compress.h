/* What the record codec and the store need of a compressor beyond blob/record.h. */
#ifndef BLOB_COMPRESS_H
#define BLOB_COMPRESS_H

#include "blob/record.h"

/*
 * Compresses into `out` (room for `raw_bytes`). Returns the length, 0 when it would save less than one byte
 * in 32, or -errno.
 */
int blob_compress(struct blob_compressor *c, const void *raw, uint32_t raw_bytes, uint8_t *out) MUST_CHECK;

/* Room for one record (BLOB_RECORD_MAX_BYTES) that lives as long as the compressor. */
uint8_t *blob_compressor_scratch(struct blob_compressor *c);

#endif
