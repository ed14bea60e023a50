/*
 * Where a file is cut into chunks: content-defined, integer-only, so that the same bytes are cut alike
 * whatever the read sizes, threads or CPU. The cuts are part of the format (FORMAT.md, "Chunking"). Pure, any
 * thread.
 */
#ifndef BLOB_CUT_H
#define BLOB_CUT_H

#include <stddef.h>
#include <stdint.h>

#define BLOB_CHUNK_MIN_BYTES (64u << 10)     /* but the last one of a run of data */
#define BLOB_CHUNK_NORMAL_BYTES (160u << 10) /* cuts are rarer before it than after it */
#define BLOB_CHUNK_MAX_BYTES (256u << 10)
#define BLOB_WHOLE_MAX_BYTES BLOB_CHUNK_MIN_BYTES /* files up to this size are one chunk */

/*
 * The length of the first chunk of `bytes`. Unless these are the last bytes of their run of data, `len_bytes`
 * must be at least BLOB_CHUNK_MAX_BYTES, so that the answer cannot depend on how much was read. 0 only for no
 * bytes.
 */
size_t blob_cut(const uint8_t *bytes, size_t len_bytes);

#endif
