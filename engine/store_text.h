/* What the store is, for /store/stats: engine.h's engine_show_store. */
#ifndef ENGINE_STORE_TEXT_H
#define ENGINE_STORE_TEXT_H

#define ENGINE_STORE_FORMAT 1 /* of STORE as a whole; its parts have versions of their own */

#endif
