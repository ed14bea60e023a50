/* What names a piece of content. FORMAT.md says what these ids promise and what they do not. */
#ifndef BLOB_ID_H
#define BLOB_ID_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define BLOB_ID_BYTES 16
#define BLOB_SECRET_BYTES 192 /* XXH3's own secret size */

struct blob_id {
    uint8_t bytes[BLOB_ID_BYTES]; /* canonical (big-endian) XXH3-128 */
};

struct blob_secret {
    uint8_t bytes[BLOB_SECRET_BYTES];
};

/* XXH3-128 with the store's secret (xxHash's XXH3_128bits_withSecret). Pure, any thread. */
struct blob_id blob_id_of(const struct blob_secret *secret, const void *bytes, size_t len_bytes);

/* Plain XXH3-64: against accidents only. It is what goes over the wire. */
uint64_t blob_check_of(const void *bytes, size_t len_bytes);

int blob_id_compare(const struct blob_id *a, const struct blob_id *b);
void blob_id_format(const struct blob_id *id, char hex[2 * BLOB_ID_BYTES + 1]);

#endif
