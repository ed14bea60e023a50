/*
 * STORE/packs/bad: the places of records that were found damaged, so that a restart does not take them for
 * good. It is a hint that need not be durable: a place that it forgot is found bad again when it is read, and
 * a record stored since lies in a later place, which wins.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/fdio.h"
#include "base/log.h"
#include "store_parts.h"

#define BAD_VERSION 1
#define BAD_LINE_BYTES 40 /* the header is as long as an entry */
#define BAD_FILE_MAX_BYTES (256u << 20)

#define HEADER_AT_VERSION 8
#define ENTRY_AT_PACK 16
#define ENTRY_AT_OFFSET 24
#define ENTRY_AT_ZERO 28
#define AT_CHECK 32

static const uint8_t magic[8] = {'b', 'l', 'a', 'd', 'B', 'A', 'D', 'S'};

static bool is_whole(const uint8_t *line)
{
    return le64_at(line + AT_CHECK) == blob_check_of(line, AT_CHECK);
}

static void close_line(uint8_t *line)
{
    le64_to(line + AT_CHECK, blob_check_of(line, AT_CHECK));
}

/* The packs that there are, ascending. */
struct numbers {
    const uint32_t *numbers;
    size_t count;
};

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* False: nobody needs the line any more. */
static bool apply(struct blob_store *store, const uint8_t *line, const struct numbers *packs)
{
    uint64_t pack = le64_at(line + ENTRY_AT_PACK);
    uint32_t number = (uint32_t)pack;
    if (!is_whole(line) || pack > UINT32_MAX || packs->count == 0 ||
        !bsearch(&number, packs->numbers, packs->count, sizeof(number), compare_numbers))
        return false;
    struct blob_id id;
    memcpy(id.bytes, line, BLOB_ID_BYTES);
    index_remove(&store->index, &id, number, le32_at(line + ENTRY_AT_OFFSET));
    return true;
}

/* Applies the list, and takes out of it what was of packs that are gone: true when that is some of it. */
static bool apply_all(struct blob_store *store, struct buf *list, const struct numbers *packs)
{
    size_t kept = BAD_LINE_BYTES;
    size_t at = BAD_LINE_BYTES;
    for (; at + BAD_LINE_BYTES <= list->len_bytes; at += BAD_LINE_BYTES) {
        if (!apply(store, list->bytes + at, packs))
            continue;
        memmove(list->bytes + kept, list->bytes + at, BAD_LINE_BYTES);
        kept += BAD_LINE_BYTES;
    }
    if (list->len_bytes >= BAD_LINE_BYTES)
        list->len_bytes = kept;
    return kept < at;
}

int store_bad_each(struct blob_store *store, store_each_id each, void *arg, struct err *err)
{
    OWNED_BUF struct buf list = BUF_EMPTY;
    int r = file_read(store->packs_fd, "bad", BAD_FILE_MAX_BYTES, &list);
    if (r < 0)
        return r == -ENOMEM ? err_sys(err, ENOMEM, "packs/bad in the store cannot be read") : 0;
    for (size_t at = BAD_LINE_BYTES; at + BAD_LINE_BYTES <= list.len_bytes; at += BAD_LINE_BYTES) {
        struct blob_id id;
        if (!is_whole(list.bytes + at))
            continue;
        memcpy(id.bytes, list.bytes + at, BLOB_ID_BYTES);
        if (each(arg, &id) < 0)
            return err_sys(err, ENOMEM, "the damaged chunks cannot be noted");
    }
    return 0;
}

int store_bad_load(struct blob_store *store, const uint32_t *numbers, size_t count, struct err *err)
{
    OWNED_BUF struct buf list = BUF_EMPTY;
    int r = file_read(store->packs_fd, "bad", BAD_FILE_MAX_BYTES, &list);
    if (r == -ENOENT)
        return 0;
    if (r == -ENOMEM)
        return err_sys(err, ENOMEM, "packs/bad in the store cannot be read");
    if (r < 0) {
        log_warn("packs/bad in the store cannot be read (errno %d): what it says is found anew", -r);
        return 0;
    }
    if (list.len_bytes >= BAD_LINE_BYTES && memcmp(list.bytes, magic, sizeof(magic)) == 0 &&
        is_whole(list.bytes) && le32_at(list.bytes + HEADER_AT_VERSION) > BAD_VERSION)
        return err_set(err, EPROTONOSUPPORT,
                       "packs/bad in the store is of a newer format (%" PRIu32
                       ", this program knows %d): use the newer bladefs",
                       le32_at(list.bytes + HEADER_AT_VERSION), BAD_VERSION);

    const struct numbers packs = {.numbers = numbers, .count = count};
    size_t lines = list.len_bytes / BAD_LINE_BYTES;
    if (apply_all(store, &list, &packs)) {
        r = file_replace(store->packs_fd, "bad", 0600, list.bytes, list.len_bytes);
        if (r == 0)
            lines = list.len_bytes / BAD_LINE_BYTES;
        else
            log_debug("packs/bad in the store stays as long as it is (errno %d)", -r);
    }
    store->bad_fd = openat(store->packs_fd, "bad", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (store->bad_fd < 0)
        return err_sys(err, errno, "packs/bad in the store cannot be opened");
    store->bad_end_bytes = lines * BAD_LINE_BYTES; /* a torn line is written over */
    return 0;
}

static int begin(struct blob_store *store)
{
    if (store->bad_fd < 0)
        store->bad_fd = openat(store->packs_fd, "bad", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (store->bad_fd < 0)
        return -errno;
    if (store->bad_end_bytes > 0)
        return 0;
    uint8_t header[BAD_LINE_BYTES] = {0};
    memcpy(header, magic, sizeof(magic));
    le32_to(header + HEADER_AT_VERSION, BAD_VERSION);
    close_line(header);
    int r = fd_write_at(store->bad_fd, header, sizeof(header), 0);
    if (r == 0)
        store->bad_end_bytes = sizeof(header);
    return r;
}

void store_bad_add(struct blob_store *store, const struct blob_id *id, uint32_t pack, uint32_t offset_bytes)
{
    uint8_t line[BAD_LINE_BYTES] = {0};
    memcpy(line, id->bytes, BLOB_ID_BYTES);
    le64_to(line + ENTRY_AT_PACK, pack);
    le32_to(line + ENTRY_AT_OFFSET, offset_bytes);
    le32_to(line + ENTRY_AT_ZERO, 0);
    close_line(line);

    HOLD_LOCK(&store->bad_lock);
    int r = begin(store);
    if (r == 0)
        r = fd_write_at(store->bad_fd, line, sizeof(line), store->bad_end_bytes);
    if (r == 0)
        store->bad_end_bytes += sizeof(line);
    else
        log_warn("packs/bad in the store cannot be written (errno %d): a damaged chunk is only remembered "
                 "until the next start",
                 -r);
}
