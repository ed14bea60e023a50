#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/log.h"
#include "compress.h"
#include "pack_dir.h"
#include "store_parts.h"

/* ---- the secret ---- */

static int make_secret(int dirfd, struct blob_secret *out, struct err *err)
{
    if (getrandom(out->bytes, sizeof(out->bytes), 0) != (ssize_t)sizeof(out->bytes))
        return err_sys(err, errno ? errno : EIO, "no random bytes for the store's secret");
    int r = file_replace(dirfd, "secret", 0600, out->bytes, sizeof(out->bytes));
    return r < 0 ? err_sys(err, -r, "the file secret in the store cannot be written") : 0;
}

static int load_secret(int dirfd, bool has_packs, struct blob_secret *out, struct err *err)
{
    OWNED_BUF struct buf bytes = BUF_EMPTY;
    int r = file_read(dirfd, "secret", sizeof(out->bytes), &bytes);
    if (r == -ENOENT && !has_packs)
        return make_secret(dirfd, out, err);
    if (r == -ENOENT)
        return err_set(err, ENOKEY,
                       "the file secret is missing in a store that has packs: put it back from a backup, "
                       "without it no chunk is found");
    if (r < 0 && r != -EFBIG)
        return err_sys(err, -r, "the file secret in the store cannot be read");
    if (r == -EFBIG || bytes.len_bytes != sizeof(out->bytes))
        return err_set(err, EBADMSG,
                       "the file secret in the store is not %zu bytes: put it back from a backup",
                       sizeof(out->bytes));
    memcpy(out->bytes, bytes.bytes, sizeof(out->bytes));
    return 0;
}

/* ---- packs without a footer ---- */

size_t blob_store_mends(const struct blob_store *store, const struct blob_store_mend **out)
{
    *out = (const void *)store->mended.bytes; /* it is from malloc(3) */
    return store->mended.len_bytes / sizeof(**out);
}

static int note_mend(struct blob_store *store, const struct blob_store_mend *mend, struct err *err)
{
    if (!mend->header && !mend->footer && mend->cut_bytes == 0 && mend->left_out_bytes == 0)
        return 0;
    buf_put(&store->mended, mend, sizeof(*mend));
    return store->mended.error ? err_sys(err, ENOMEM, "what was mended cannot be noted") : 0;
}

/* Whether nothing but a good footer follows the records. */
static bool ends_in_footer(const struct pack_reader *pack, uint64_t size, uint32_t records_end)
{
    OWNED_BUF struct buf footer = BUF_EMPTY;
    struct pack_trailer trailer = {0};
    return store_read_footer(pack, size, &footer, &trailer, NULL) > 0 && trailer.records_end == records_end;
}

/* Writes its header, and cuts off what follows its records. */
static int mend(struct blob_store *store, uint32_t number, struct pack_grower *file, uint64_t size,
                const struct pack_scan *scan, const struct blob_store_mend *what, struct err *err)
{
    if (what->header || size < PACK_HEADER_BYTES) {
        uint8_t header[PACK_HEADER_BYTES];
        pack_header_encode(number, header);
        int r = store->io.ops->write(file, header, sizeof(header), 0);
        if (r < 0)
            return err_sys(err, -r, "packs/%016" PRIx32 ".pack in the store cannot be mended", number);
    }
    if (size <= scan->records_end)
        return 0;
    if (what->cut_bytes > 0)
        log_warn("packs/%016" PRIx32 ".pack: %" PRIu64 " bytes behind the last whole record were cut off",
                 number, what->cut_bytes);
    int r = store->io.ops->cut(file, scan->records_end);
    if (r < 0)
        return err_sys(err, -r, "packs/%016" PRIx32 ".pack in the store cannot be cut", number);
    store->cut_bytes += what->cut_bytes;
    return 0;
}

/* A pack without a footer: one that took records when the program ended, or one whose footer is damaged. */
static int scan_pack(struct blob_store *store, uint32_t number, bool is_last, bool header_is_good,
                     struct err *err)
{
    OWNED_READER pack = PACK_READER_NONE;
    int r = pack_reader_open(&store->io, number, &pack);
    int64_t size = r < 0 ? r : pack_reader_size(&pack);
    if (size < 0)
        return err_sys(err, (int)-size, "packs/%016" PRIx32 ".pack in the store cannot be opened", number);
    size_t len = size > PACK_RECORDS_MAX_BYTES ? PACK_RECORDS_MAX_BYTES : (size_t)size;
    OWNED uint8_t *bytes = malloc(len + 1);
    if (!bytes)
        return err_sys(err, ENOMEM, "a pack cannot be read");
    size_t bad_at = 0;
    bool whole = pack_reader_read_around(&pack, bytes, len, &bad_at) == 0;

