/* Four threads at one store; meant for TSan as well. */
#include <pthread.h>
#include <stdatomic.h>

#include "store_fixture.h"

#define THREADS 4
#define CHUNKS 600u
#define LEN 20000u

struct work {
    struct fixture *f;
    struct blob_cache *cache;
    unsigned number;
    atomic_uint *failures;
    atomic_ullong *added;
};

static bool content_is(uint64_t seed, const uint8_t *got, uint32_t at, uint32_t len)
{
    OWNED uint8_t *expected = malloc(LEN);
    if (!expected)
        return false;
    random_fill(seed, expected, LEN);
    return memcmp(expected + at, got, len) == 0;
}

/* cmocka's assertions are for one thread: faults are counted. */
static bool one_chunk(struct work *w, struct blob_compressor *c, unsigned seed)
{
    OWNED uint8_t *bytes = malloc(LEN);
    OWNED uint8_t *got = malloc(LEN);
    if (!bytes || !got)
        return false;
    random_fill(seed, bytes, LEN);
    struct blob_id id;
    int added = blob_store_put(w->f->store, c, bytes, LEN, &id, NULL);
    if (added < 0)
        return false;
    atomic_fetch_add(w->added, (unsigned)added);
    if (blob_store_get(w->f->store, &id, got, LEN, NULL) != 0 || !content_is(seed, got, 0, LEN))
        return false;
    if (blob_cache_read(w->cache, &id, LEN, 100, got, 500, NULL) != 0 || !content_is(seed, got, 100, 500))
        return false;
    if (seed % 97 == 0 && blob_store_sync(w->f->store, NULL) != 0)
        return false;
    struct blob_place place;
    if (seed % 13 != 0)
        return true;
    if (blob_store_locate(w->f->store, &id, &place) != 0)
        return false;
    int fd = blob_store_pack_get(w->f->store, place.pack, NULL);
    ssize_t n = fd < 0 ? fd : pread(fd, got, BLOB_RECORD_HEADER_BYTES, place.offset_bytes);
    blob_store_pack_put(w->f->store, place.pack);
    return n == BLOB_RECORD_HEADER_BYTES && memcmp(got, BLOB_RECORD_MAGIC, 4) == 0;
}

static void *run(void *argument)
{
    struct work *w = argument;
    struct blob_compressor *c = NULL;
    if (w->number % 2 && blob_compressor_new(1, &c) < 0)
        atomic_fetch_add(w->failures, 1);
    /* All put the same chunks, half of them in the other direction. */
    for (unsigned i = 0; i < CHUNKS; i++)
        if (!one_chunk(w, c, w->number / 2 ? CHUNKS - 1 - i : i))
            atomic_fetch_add(w->failures, 1);
    blob_compressor_free(c);
    return NULL;
}

static void four_threads(void **state)
{
    struct fixture *f = *state;
    atomic_uint failures = 0;
    atomic_ullong added = 0;
    struct blob_cache *cache;
    assert_int_equal(blob_cache_new(f->store, 30 * LEN, &cache), 0);
    pthread_t threads[THREADS];
    struct work work[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        work[i] = (struct work){.f = f, .cache = cache, .number = i, .failures = &failures, .added = &added};
        assert_int_equal(pthread_create(&threads[i], NULL, run, &work[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    blob_cache_free(cache);
    assert_int_equal(failures, 0);
    assert_int_equal(added, (uint64_t)CHUNKS * (LEN + BLOB_RECORD_HEADER_BYTES)); /* each once */
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    fixture_reopen(f);
    assert_int_equal(stats_of(f).chunks, CHUNKS);
    assert_int_equal(stats_of(f).bad_chunks, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(four_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
