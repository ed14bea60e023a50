/*
 * Objects longer than a chunk. FORMAT.md, "Objects": the content is cut and stored, and a list of its chunks
 * is one chunk more. Where the list itself would be too long, its entries are content in turn, one level up.
 */
#include <inttypes.h>
#include <string.h>

#include "compress.h"
#include "store_parts.h"

#define LIST_VERSION 1
#define LIST_HEADER_BYTES 32
#define LIST_ENTRY_BYTES 20
#define LIST_ENTRIES_MAX ((BLOB_CHUNK_MAX_BYTES - LIST_HEADER_BYTES) / LIST_ENTRY_BYTES)
#define LEVELS_MAX 3 /* more than a terabyte */

static const uint8_t list_magic[8] = {'b', 'l', 'a', 'd', 'L', 'I', 'S', 'T'};

/* ---- save ---- */

/* Cuts and stores `bytes`, and appends an entry for each chunk to `entries`. */
static int save_level(struct blob_store *store, struct blob_compressor *c, const uint8_t *bytes,
                      size_t len_bytes, struct buf *entries, struct err *err)
{
    for (size_t at = 0; at < len_bytes;) {
        size_t n = blob_cut(bytes + at, len_bytes - at);
        struct blob_id id;
        int r = blob_store_put(store, c, bytes + at, (uint32_t)n, &id, err);
        if (r < 0)
            return r;
        buf_put(entries, id.bytes, BLOB_ID_BYTES);
        buf_put_u32(entries, (uint32_t)n);
        at += n;
    }
    return entries->error ? err_sys(err, -entries->error, "an object's list cannot grow") : 0;
}

static int save_list(struct blob_store *store, struct blob_compressor *c, uint64_t object_bytes,
                     uint32_t levels, const struct buf *entries, struct blob_id *id, struct err *err)
{
    OWNED_BUF struct buf list = BUF_EMPTY;
    buf_put(&list, list_magic, sizeof(list_magic));
    buf_put_u32(&list, LIST_VERSION);
    buf_put_u32(&list, levels);
    buf_put_u64(&list, object_bytes);
    buf_put_u64(&list, entries->len_bytes / LIST_ENTRY_BYTES);
    buf_put(&list, entries->bytes, entries->len_bytes);
    if (list.error)
        return err_sys(err, -list.error, "an object's list cannot be made");
    int r = blob_store_put(store, c, list.bytes, (uint32_t)list.len_bytes, id, err);
    return r < 0 ? r : 0;
}

int store_object_save(struct blob_store *store, struct blob_compressor *c, const void *bytes,
                      size_t len_bytes, size_t list_max, struct blob_id *id, struct err *err)
{
    OWNED_BUF struct buf entries = BUF_EMPTY;
    int r = save_level(store, c, bytes, len_bytes, &entries, err);
    uint32_t levels = 0;
    while (r == 0 && entries.len_bytes / LIST_ENTRY_BYTES > list_max) {
        if (++levels > LEVELS_MAX)
            return err_set(err, EFBIG, "an object of %zu bytes is too long", len_bytes);
        OWNED_BUF struct buf upper = BUF_EMPTY;
        r = save_level(store, c, entries.bytes, entries.len_bytes, &upper, err);
        struct buf lower = entries;
        entries = upper;
        upper = lower;
    }
    return r < 0 ? r : save_list(store, c, len_bytes, levels, &entries, id, err);
}

int blob_object_save(struct blob_store *store, struct blob_compressor *c, const void *bytes, size_t len_bytes,
                     struct blob_id *id, struct err *err)
{
    return store_object_save(store, c, bytes, len_bytes, LIST_ENTRIES_MAX, id, err);
}

/* ---- load ---- */

static int bad_list(struct err *err, const struct blob_id *id)
{
    char hex[2 * BLOB_ID_BYTES + 1];
    blob_id_format(id, hex);
    return err_set(err, EBADMSG, "chunk %s is not the list of an object, as it should be", hex);
}

/* The sum of the lengths in the entries; false when one of them is no chunk's or the sum is over the limit.
 */
static bool sum_entries(const uint8_t *entries, size_t count, uint64_t max_bytes, uint64_t *sum)
{
    uint64_t total = 0;
    for (size_t k = 0; k < count; k++) {
        uint32_t n = le32_at(entries + k * LIST_ENTRY_BYTES + BLOB_ID_BYTES);
        if (n == 0 || n > BLOB_CHUNK_MAX_BYTES || n > max_bytes - total)
            return false;
        total += n;
    }
    *sum = total;
    return true;
}

/* Appends the content of all chunks of the entries to `out`; they were summed before. */
static int load_level(struct blob_store *store, const uint8_t *entries, size_t count, struct buf *out,
                      struct err *err)
{
    for (size_t k = 0; k < count; k++) {
        const uint8_t *entry = entries + k * LIST_ENTRY_BYTES;
        struct blob_id id;
        memcpy(id.bytes, entry, BLOB_ID_BYTES);
        uint32_t n = le32_at(entry + BLOB_ID_BYTES);
        uint8_t *room = buf_room(out, n);
        if (!room)
            return err_sys(err, ENOMEM, "an object cannot be read");
        int r = blob_store_get(store, &id, room, n, err);
        if (r < 0)
            return r;
        buf_grew(out, n);
    }
    return 0;
}

