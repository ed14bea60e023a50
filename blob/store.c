#include "blob/store.h"

#include <inttypes.h>
#include <string.h>

#include "base/fdio.h"
#include "base/log.h"
#include "compress.h"
#include "store_parts.h"

/* ---- put ---- */

static struct blob_compressor *take_spare(struct blob_store *store)
{
    {
        HOLD_LOCK(&store->spare_lock);
        if (store->spare_count > 0)
            return store->spares[--store->spare_count];
    }
    struct blob_compressor *c;
    return blob_compressor_new(store->level, &c) < 0 ? NULL : c;
}

static void give_spare(struct blob_store *store, struct blob_compressor *c)
{
    {
        HOLD_LOCK(&store->spare_lock);
        if (store->spare_count < SPARE_COMPRESSORS) {
            store->spares[store->spare_count++] = c;
            return;
        }
    }
    blob_compressor_free(c);
}

static int put_new(struct blob_store *store, struct blob_compressor *c, const void *raw, uint32_t raw_bytes,
                   const struct blob_id *id, struct err *err)
{
    uint8_t *record = blob_compressor_scratch(c);
    int n = blob_record_encode(c, id, raw, raw_bytes, record);
    if (n < 0)
        return err_sys(err, -n, "a chunk of %" PRIu32 " bytes cannot be compressed", raw_bytes);
    return store_append(store, id, record, (uint32_t)n, raw_bytes, err);
}

int blob_store_put(struct blob_store *store, struct blob_compressor *c, const void *raw, uint32_t raw_bytes,
                   struct blob_id *id, struct err *err)
{
    if (raw_bytes == 0 || raw_bytes > BLOB_CHUNK_MAX_BYTES)
        return err_set(err, EINVAL, "%" PRIu32 " bytes are no chunk", raw_bytes);
    struct blob_id its_id = blob_id_of(&store->secret, raw, raw_bytes);
    int added = 0;
    if (!blob_store_touch(store, &its_id)) {
        struct blob_compressor *mine = c ? c : take_spare(store);
        if (!mine)
            return err_sys(err, ENOMEM, "no zstd context of level %d", store->level);
        added = put_new(store, mine, raw, raw_bytes, &its_id, err);
        if (!c)
            give_spare(store, mine);
    }
    if (added >= 0)
        *id = its_id;
    return added;
}

/* ---- what is where ---- */

/* Also says whether the record is in memory only. */
static bool find(struct blob_store *store, const struct blob_id *id, struct index_place *place, bool *in_tail)
{
    HOLD_LOCK(&store->index_lock);
    if (!index_find(&store->index, id, place))
        return false;
    *in_tail = place->pack == store->tail_pack && place->offset_bytes >= store->tail_from_bytes;
    return true;
}

bool blob_store_has(struct blob_store *store, const struct blob_id *id)
{
    struct index_place place;
    bool in_tail;
    return find(store, id, &place, &in_tail);
}

void store_keep(struct blob_store *store, const struct blob_id *id)
{
    if ((store->recording || store->captures > 0) && id_set_add(&store->touched, id) < 0)
        store->touched_lost = true;
}

/* Under index_lock. */
static void forget_unless_kept(struct blob_store *store)
{
    if (store->recording || store->captures > 0)
        return;
    id_set_free(&store->touched);
    store->touched_lost = false;
}

void store_record(struct blob_store *store, bool recording)
{
    HOLD_LOCK(&store->index_lock);
    store->recording = recording;
    forget_unless_kept(store);
}

void blob_store_capture_begin(struct blob_store *store)
{
    HOLD_LOCK(&store->index_lock);
    store->captures++;
}

void blob_store_capture_end(struct blob_store *store)
{
    HOLD_LOCK(&store->index_lock);
    store->captures--;
    forget_unless_kept(store);
}

bool blob_store_touch(struct blob_store *store, const struct blob_id *id)
{
    struct index_place place;
    HOLD_LOCK(&store->index_lock);
    if (!index_find(&store->index, id, &place))
        return false;
    store_keep(store, id);
    return true;
}

int64_t store_raw_bytes(struct blob_store *store, const struct blob_id *id)
{
    struct index_place place;
    bool in_tail;
    return find(store, id, &place, &in_tail) ? (int64_t)place.raw_bytes : -ENOENT;
}

