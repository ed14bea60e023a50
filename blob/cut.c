#include "blob/cut.h"

#include "cut_scan.h"

#define EARLY_BITS (19 - CUT_FIRST_BITS) /* up to the normal length: one cut in 512 KiB */
#define LATE_BITS (15 - CUT_FIRST_BITS)  /* beyond it: one in 32 KiB */

_Static_assert(BLOB_CHUNK_MIN_BYTES >= CUT_WINDOW_BYTES, "the window fits before the first place for a cut");

size_t cut_with(cut_scan scan, const uint8_t *bytes, size_t len_bytes)
{
    if (len_bytes <= BLOB_CHUNK_MIN_BYTES)
        return len_bytes;
    size_t end = len_bytes < BLOB_CHUNK_MAX_BYTES ? len_bytes : BLOB_CHUNK_MAX_BYTES;
    size_t normal = end < BLOB_CHUNK_NORMAL_BYTES ? end : BLOB_CHUNK_NORMAL_BYTES;
    size_t found = scan(bytes, BLOB_CHUNK_MIN_BYTES, normal, EARLY_BITS);
    if (!found)
        found = scan(bytes, normal, end, LATE_BITS);
    return found ? found : end;
}

size_t blob_cut(const uint8_t *bytes, size_t len_bytes)
{
    return cut_with(cut_scan_best(), bytes, len_bytes);
}
