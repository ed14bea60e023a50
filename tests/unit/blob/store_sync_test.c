/* What reaches the disk and when: fdatasync(2) is this test's own (ld --wrap). */
#include "store_fixture.h"

int __wrap_fdatasync(int fd);
int __real_fdatasync(int fd);

/* The test's eye on fdatasync; one thread only. */
static struct {
    unsigned calls;
    int error; /* what it fails with, 0: it works */
    bool saw_footer;
} watch;

int __wrap_fdatasync(int fd)
{
    watch.calls++;
    struct stat st;
    uint8_t end[PACK_TRAILER_BYTES];
    struct pack_trailer trailer;
    if (fstat(fd, &st) == 0 && st.st_size > PACK_TRAILER_BYTES &&
        pread(fd, end, sizeof(end), st.st_size - PACK_TRAILER_BYTES) == sizeof(end) &&
        pack_trailer_decode(end, (uint64_t)st.st_size, 1, &trailer) == 0)
        watch.saw_footer = true;
    if (watch.error) {
        errno = watch.error;
        return -1;
    }
    return __real_fdatasync(fd);
}

static void only_what_is_new_is_synced(void **state)
{
    struct fixture *f = *state;
    struct blob_id id;
    watch.calls = 0;
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_int_equal(watch.calls, 0);
    assert_true(put_seed(f->store, 1, 1000, &id) > 0);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_int_equal(watch.calls, 1);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_int_equal(watch.calls, 1);
    assert_int_equal(put_seed(f->store, 1, 1000, &id), 0);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_int_equal(watch.calls, 1);
}

/* A killed controller's records are in the page cache: the next one may not take them for durable. */
static void what_a_kill_left_is_synced_at_the_start(void **state)
{
    struct fixture *f = *state;
    struct blob_id id;
    assert_true(put_seed(f->store, 1, 1000, &id) > 0);
    watch.calls = 0;
    fixture_close(f);
    assert_int_equal(watch.calls, 0);
    fixture_open(f);
    assert_int_equal(watch.calls, 1);
    assert_int_equal(get_seed(f->store, 1, 1000, &id), 0);
}

#define BIG (128u << 10)
#define BIGS 130u

static void footers_come_after_the_sync(void **state)
{
    struct fixture *f = *state;
    struct blob_id id;
    for (unsigned i = 0; i < BIGS; i++)
        assert_true(put_seed(f->store, i, BIG, &id) > 0);
    uint64_t unsealed = pack_file_bytes(f, 1);
    watch.calls = 0;
    watch.saw_footer = false;
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_int_equal(watch.calls, 2);
    assert_false(watch.saw_footer);
    assert_true(pack_file_bytes(f, 1) > unsealed); /* it is there now */
}

/* A long run of puts syncs by itself now and then, so that fds and dirty packs stay few. */
static void long_runs_are_synced_on_the_way(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = content_of(1, BLOB_CHUNK_MAX_BYTES);
    struct blob_id id;
    watch.calls = 0;
    for (unsigned i = 0; i < 17 * 64; i++) {
        le32_to(bytes, i);
        assert_true(blob_store_put(f->store, NULL, bytes, BLOB_CHUNK_MAX_BYTES, &id, NULL) > 0);
    }
    free(bytes);
    assert_true(watch.calls >= 16);
}

static void a_failed_sync_is_not_forgotten(void **state)
{
    struct fixture *f = *state;
    struct blob_id id;
    struct blob_id other;
    struct err err = {0};
    assert_true(put_seed(f->store, 1, 1000, &id) > 0);
    watch.error = EIO;
    assert_int_equal(blob_store_sync(f->store, &err), -EIO);
    assert_non_null(strstr(err.message, "disk"));
    watch.error = 0;
    /* The kernel says nothing the second time (fsync(2)); the store must. */
    assert_int_equal(blob_store_sync(f->store, NULL), -EIO);
    assert_int_equal(put_seed(f->store, 2, 1000, &other), -EIO);
    assert_int_equal(get_seed(f->store, 1, 1000, &id), 0);
    fixture_reopen(f);
    assert_true(put_seed(f->store, 2, 1000, &other) > 0);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_what_is_new_is_synced),     TEST(what_a_kill_left_is_synced_at_the_start),
        TEST(footers_come_after_the_sync),    TEST(long_runs_are_synced_on_the_way),
        TEST(a_failed_sync_is_not_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