struct list {
    uint32_t levels;
    uint64_t object_bytes;
    struct buf entries;
};

/* Reads and checks the list chunk; `list->entries` is the caller's. */
static int load_list(struct blob_store *store, const struct blob_id *id, struct list *list, struct err *err)
{
    int64_t n = store_raw_bytes(store, id);
    if (n < 0) {
        char hex[2 * BLOB_ID_BYTES + 1];
        blob_id_format(id, hex);
        return err_set(err, ENOENT, "the list of an object, chunk %s, is not in the store", hex);
    }
    OWNED uint8_t *bytes = malloc((size_t)n);
    if (!bytes)
        return err_sys(err, ENOMEM, "an object cannot be read");
    int r = blob_store_get(store, id, bytes, (uint32_t)n, err);
    if (r < 0)
        return r;

    struct rd rd = rd_over(bytes, (size_t)n);
    const uint8_t *magic = rd_bytes(&rd, sizeof(list_magic));
    uint32_t version = rd_u32(&rd);
    uint32_t levels = rd_u32(&rd);
    uint64_t object_bytes = rd_u64(&rd);
    uint64_t count = rd_u64(&rd);
    if (rd.error || memcmp(magic, list_magic, sizeof(list_magic)) != 0)
        return bad_list(err, id);
    if (version > LIST_VERSION)
        return err_set(err, EPROTONOSUPPORT,
                       "an object is of a newer format (%" PRIu32 "): use the newer bladefs", version);
    if (levels > LEVELS_MAX || count > LIST_ENTRIES_MAX || rd.left_bytes != count * LIST_ENTRY_BYTES)
        return bad_list(err, id);
    buf_put(&list->entries, rd.at, rd.left_bytes);
    if (list->entries.error)
        return err_sys(err, ENOMEM, "an object cannot be read");
    list->levels = levels;
    list->object_bytes = object_bytes;
    return 0;
}

static int tell_ids(const struct buf *entries, store_each_id each, void *arg, struct err *err)
{
    for (size_t at = 0; each && at < entries->len_bytes; at += LIST_ENTRY_BYTES) {
        struct blob_id id;
        memcpy(id.bytes, entries->bytes + at, BLOB_ID_BYTES);
        if (each(arg, &id) < 0)
            return err_sys(err, ENOMEM, "an object's chunks cannot be noted");
    }
    return 0;
}

int store_object_walk(struct blob_store *store, const struct blob_id *id, size_t max_bytes,
                      store_each_id each, void *arg, struct buf *out, struct err *err)
{
    struct list list = {.entries = BUF_EMPTY};
    int r = load_list(store, id, &list, err);
    OWNED_BUF struct buf entries = list.entries;
    if (r == 0 && each && each(arg, id) < 0)
        r = err_sys(err, ENOMEM, "an object's chunks cannot be noted");
    if (r < 0)
        return r;
    if (list.object_bytes > max_bytes)
        return err_set(err, EFBIG, "an object has %" PRIu64 " bytes, more than %zu", list.object_bytes,
                       max_bytes);

    uint64_t sum;
    for (; list.levels > 0; list.levels--) {
        /* What stands for an object is shorter than it, but for one short chunk at each end. */
        OWNED_BUF struct buf lower = BUF_EMPTY;
        if (!sum_entries(entries.bytes, entries.len_bytes / LIST_ENTRY_BYTES,
                         (uint64_t)max_bytes + BLOB_CHUNK_MAX_BYTES, &sum) ||
            sum % LIST_ENTRY_BYTES != 0)
            return bad_list(err, id);
        r = tell_ids(&entries, each, arg, err);
        if (r == 0)
            r = load_level(store, entries.bytes, entries.len_bytes / LIST_ENTRY_BYTES, &lower, err);
        if (r < 0)
            return r;
        struct buf upper = entries;
        entries = lower;
        lower = upper;
    }
    size_t count = entries.len_bytes / LIST_ENTRY_BYTES;
    if (!sum_entries(entries.bytes, count, max_bytes, &sum) || sum != list.object_bytes)
        return bad_list(err, id);

    r = tell_ids(&entries, each, arg, err);
    if (r < 0)
        return r;
    size_t had = out->len_bytes;
    if (sum && !buf_room(out, sum))
        return err_sys(err, ENOMEM, "an object of %" PRIu64 " bytes cannot be read", sum);
    r = load_level(store, entries.bytes, count, out, err);
    if (r < 0)
        out->len_bytes = had;
    return r;
}

int blob_object_load(struct blob_store *store, const struct blob_id *id, size_t max_bytes, struct buf *out,
                     struct err *err)
{
    return store_object_walk(store, id, max_bytes, NULL, NULL, out, err);
}
