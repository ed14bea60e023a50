/*
 * The chunks of a store: packs on disk and the index of them in memory. FORMAT.md gives every byte.
 * All functions are safe from any thread; what blocks (on disk) says so.
 */
#ifndef BLOB_STORE_H
#define BLOB_STORE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "blob/id.h"
#include "blob/record.h"

struct blob_store;

struct blob_store_stats {
    uint64_t chunks, packs;
    uint64_t raw_bytes, stored_bytes; /* of all chunks, once each */
    uint64_t bad_chunks;              /* found bad since the start and set aside */
    uint64_t cut_bytes;               /* torn tails cut off at the start */
};

/*
 * Opens the packs below `dirfd` (STORE; borrowed for the store's life), making the secret and the packs'
 * directory in an empty one. `level`: zstd's. A torn tail of the last pack is cut off. Blocks: it reads every
 * pack's index. -EPROTONOSUPPORT: a newer format.
 */
int blob_store_open(int dirfd, int level, struct blob_store **out, struct err *err) MUST_CHECK;
/* What the opening mended of a pack, as a kill or damage had left it. */
struct blob_store_mend {
    uint64_t pack;
    uint64_t cut_bytes;                   /* behind its last whole record */
    uint32_t left_out_bytes, left_out_at; /* between records, and the first place of them */
    bool header, footer;                  /* made anew */
};
/* How many there were; `out` is theirs and lives as long as the store. */
size_t blob_store_mends(const struct blob_store *store, const struct blob_store_mend **out);
/* Nothing may be using it. What was not synced may be lost. */
void blob_store_close(struct blob_store *store);

/*
 * Stores a chunk of 1 to BLOB_CHUNK_MAX_BYTES, unless its content is there. Compresses on the caller's thread
 * with the caller's `c` (NULL: one of the store's own, of its level). Returns the record bytes that were
 * added (0: it was there) and fills `id`. Not yet durable: see blob_store_sync. Blocks on writing.
 */
int blob_store_put(struct blob_store *store, struct blob_compressor *c, const void *raw, uint32_t raw_bytes,
                   struct blob_id *id, struct err *err) MUST_CHECK;

/*
 * Every put that returned before this call is on disk when it returns 0. Blocks. After -ENOSPC the store goes
 * on when there is room again; a disk that failed to sync (-EIO) ends puts and syncs until the next open.
 */
int blob_store_sync(struct blob_store *store, struct err *err) MUST_CHECK;

bool blob_store_has(struct blob_store *store, const struct blob_id *id);
/* The same, and if it is there a collection under way (blob/gc.h) does not remove it, as with a put. */
bool blob_store_touch(struct blob_store *store, const struct blob_id *id);

/*
 * Around what puts the chunks of an image that is being made: what is put or touched meanwhile, by anybody,
 * stays in collections that begin before the last of them ends. It saves work; that nothing is missing in the
 * end is what blob_capture_finish sees to. 16 to 32 bytes of memory a chunk.
 */
void blob_store_capture_begin(struct blob_store *store);
void blob_store_capture_end(struct blob_store *store);

/*
 * Around what makes an image one that stays: from blob_capture_finish, which makes sure that its chunks are
 * there, to when it is among the roots of collections. No collection begins meanwhile; several threads may be
 * in it at once. The thread that began ends.
 */
int blob_store_commit_begin(struct blob_store *store) MUST_CHECK;
void blob_store_commit_end(struct blob_store *store);

/* On a full disk: gives up a part of the room that is kept for making room. False: nothing is left of it.
 * The next collection or opening takes it back. */
bool blob_store_give_room(struct blob_store *store);

/*
 * Reads, expands and checks a chunk: `raw` has room for `raw_bytes`, its exact size. -ENOENT: not in the
 * store; -EIO: it is damaged, was set aside (a later put of that content stores it again) and is named in the
 * sentence. Blocks.
 */
int blob_store_get(struct blob_store *store, const struct blob_id *id, void *raw, uint32_t raw_bytes,
                   struct err *err) MUST_CHECK;

/* Where a record lies, for who reads packs through a ring of its own. What is not in its pack's file yet is
 * written there first: -ENOSPC and the like. */
struct blob_place {
    uint64_t pack;
    uint32_t offset_bytes;
    uint32_t record_bytes;
};
int blob_store_locate(struct blob_store *store, const struct blob_id *id, struct blob_place *out) MUST_CHECK;

/* An fd of a pack, borrowed until blob_store_pack_put: it stays readable meanwhile. -ENOENT: the pack is
 * gone, perhaps collected since it was named: what was wanted of it may lie elsewhere now, locate it again.
 * May open a file. */
int blob_store_pack_get(struct blob_store *store, uint64_t pack, struct err *err) MUST_CHECK;
void blob_store_pack_put(struct blob_store *store, uint64_t pack);
/* Reads a range of a pack, where blob_store_pack_get is -EOPNOTSUPP: packs that are no files. The bytes,
 * fewer at its end only, or -errno. Blocks. */
ssize_t blob_store_pack_read(struct blob_store *store, uint64_t pack, void *out, size_t len_bytes,
                             uint64_t offset) MUST_CHECK;

/* Tells that the record of `id` read from a pack was damaged: it is read again, and if that is so, set aside
 * and counted. Blocks. */
void blob_store_set_aside(struct blob_store *store, const struct blob_id *id);

void blob_store_stats(struct blob_store *store, struct blob_store_stats *out);
const struct blob_secret *blob_store_secret(const struct blob_store *store);

/*
 * Objects longer than a chunk (images): cut, stored as chunks, and a list of these as one chunk more, whose
 * id is the object's. Equal objects have equal ids. Loading appends to `out`; -EFBIG over `max_bytes`.
 */
int blob_object_save(struct blob_store *store, struct blob_compressor *c, const void *bytes, size_t len_bytes,
                     struct blob_id *id, struct err *err) MUST_CHECK;
int blob_object_load(struct blob_store *store, const struct blob_id *id, size_t max_bytes, struct buf *out,
                     struct err *err) MUST_CHECK;

/* A bounded cache of expanded chunks for who reads trees in small pieces. */
struct blob_cache;
int blob_cache_new(struct blob_store *store, size_t max_bytes, struct blob_cache **out) MUST_CHECK;
void blob_cache_free(struct blob_cache *cache);
/* Copies `len_bytes` from `offset_bytes` of the chunk into `out`. Blocks when it must be read. */
int blob_cache_read(struct blob_cache *cache, const struct blob_id *id, uint32_t raw_bytes,
                    uint32_t offset_bytes, void *out, uint32_t len_bytes, struct err *err) MUST_CHECK;

#endif
