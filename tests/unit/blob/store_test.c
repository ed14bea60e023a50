/* What a store promises to those who put and get. */
#include "golden.h"
#include "pack_dir.h"
#include "store_fixture.h"
#include "store_parts.h"

static void put_and_get(void **state)
{
    struct fixture *f = *state;
    struct blob_id id;
    struct blob_id again;
    assert_int_equal(put_seed(f->store, 1, 1000, &id), 1000 + BLOB_RECORD_HEADER_BYTES);
    assert_true(blob_store_has(f->store, &id));
    assert_int_equal(get_seed(f->store, 1, 1000, &id), 0); /* from memory */
    assert_int_equal(put_seed(f->store, 1, 1000, &again), 0);
    assert_int_equal(blob_id_compare(&id, &again), 0);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_int_equal(get_seed(f->store, 1, 1000, &id), 0); /* from the pack */

    struct blob_store_stats stats = stats_of(f);
    assert_int_equal(stats.chunks, 1);
    assert_int_equal(stats.packs, 1);
    assert_int_equal(stats.raw_bytes, 1000);
    assert_int_equal(stats.stored_bytes, 1000);
}

static void sizes_are_checked(void **state)
{
    struct fixture *f = *state;
    struct blob_id id;
    OWNED uint8_t *bytes = content_of(1, BLOB_CHUNK_MAX_BYTES + 1);
    assert_int_equal(blob_store_put(f->store, NULL, bytes, 0, &id, NULL), -EINVAL);
    assert_int_equal(blob_store_put(f->store, NULL, bytes, BLOB_CHUNK_MAX_BYTES + 1, &id, NULL), -EINVAL);
    assert_true(blob_store_put(f->store, NULL, bytes, BLOB_CHUNK_MAX_BYTES, &id, NULL) > 0);
    assert_int_equal(blob_store_get(f->store, &id, bytes, 10, NULL), -EINVAL);
    assert_int_equal(blob_store_get(f->store, &id, bytes, BLOB_CHUNK_MAX_BYTES, NULL), 0);
    id.bytes[0] ^= 1;
    assert_int_equal(blob_store_get(f->store, &id, bytes, BLOB_CHUNK_MAX_BYTES, NULL), -ENOENT);
}

static void what_compresses_is_compressed(void **state)
{
    struct fixture *f = *state;
    OWNED uint8_t *zeros = calloc(1, 100000);
    assert_non_null(zeros);
    struct blob_compressor *c;
    assert_int_equal(blob_compressor_new(3, &c), 0);
    struct blob_id id;
    assert_in_range(blob_store_put(f->store, c, zeros, 100000, &id, NULL), BLOB_RECORD_HEADER_BYTES + 1, 200);
    blob_compressor_free(c);
    OWNED uint8_t *got = malloc(100000);
    assert_int_equal(blob_store_get(f->store, &id, got, 100000, NULL), 0);
    assert_memory_equal(got, zeros, 100000);
}

#define MANY 700u
#define MANY_BYTES (64u << 10)

/* 44 MiB: several packs, of which all but the last are sealed. */
static void many_packs_come_back(void **state)
{
    struct fixture *f = *state;
    OWNED struct blob_id *ids = calloc(MANY, sizeof(*ids));
    for (unsigned i = 0; i < MANY; i++)
        assert_true(put_seed(f->store, i, MANY_BYTES, &ids[i]) > 0);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    struct blob_store_stats before = stats_of(f);
    assert_int_equal(before.packs, 3);

    OWNED_FD sealed = open_pack_file(f, 1);
    uint8_t trailer[PACK_TRAILER_BYTES];
    uint64_t size = pack_file_bytes(f, 1);
    assert_int_equal(pread(sealed, trailer, sizeof(trailer), (off_t)(size - sizeof(trailer))),
                     sizeof(trailer));
    struct pack_trailer decoded;
    assert_int_equal(pack_trailer_decode(trailer, size, 1, &decoded), 0);

    fixture_reopen(f);
    struct blob_store_stats after = stats_of(f);
    assert_memory_equal(&before, &after, sizeof(before));
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(get_seed(f->store, i, MANY_BYTES, &ids[i]), 0);
    struct blob_id id;
    assert_int_equal(put_seed(f->store, 3, MANY_BYTES, &id), 0);
    assert_true(put_seed(f->store, MANY, MANY_BYTES, &id) > 0); /* the last pack takes more */
    assert_int_equal(stats_of(f).packs, 3);
}

