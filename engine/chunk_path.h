/* Which file of an image a chunk belongs to, for sentences. Pure. */
#ifndef ENGINE_CHUNK_PATH_H
#define ENGINE_CHUNK_PATH_H

#include "blob/image.h"

/* "/bin/busybox", cut at the field's size at its front; "" when no file has it. Looks at every extent. */
void chunk_path(const struct blob_image *image, uint32_t chunk, char *out, size_t out_bytes);

#endif
