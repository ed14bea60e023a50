/* Checks beside puts and syncs: a pack that is just being sealed is whole. Meant for TSan as well. */
#include <pthread.h>
#include <stdatomic.h>

#include "blob/fsck.h"
#include "memory_packs.h"
#include "store_fixture.h"
#include "store_parts.h"

#define LEN 200000u
#define COUNT 400u /* chunks: four packs and more */
#define SYNC_EACH 7u

static void count_events(void *arg, const struct blob_fsck_event *event)
{
    (void)event;
    ++*(unsigned *)arg;
}

/* How many faults it found, or -errno. */
static int check(struct blob_store *store)
{
    unsigned events = 0;
    struct blob_fsck_options options = {.event = count_events, .arg = &events};
    struct blob_fsck *fsck = NULL;
    int r = blob_fsck_run(store, &options, &fsck, NULL);
    blob_fsck_free(fsck);
    return r < 0 ? r : (int)events;
}

/* ---- in the middle of sealing ---- */

static struct {
    struct memory_packs m;
    struct pack_ops ops;
    struct blob_store *store;
    unsigned puts, whole;
    int faults;
} sealing;

/* A pack of memory is sealed by putting it. */
static int put_and_look(void *packs, uint32_t number, const void *bytes, size_t len_bytes)
{
    {
        HOLD_LOCK(&sealing.store->append_lock);
        for (const struct open_pack *p = sealing.store->open; p; p = p->next)
            if (p->number == number && p->entries.len_bytes % PACK_ENTRY_BYTES == 0)
                sealing.whole++;
    }
    sealing.puts++;
    sealing.faults += check(sealing.store);
    return memory_packs_io(&sealing.m).ops->put(packs, number, bytes, len_bytes);
}

static void the_entries_of_a_pack_that_is_sealed(void **state)
{
    struct fixture *f = *state;
    struct blob_id id;
    fixture_close(f);
    memory_packs_init(&sealing.m);
    struct pack_io io = memory_packs_io(&sealing.m);
    sealing.ops = *io.ops;
    sealing.ops.put = put_and_look;
    io.ops = &sealing.ops;
    assert_int_equal(store_open_over(f->dirfd, 1, &io, &f->store, NULL), 0);
    sealing.store = f->store;
    for (unsigned i = 0; i < COUNT / 2; i++)
        assert_true(put_seed(f->store, i, LEN, &id) > 0);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_int_equal(sealing.puts, 2);
    assert_int_equal(sealing.whole, 2);
    assert_int_equal(sealing.faults, 0);
    fixture_close(f);
    memory_packs_free(&sealing.m);
}

/* ---- side by side ---- */

struct writer {
    struct blob_store *store;
    atomic_bool ended;
    atomic_uint failures;
};

static void *write_all(void *arg)
{
    struct writer *w = arg;
    OWNED uint8_t *bytes = malloc(LEN);
    struct blob_id id;
    for (unsigned i = 0; bytes && i < COUNT; i++) {
        random_fill(i, bytes, LEN);
        if (blob_store_put(w->store, NULL, bytes, LEN, &id, NULL) <= 0 ||
            (i % SYNC_EACH == 0 && blob_store_sync(w->store, NULL) < 0))
            atomic_fetch_add(&w->failures, 1);
    }
    if (!bytes || blob_store_sync(w->store, NULL) < 0)
        atomic_fetch_add(&w->failures, 1);
    atomic_store(&w->ended, true);
    return NULL;
}

static void beside_puts_and_syncs(void **state)
{
    struct fixture *f = *state;
    struct writer w = {.store = f->store};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_all, &w), 0);
    int faults = 0;
    while (!atomic_load(&w.ended) && faults == 0)
        faults = check(f->store);
    pthread_join(thread, NULL);
    assert_int_equal(faults, 0);
    assert_int_equal(w.failures, 0);
    assert_int_equal(check(f->store), 0);
    assert_int_equal(stats_of(f).bad_chunks, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_entries_of_a_pack_that_is_sealed),
        TEST(beside_puts_and_syncs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