int blob_store_locate(struct blob_store *store, const struct blob_id *id, struct blob_place *out)
{
    struct index_place place;
    bool in_tail;
    if (!find(store, id, &place, &in_tail))
        return -ENOENT;
    if (in_tail) {
        /* The caller will read the file. */
        HOLD_LOCK(&store->append_lock);
        int r = store_flush(store, NULL);
        if (r < 0)
            return r;
    }
    *out = (struct blob_place){.pack = place.pack,
                               .offset_bytes = place.offset_bytes,
                               .record_bytes = BLOB_RECORD_HEADER_BYTES + place.stored_bytes};
    return 0;
}

int blob_store_pack_get(struct blob_store *store, uint64_t pack, struct err *err)
{
    int fd = pack <= UINT32_MAX ? store_file_get(store, (uint32_t)pack) : -ENOENT;
    if (fd < 0)
        return err_sys(err, -fd, "packs/%016" PRIx64 ".pack in the store cannot be opened", pack);
    return fd;
}

ssize_t blob_store_pack_read(struct blob_store *store, uint64_t pack, void *out, size_t len_bytes,
                             uint64_t offset)
{
    return pack <= UINT32_MAX ? store_file_read(store, (uint32_t)pack, out, len_bytes, offset) : -ENOENT;
}

void blob_store_pack_put(struct blob_store *store, uint64_t pack)
{
    store_file_put(store, (uint32_t)pack);
}

/* ---- get ---- */

/* True when the record still was in memory, and is now in `record`. */
static bool read_tail(struct blob_store *store, const struct index_place *place, uint8_t *record, size_t len)
{
    HOLD_LOCK(&store->append_lock);
    const struct open_pack *p = store->current;
    if (!p || p->number != place->pack || place->offset_bytes < p->written_bytes)
        return false;
    size_t at = place->offset_bytes - p->written_bytes;
    if (at + len > store->tail_bytes)
        return false;
    memcpy(record, store->tail + at, len);
    return true;
}

/* -EBADMSG: damage, be it that the disk gives an error or less. -ENOENT: there is no such pack. */
static int read_pack(struct blob_store *store, const struct index_place *place, uint8_t *record, size_t len)
{
    ssize_t n = store_file_read(store, place->pack, record, len, place->offset_bytes);
    if (n == -EIO)
        log_error("packs/%016" PRIx32 ".pack in the store cannot be read at %" PRIu32 ": %s", place->pack,
                  place->offset_bytes, strerror(EIO));
    if (n == -EIO || (n >= 0 && (size_t)n < len))
        return -EBADMSG;
    return n < 0 ? (int)n : 0;
}

static int check_record(struct blob_store *store, const struct blob_id *id, const struct index_place *place,
                        const uint8_t *bytes, size_t len, void *raw)
{
    struct blob_record record;
    int n = blob_record_decode(bytes, len, &record);
    if (n != (int)len || blob_id_compare(&record.id, id) != 0 || record.raw_bytes != place->raw_bytes)
        return -EBADMSG;
    int r = blob_expand(record.codec, record.payload, record.stored_bytes, raw, record.raw_bytes);
    if (r < 0)
        return r;
    struct blob_id found = blob_id_of(&store->secret, raw, record.raw_bytes);
    return blob_id_compare(&found, id) == 0 ? 0 : -EBADMSG;
}

int store_check_record(struct blob_store *store, const struct blob_id *id, const struct index_place *place,
                       uint8_t *record, void *raw)
{
    size_t len = BLOB_RECORD_HEADER_BYTES + (size_t)place->stored_bytes;
    int r = read_pack(store, place, record, len);
    return r < 0 ? r : check_record(store, id, place, record, len, raw);
}

static bool same_place(const struct index_place *a, const struct index_place *b)
{
    return a->pack == b->pack && a->offset_bytes == b->offset_bytes;
}

/* -EBADMSG: the chunk is damaged. -ENOENT: its pack is gone. */
static int read_once(struct blob_store *store, const struct blob_id *id, const struct index_place *place,
                     bool in_tail, void *raw)
{
    size_t len = BLOB_RECORD_HEADER_BYTES + (size_t)place->stored_bytes;
    OWNED uint8_t *bytes = malloc(len);
    if (!bytes)
        return -ENOMEM;
    if (!in_tail || !read_tail(store, place, bytes, len)) {
        int r = read_pack(store, place, bytes, len);
        if (r < 0)
            return r;
    }
    return check_record(store, id, place, bytes, len, raw);
}