    OWNED_BUF struct buf entries = BUF_EMPTY;
    struct pack_scan scan;
    r = pack_scan(&store->secret, bytes, len, &entries, &scan);
    if (r == 0)
        r = store_index_entries(store, number, entries.bytes,
                                (uint32_t)(entries.len_bytes / PACK_ENTRY_BYTES), err);
    if (r < 0)
        return err_sys(err, -r, "packs/%016" PRIx32 ".pack cannot be indexed", number);
    if (scan.damaged_runs) {
        store->bad_chunks += scan.damaged_runs;
        log_warn("packs/%016" PRIx32 ".pack is damaged: %" PRIu32 " bytes in %" PRIu32
                 " places, the first at %" PRIu32 ", were left out",
                 number, scan.damaged_bytes, scan.damaged_runs, scan.first_damage);
    }
    if (!whole) {
        log_error("packs/%016" PRIx32 ".pack cannot be read everywhere, at %zu first: look at its disk",
                  number, bad_at);
        return 0; /* as it is, and nothing more goes into it */
    }
    struct pack_grower *file = NULL;
    r = store->io.ops->grow(store->io.packs, number, false, &file);
    if (r < 0)
        return err_sys(err, -r, "packs/%016" PRIx32 ".pack in the store cannot be opened", number);
    bool takes_more =
        is_last && scan.records_end <= PACK_RECORDS_MAX_BYTES - BLOB_RECORD_MAX_BYTES && !scan.damaged_runs;
    /* One that a kill has left without a footer, and the last one that is full, are as they should be. */
    struct blob_store_mend what = {.pack = number,
                                   .left_out_bytes = scan.damaged_bytes,
                                   .left_out_at = scan.first_damage,
                                   .header = !header_is_good && size > 0};
    if (size > scan.records_end &&
        (header_is_good || !ends_in_footer(&pack, (uint64_t)size, scan.records_end)))
        what.cut_bytes = (uint64_t)size - scan.records_end;
    what.footer = !takes_more && (!is_last || what.cut_bytes > 0);
    r = mend(store, number, file, (uint64_t)size, &scan, &what, err);
    if (r == 0)
        r = note_mend(store, &what, err);
    if (r == 0 && store_add_open_pack(store, number, file, scan.records_end, &entries, takes_more) < 0)
        r = err_sys(err, ENOMEM, "packs/%016" PRIx32 ".pack cannot be taken up", number);
    if (r < 0)
        store->io.ops->close_grower(file);
    return r;
}

static int load(struct blob_store *store, int dirfd, struct err *err)
{
    store->packs_fd = pack_dir_open(dirfd, err);
    int r = store->packs_fd < 0 ? store->packs_fd : 0;
    if (r == 0 && !store->io.packs)
        r = pack_dir_new(store->packs_fd, &store->io, err);
    if (r < 0)
        return r;
    OWNED uint32_t *numbers = NULL;
    size_t count = 0;
    r = store->io.ops->list(store->io.packs, &numbers, &count, err);
    if (r == 0)
        r = load_secret(dirfd, count > 0, &store->secret, err);
    if (r < 0)
        return r;
    OWNED uint8_t *states = calloc(count + 1, sizeof(*states));
    if (!states)
        return err_sys(err, ENOMEM, "the store's packs cannot be read");
    r = store_load_footers(store, numbers, count, states, err);
    for (size_t i = 0; i < count && r == 0; i++)
        if (states[i] != PACK_SEALED)
            r = scan_pack(store, numbers[i], i + 1 == count, states[i] == PACK_OPEN, err);
    if (r < 0)
        return r;
    store->packs = count;
    store->last_number = count ? numbers[count - 1] : 0;
    r = store_bad_load(store, numbers, count, err);
    if (r < 0)
        return r;
    /* What was found may be in the page cache alone (a kill, no power loss): from here on it counts. */
    r = store->open ? blob_store_sync(store, err) : 0;
    if (r == 0)
        store_reserve_take(store);
    return r;
}

/* ---- the store ---- */

/* A collection that waits for commits comes before those that come after it. */
static void init_commit_lock(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(lock, &attr);
    pthread_rwlockattr_destroy(&attr);
}

int store_open_over(int dirfd, int level, struct pack_io *packs, struct blob_store **out, struct err *err)
{
    struct blob_store *store = calloc(1, sizeof(*store));
    uint8_t *tail = malloc(TAIL_ROOM_BYTES);
    if (!store || !tail) {
        free(tail);
        free(store);
        if (packs)
            pack_io_close(packs);
        return err_sys(err, ENOMEM, "the store cannot be opened");
    }
    store->tail = tail;
    store->mended = BUF_EMPTY;
    store->level = level;
    store->packs_fd = -1;
    if (packs)
        store->io = *packs;
    store->bad_fd = -1;
    store->reserve_fd = -1;
    pthread_mutex_init(&store->index_lock, NULL);
    pthread_mutex_init(&store->append_lock, NULL);
    pthread_mutex_init(&store->sync_lock, NULL);
    pthread_mutex_init(&store->files_lock, NULL);
    pthread_mutex_init(&store->bad_lock, NULL);
    pthread_mutex_init(&store->spare_lock, NULL);
    pthread_mutex_init(&store->reserve_lock, NULL);
    init_commit_lock(&store->commit_lock);
    int r = load(store, dirfd, err);
    if (r < 0) {
        blob_store_close(store);
        return r;
    }
    *out = store;
    return 0;
}

int blob_store_open(int dirfd, int level, struct blob_store **out, struct err *err)
{
    return store_open_over(dirfd, level, NULL, out, err);
}

void blob_store_close(struct blob_store *store)
{
    if (!store)
        return;
    struct err err = {0};
    if (!store->broken && store_flush(store, &err) < 0)
        log_warn("%s", err.message);
    store_free_open_packs(store);
    store_files_free(store);
    buf_free(&store->mended);
    index_free(&store->index);
    while (store->spare_count > 0)
        blob_compressor_free(store->spares[--store->spare_count]);
    if (store->bad_fd >= 0)
        close(store->bad_fd);
    store_reserve_close(store);
    id_set_free(&store->touched);
    pack_io_close(&store->io);
    cleanup_fd(&store->packs_fd);
    pthread_mutex_destroy(&store->index_lock);
    pthread_mutex_destroy(&store->append_lock);
    pthread_mutex_destroy(&store->sync_lock);
    pthread_mutex_destroy(&store->files_lock);
    pthread_mutex_destroy(&store->bad_lock);
    pthread_mutex_destroy(&store->spare_lock);
    pthread_mutex_destroy(&store->reserve_lock);
    pthread_rwlock_destroy(&store->commit_lock);
    free(store->tail);
    free(store);
}
