#include "blob/id.h"

#include <string.h>
#include <xxhash.h>

_Static_assert(BLOB_SECRET_BYTES == 192, "XXH3's default secret size, which FORMAT.md promises");
_Static_assert(sizeof(XXH128_canonical_t) == BLOB_ID_BYTES, "an id is a canonical XXH3-128");

struct blob_id blob_id_of(const struct blob_secret *secret, const void *bytes, size_t len_bytes)
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical,
                             XXH3_128bits_withSecret(bytes, len_bytes, secret->bytes, BLOB_SECRET_BYTES));
    struct blob_id id;
    memcpy(id.bytes, canonical.digest, sizeof(id.bytes));
    return id;
}

uint64_t blob_check_of(const void *bytes, size_t len_bytes)
{
    return XXH3_64bits(bytes, len_bytes);
}

int blob_id_compare(const struct blob_id *a, const struct blob_id *b)
{
    return memcmp(a->bytes, b->bytes, BLOB_ID_BYTES);
}

void blob_id_format(const struct blob_id *id, char hex[2 * BLOB_ID_BYTES + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < BLOB_ID_BYTES; i++) {
        hex[2 * i] = digits[id->bytes[i] >> 4];
        hex[2 * i + 1] = digits[id->bytes[i] & 15];
    }
    hex[2 * BLOB_ID_BYTES] = '\0';
}
