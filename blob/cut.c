/*
 * A gear hash with normalised chunking (Xia et al., FastCDC, USENIX ATC 2016, and the two bytes a step of its
 * 2020 sequel): a cut is where the top bits of the hash are zero, more bits before the average length than
 * after it, so that lengths gather there.
 *
 * The hash of a place depends on the 64 bytes before it only: an older byte was shifted out.
 */
#include "blob/cut.h"

#include <stdbool.h>

#include "gear.h"

#define WINDOW_BYTES 64
#define TOP_BITS(n) (~UINT64_C(0) << (64 - (n)))
#define EARLY_MASK TOP_BITS(18) /* up to the average: one cut in 256 KiB */
#define LATE_MASK TOP_BITS(14)  /* beyond it: one in 16 KiB */

_Static_assert(BLOB_CHUNK_MIN_BYTES >= WINDOW_BYTES, "the window fits before the first place for a cut");
_Static_assert(((BLOB_CHUNK_AVG_BYTES - BLOB_CHUNK_MIN_BYTES) & 1) == 0, "two bytes a step");
_Static_assert(BLOB_WHOLE_MAX_BYTES >= BLOB_CHUNK_MIN_BYTES, "what is searched has a minimum");

/*
 * Goes on from `*at` to `end`, two bytes a step, so that the chain of dependent additions is half as long.
 * True when a cut was found: `*at` is then the chunk's length. Else `*at` is `end`, or one less.
 */
static inline bool search(const uint8_t *bytes, size_t *at, size_t end, uint64_t *hash, uint64_t mask)
{
    uint64_t h = *hash;
    size_t i = *at;
    for (; i + 2 <= end; i += 2) {
        uint64_t first = gear[bytes[i]];
        uint64_t second = gear[bytes[i + 1]];
        uint64_t middle = (h << 1) + first;
        h = (h << 2) + (first << 1) + second;
        if ((middle & mask) == 0) {
            *at = i + 1;
            return true;
        }
        if ((h & mask) == 0) {
            *at = i + 2;
            return true;
        }
    }
    *at = i;
    *hash = h;
    return false;
}

size_t blob_cut(const uint8_t *bytes, size_t len_bytes)
{
    if (len_bytes <= BLOB_WHOLE_MAX_BYTES)
        return len_bytes;

    size_t end = len_bytes < BLOB_CHUNK_MAX_BYTES ? len_bytes : BLOB_CHUNK_MAX_BYTES;
    uint64_t hash = 0;
    for (size_t i = BLOB_CHUNK_MIN_BYTES - WINDOW_BYTES; i < BLOB_CHUNK_MIN_BYTES; i++)
        hash = (hash << 1) + gear[bytes[i]];

    size_t at = BLOB_CHUNK_MIN_BYTES;
    if (search(bytes, &at, BLOB_CHUNK_AVG_BYTES, &hash, EARLY_MASK) ||
        search(bytes, &at, end, &hash, LATE_MASK))
        return at;
    return end; /* an odd last byte is the end anyway */
}
