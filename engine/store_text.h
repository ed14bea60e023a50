/* What the store is, for /store/stats (engine.h's engine_show_store), and what its opening mended. */
#ifndef ENGINE_STORE_TEXT_H
#define ENGINE_STORE_TEXT_H

#include "base/buf.h"
#include "blob/store.h"

#define ENGINE_STORE_FORMAT 1 /* of STORE as a whole; its parts have versions of their own */

/* A line for each thing that was mended; false: nothing was. */
bool store_show_mends(const struct blob_store *store, struct buf *out);

#endif