/* Records are found where locate says, also those just put. */
static void locate_and_read(void **state)
{
    struct fixture *f = *state;
    struct blob_id id;
    assert_true(put_seed(f->store, 1, 5000, &id) > 0);
    struct blob_place place;
    assert_int_equal(blob_store_locate(f->store, &id, &place), 0);
    assert_int_equal(place.record_bytes, 5000 + BLOB_RECORD_HEADER_BYTES);
    int fd = blob_store_pack_get(f->store, place.pack, NULL);
    assert_true(fd >= 0);
    uint8_t bytes[5000 + BLOB_RECORD_HEADER_BYTES];
    assert_int_equal(pread(fd, bytes, sizeof(bytes), place.offset_bytes), sizeof(bytes));
    blob_store_pack_put(f->store, place.pack);
    struct blob_record record;
    assert_int_equal(blob_record_decode(bytes, sizeof(bytes), &record), sizeof(bytes));
    assert_int_equal(blob_id_compare(&record.id, &id), 0);

    id.bytes[3] ^= 1;
    assert_int_equal(blob_store_locate(f->store, &id, &place), -ENOENT);
    assert_int_equal(blob_store_pack_get(f->store, 77, NULL), -ENOENT);
}

static void the_secret_is_kept(void **state)
{
    struct fixture *f = *state;
    struct blob_secret first = *blob_store_secret(f->store);
    struct stat st;
    assert_int_equal(fstatat(f->dirfd, "secret", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, BLOB_SECRET_BYTES);
    struct blob_id id;
    assert_true(put_seed(f->store, 1, 100, &id) > 0);
    fixture_reopen(f);
    assert_memory_equal(&first, blob_store_secret(f->store), sizeof(first));

    /* A store with packs does not get another one. */
    fixture_close(f);
    struct err err = {0};
    assert_int_equal(renameat(f->dirfd, "secret", f->dirfd, "mislaid"), 0);
    assert_int_equal(blob_store_open(f->dirfd, 1, &f->store, &err), -ENOKEY);
    assert_non_null(strstr(err.message, "secret"));
    assert_int_equal(renameat(f->dirfd, "mislaid", f->dirfd, "secret"), 0);
    OWNED_FD fd = openat(f->dirfd, "secret", O_WRONLY | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, 191), 0);
    assert_int_equal(blob_store_open(f->dirfd, 1, &f->store, &err), -EBADMSG);
    f->store = NULL;
}

static void newer_formats_are_refused(void **state)
{
    struct fixture *f = *state;
    struct blob_id id;
    assert_true(put_seed(f->store, 1, 100, &id) > 0);
    fixture_close(f);
    uint8_t header[PACK_HEADER_BYTES];
    pack_header_encode(1, header);
    header[8] = PACK_VERSION + 1;
    le64_to(header + 24, blob_check_of(header, 24));
    OWNED_FD fd = open_pack_file(f, 1);
    assert_int_equal(pwrite(fd, header, sizeof(header), 0), sizeof(header));
    struct err err = {0};
    assert_int_equal(blob_store_open(f->dirfd, 1, &f->store, &err), -EPROTONOSUPPORT);
    assert_non_null(strstr(err.message, "newer"));
    f->store = NULL;
}

static void objects(void **state)
{
    static const size_t lengths[] = {0, 1, 65536, 300000, 3u << 20};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        size_t len = lengths[i];
        OWNED uint8_t *bytes = content_of(i, (uint32_t)len + 1);
        struct blob_id id;
        struct blob_id again;
        assert_int_equal(blob_object_save(f->store, NULL, bytes, len, &id, NULL), 0);
        uint64_t chunks = stats_of(f).chunks;
        assert_int_equal(blob_object_save(f->store, NULL, bytes, len, &again, NULL), 0);
        assert_int_equal(blob_id_compare(&id, &again), 0);
        assert_int_equal(stats_of(f).chunks, chunks);

        OWNED_BUF struct buf out = BUF_EMPTY;
        buf_put_u8(&out, 42);
        assert_int_equal(blob_object_load(f->store, &id, len, &out, NULL), 0);
        assert_int_equal(out.len_bytes, len + 1);
        assert_int_equal(out.bytes[0], 42);
        assert_memory_equal(out.bytes + 1, bytes, len);
        if (len > 0) {
            assert_int_equal(blob_object_load(f->store, &id, len - 1, &out, NULL), -EFBIG);
            assert_int_equal(out.len_bytes, len + 1);
        }
    }
    struct blob_id none = {{0}};
    OWNED_BUF struct buf out = BUF_EMPTY;
    assert_int_equal(blob_object_load(f->store, &none, 100, &out, NULL), -ENOENT);
    struct blob_id plain;
    assert_true(put_seed(f->store, 99, 100, &plain) > 0);
    assert_int_equal(blob_object_load(f->store, &plain, 100, &out, NULL), -EBADMSG);
}

