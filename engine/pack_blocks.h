/*
 * Runs of neighbouring records of the store's packs in memory, read through the ring (at once where the
 * kernel has them in its cache: preadv2(2), RWF_NOWAIT), checked, and shared by all who send them at the same
 * time: blades that load the same image together cost one read and one check. A run that nobody uses stays
 * until its memory is needed; the one used longest ago goes first. The loop's thread.
 */
#ifndef ENGINE_PACK_BLOCKS_H
#define ENGINE_PACK_BLOCKS_H

#include "base/loop.h"
#include "blob/store.h"

#define PACK_BLOCK_BYTES (512u << 10)
#define PACK_BLOCKS 32

struct pack_blocks;

struct pack_block {
    const uint8_t *bytes;
    uint64_t pack;
    uint32_t offset_bytes; /* in the pack */
    uint32_t len_bytes;
    uint32_t good_bytes; /* of its front: whole records, checked */
    bool ready;
    int result; /* once ready: 0 or -errno; -ENODATA: the pack ends before */
};

/* `ready` is called when a read has ended, from the loop. */
int pack_blocks_new(struct loop *loop, struct blob_store *store, void (*ready)(void *arg), void *arg,
                    struct pack_blocks **out, struct err *err) MUST_CHECK;
bool pack_blocks_idle(const struct pack_blocks *blocks); /* no read is under way */
/* Idle, and after loop_free: the kernel may hold its memory until then. NULL is allowed. */
void pack_blocks_free(struct pack_blocks *blocks);

/* The block that holds this record, or will when it is ready; the caller's until pack_block_put. NULL: none.
 */
struct pack_block *pack_blocks_find(struct pack_blocks *blocks, uint64_t pack, uint32_t offset_bytes,
                                    uint32_t record_bytes);
/* A new one, of at most PACK_BLOCK_BYTES, perhaps ready at once. 0 and NULL: all are in use, something is
 * ready or put before one is free. -errno: the pack cannot be opened. */
int pack_blocks_read(struct pack_blocks *blocks, uint64_t pack, uint32_t offset_bytes, uint32_t len_bytes,
                     struct pack_block **out, struct err *err) MUST_CHECK;
void pack_block_put(struct pack_blocks *blocks, struct pack_block *block);

/* From now on every read goes through the ring, as on a disk that is slow: what tests need. */
void pack_blocks_never_at_once(struct pack_blocks *blocks);
uint64_t pack_blocks_read_bytes(const struct pack_blocks *blocks); /* from packs, in all */

#endif