/*
 * Reads, expands and checks. A collection may have moved the chunk and removed its pack since it was looked
 * up: then it is looked up again, and `place` is where it was found. -EBADMSG: the chunk is damaged, which is
 * said of a missing pack too; -ENOENT: it is not in the store any more.
 */
static int read_chunk(struct blob_store *store, const struct blob_id *id, struct index_place *place,
                      bool in_tail, void *raw)
{
    for (;;) {
        int r = read_once(store, id, place, in_tail, raw);
        if (r != -ENOENT)
            return r;
        struct index_place now;
        if (!find(store, id, &now, &in_tail))
            return -ENOENT;
        if (same_place(&now, place) || now.raw_bytes != place->raw_bytes)
            return -EBADMSG;
        *place = now;
    }
}

void store_set_aside(struct blob_store *store, const struct blob_id *id, const struct index_place *place)
{
    {
        /* Not when it was stored anew meanwhile, or set aside by another reader. */
        HOLD_LOCK(&store->index_lock);
        if (!index_remove(&store->index, id, place->pack, place->offset_bytes))
            return;
        store->bad_chunks++;
    }
    char hex[2 * BLOB_ID_BYTES + 1];
    blob_id_format(id, hex);
    log_error("chunk %s, at %" PRIu32 " in packs/%016" PRIx32 ".pack, is damaged and was set aside", hex,
              place->offset_bytes, place->pack);
    store_bad_add(store, id, place->pack, place->offset_bytes);
}

int blob_store_get(struct blob_store *store, const struct blob_id *id, void *raw, uint32_t raw_bytes,
                   struct err *err)
{
    char hex[2 * BLOB_ID_BYTES + 1];
    blob_id_format(id, hex);
    struct index_place place;
    bool in_tail;
    if (!find(store, id, &place, &in_tail))
        return err_set(err, ENOENT, "chunk %s is not in the store", hex);
    if (place.raw_bytes != raw_bytes)
        return err_set(err, EINVAL, "chunk %s has %" PRIu32 " bytes, not %" PRIu32, hex, place.raw_bytes,
                       raw_bytes);
    int r = read_chunk(store, id, &place, in_tail, raw);
    if (r == -EBADMSG) {
        store_set_aside(store, id, &place);
        return err_set(err, EIO,
                       "chunk %s, at %" PRIu32 " in packs/%016" PRIx32
                       ".pack, is damaged: it is stored again when its content is captured again",
                       hex, place.offset_bytes, place.pack);
    }
    if (r == -ENOENT)
        return err_set(err, ENOENT, "chunk %s is not in the store any more", hex);
    return r < 0 ? err_sys(err, -r, "chunk %s cannot be read", hex) : 0;
}

/* Read again: what the caller saw may have been stored anew since, or have been no fault of the disk's. */
bool store_set_aside_if_bad(struct blob_store *store, const struct blob_id *id, struct index_place *place)
{
    bool in_tail;
    if (!find(store, id, place, &in_tail))
        return false;
    OWNED uint8_t *raw = malloc(place->raw_bytes);
    if (!raw || read_chunk(store, id, place, in_tail, raw) != -EBADMSG)
        return false;
    store_set_aside(store, id, place);
    return true;
}

void blob_store_set_aside(struct blob_store *store, const struct blob_id *id)
{
    struct index_place place;
    (void)store_set_aside_if_bad(store, id, &place);
}

/* ---- the whole ---- */

int blob_store_commit_begin(struct blob_store *store)
{
    return -pthread_rwlock_rdlock(&store->commit_lock);
}

void blob_store_commit_end(struct blob_store *store)
{
    pthread_rwlock_unlock(&store->commit_lock);
}

void blob_store_stats(struct blob_store *store, struct blob_store_stats *out)
{
    HOLD_LOCK(&store->index_lock);
    struct index_totals totals;
    index_totals(&store->index, &totals);
    *out = (struct blob_store_stats){
        .chunks = totals.count,
        .packs = store->packs,
        .raw_bytes = totals.raw_bytes,
        .stored_bytes = totals.stored_bytes,
        .bad_chunks = store->bad_chunks,
        .cut_bytes = store->cut_bytes,
    };
}

const struct blob_secret *blob_store_secret(const struct blob_store *store)
{
    return &store->secret;
}