/* With short lists, so that these are cut in turn. */
static void lists_of_lists(void **state)
{
    struct fixture *f = *state;
    const uint32_t len = 3u << 20;
    OWNED uint8_t *bytes = content_of(5, len);
    struct blob_id id;
    struct blob_id usual;
    assert_int_equal(blob_object_save(f->store, NULL, bytes, len, &usual, NULL), 0);
    uint64_t chunks = stats_of(f).chunks;
    assert_int_equal(store_object_save(f->store, NULL, bytes, len, 10, &id, NULL), 0);
    assert_int_not_equal(blob_id_compare(&id, &usual), 0);
    assert_int_equal(stats_of(f).chunks, chunks + 2); /* the entries and the list of them */

    OWNED_BUF struct buf out = BUF_EMPTY;
    assert_int_equal(blob_object_load(f->store, &id, len - 1, &out, NULL), -EFBIG);
    assert_int_equal(blob_object_load(f->store, &id, len, &out, NULL), 0);
    assert_int_equal(out.len_bytes, len);
    assert_memory_equal(out.bytes, bytes, len);
}

/* The list of an object under the golden secret (0, 1, ... 191), and its id. */
static void golden_object(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    uint8_t secret[BLOB_SECRET_BYTES];
    for (unsigned i = 0; i < sizeof(secret); i++)
        secret[i] = (uint8_t)i;
    assert_int_equal(file_replace(f->dirfd, "secret", 0600, secret, sizeof(secret)), 0);
    fixture_open(f);
    OWNED uint8_t *bytes = content_of(61, 300000);
    struct blob_id id;
    assert_int_equal(blob_object_save(f->store, NULL, bytes, 300000, &id, NULL), 0);

    OWNED_BUF struct buf found = BUF_EMPTY;
    buf_put(&found, id.bytes, sizeof(id.bytes));
    int64_t len = store_raw_bytes(f->store, &id);
    assert_in_range(len, 1, BLOB_CHUNK_MAX_BYTES);
    uint8_t *list = buf_room(&found, (size_t)len);
    assert_non_null(list);
    assert_int_equal(blob_store_get(f->store, &id, list, (uint32_t)len, NULL), 0);
    buf_grew(&found, (size_t)len);
    if (golden_print("object-cut-v2.hex", found.bytes, found.len_bytes))
        return;
    OWNED_BUF struct buf golden = BUF_EMPTY;
    assert_true(golden_read("object-cut-v2.hex", &golden));
    assert_int_equal(golden.len_bytes, found.len_bytes);
    assert_memory_equal(golden.bytes, found.bytes, found.len_bytes);
}

/* What an older program cut otherwise is named by its list, and read as ever. */
static void an_object_of_other_cuts(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    uint8_t secret[BLOB_SECRET_BYTES];
    for (unsigned i = 0; i < sizeof(secret); i++)
        secret[i] = (uint8_t)i;
    assert_int_equal(file_replace(f->dirfd, "secret", 0600, secret, sizeof(secret)), 0);
    fixture_open(f);
    OWNED uint8_t *bytes = content_of(61, 300000);
    OWNED_BUF struct buf golden = BUF_EMPTY;
    OWNED_BUF struct buf out = BUF_EMPTY;
    assert_true(golden_read("object.hex", &golden)); /* the id, a header of 32 bytes, entries of 20 */
    const uint8_t *list = golden.bytes + BLOB_ID_BYTES;
    size_t list_bytes = golden.len_bytes - BLOB_ID_BYTES;
    size_t cut = 0;
    struct blob_id id;
    for (size_t at = 32; at < list_bytes; at += 20) {
        uint32_t n = le32_at(list + at + BLOB_ID_BYTES);
        assert_true(blob_store_put(f->store, NULL, bytes + cut, n, &id, NULL) > 0);
        assert_memory_equal(id.bytes, list + at, BLOB_ID_BYTES);
        cut += n;
    }
    assert_int_equal(cut, 300000);
    assert_true(blob_store_put(f->store, NULL, list, (uint32_t)list_bytes, &id, NULL) > 0);
    assert_memory_equal(id.bytes, golden.bytes, BLOB_ID_BYTES);
    assert_int_equal(blob_object_load(f->store, &id, 300000, &out, NULL), 0);
    assert_memory_equal(out.bytes, bytes, 300000);
}

