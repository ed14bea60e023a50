/* The inside of a check: fsck.c its order, fsck_pack.c one pack. */
#ifndef BLOB_FSCK_PARTS_H
#define BLOB_FSCK_PARTS_H

#include "blob/fsck.h"
#include "id_set.h"
#include "store_parts.h"

struct fsck_pack {
    uint32_t number, count;
    uint32_t *offsets; /* of the good records, ascending; owned */
};

struct blob_fsck {
    struct blob_store *store;
    const struct blob_fsck_options *options; /* while it runs */
    struct fsck_pack *packs;                 /* by number */
    size_t pack_count;
    uint32_t last_number; /* of any pack when it began */
    uint64_t all_bytes;
    struct id_set bad; /* chunks that were set aside, now or earlier */
    uint8_t *room;     /* BLOB_CHUNK_MAX_BYTES */
    struct blob_fsck_result result;
};

/* A damaged chunk that was in use was set aside. */
int fsck_bad_chunk(struct blob_fsck *f, const struct blob_id *id, uint32_t pack, uint32_t offset_bytes,
                   struct err *err) MUST_CHECK;
void fsck_tell(struct blob_fsck *f, const struct blob_fsck_event *event);
bool fsck_is_good(const struct blob_fsck *f, uint32_t pack, uint32_t offset_bytes);

/* fsck_pack.c. -ENOENT is no fault: a collection removed it. */
int64_t fsck_pack_size(struct blob_fsck *f, uint32_t number) MUST_CHECK;
int fsck_check_pack(struct blob_fsck *f, struct fsck_pack *pack, struct err *err) MUST_CHECK;
/* What lies in it, as a footer says: the number of entries, of which those are good that fsck_is_good says.
 */
int64_t fsck_read_entries(struct blob_fsck *f, const struct fsck_pack *pack, struct buf *out,
                          struct err *err) MUST_CHECK;
/* The record, which is good, is stored again, if the chunk is not there. */
int fsck_recover(struct blob_fsck *f, uint32_t number, const struct pack_entry *entry,
                 struct err *err) MUST_CHECK;

#endif