static void cache_reads_and_stays_bounded(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 40, LEN = 50000 };
    struct blob_id ids[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        assert_true(put_seed(f->store, i, LEN, &ids[i]) > 0);
    struct blob_cache *cache;
    assert_int_equal(blob_cache_new(f->store, 10 * (LEN + 1000), &cache), 0);
    uint8_t got[100];
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < COUNT; i++) {
            OWNED uint8_t *expected = content_of(i, LEN);
            assert_int_equal(blob_cache_read(cache, &ids[i], LEN, LEN - 100, got, 100, NULL), 0);
            assert_memory_equal(got, expected + LEN - 100, 100);
        }
    assert_int_equal(blob_cache_read(cache, &ids[0], LEN, LEN - 99, got, 100, NULL), -EINVAL);
    assert_int_equal(blob_cache_read(cache, &ids[0], LEN, UINT32_MAX, got, 100, NULL), -EINVAL);

    /* The newest ten are there without the store, the others are not. */
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_int_equal(renameat(f->dirfd, "packs", f->dirfd, "away"), 0);
    for (uint64_t at = PACK_HEADER_BYTES; at < COUNT * LEN; at += LEN / 2) {
        OWNED_FD fd = openat(f->dirfd, "away/0000000000000001.pack", O_RDWR | O_CLOEXEC);
        assert_int_equal(pwrite(fd, "damage", 6, (off_t)at), 6);
    }
    unsigned there = 0;
    for (unsigned i = COUNT; i-- > 0;)
        there += blob_cache_read(cache, &ids[i], LEN, 0, got, 100, NULL) == 0;
    assert_in_range(there, 9, 10);
    assert_int_equal(renameat(f->dirfd, "away", f->dirfd, "packs"), 0);
    blob_cache_free(cache);
}

/* Many packs, read by two threads; each chunk lies in two neighbours. */
static void the_later_of_many_packs_counts(void **state)
{
    enum { PACKS = 40, CHUNKS = 50 };
    struct fixture *f = *state;
    fixture_close(f);
    struct pack_io io;
    OWNED_FD packs_fd = pack_dir_open(f->dirfd, NULL);
    assert_int_equal(pack_dir_new(packs_fd, &io, NULL), 0);
    for (unsigned number = 1; number <= PACKS; number++) {
        OWNED_BUF struct buf footer = BUF_EMPTY;
        uint32_t end = PACK_HEADER_BYTES;
        for (unsigned k = 0; k < CHUNKS; k++) {
            struct pack_entry e = {.offset_bytes = end, .stored_bytes = 1, .raw_bytes = 1};
            random_fill((number - number % 2) * CHUNKS + k, e.id.bytes, sizeof(e.id.bytes));
            pack_footer_add(&footer, &e);
            end += BLOB_RECORD_HEADER_BYTES + 1;
        }
        pack_footer_close(&footer, number, end);
        uint8_t header[PACK_HEADER_BYTES];
        pack_header_encode(number, header);
        struct pack_grower *file = NULL;
        assert_int_equal(io.ops->grow(io.packs, number, true, &file), 0);
        assert_int_equal(io.ops->write(file, header, sizeof(header), 0), 0);
        assert_int_equal(io.ops->write(file, footer.bytes, footer.len_bytes, end), 0);
        io.ops->close_grower(file);
    }
    pack_io_close(&io);
    fixture_open(f);
    assert_int_equal(stats_of(f).chunks, (PACKS / 2 + 1) * CHUNKS); /* 1; 2, 3; ... 40 */
    for (unsigned number = 1; number <= PACKS; number++) {
        struct blob_id id;
        struct blob_place place;
        random_fill((number - number % 2) * CHUNKS + CHUNKS - 1, id.bytes, sizeof(id.bytes));
        assert_int_equal(blob_store_locate(f->store, &id, &place), 0);
        assert_int_equal(place.pack, number % 2 || number == PACKS ? number : number + 1);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(put_and_get),
        TEST(sizes_are_checked),
        TEST(what_compresses_is_compressed),
        TEST(many_packs_come_back),
        TEST(the_later_of_many_packs_counts),
        TEST(locate_and_read),
        TEST(the_secret_is_kept),
        TEST(newer_formats_are_refused),
        TEST(objects),
        TEST(lists_of_lists),
        TEST(golden_object),
        TEST(an_object_of_other_cuts),
        TEST(cache_reads_and_stays_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
