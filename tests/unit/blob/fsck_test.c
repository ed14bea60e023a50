/* What a check finds of each kind of damage, and that it finds nothing where there is none. */
#include "fsck_heard.h"

#define LEN 200000u
#define RECORD (BLOB_RECORD_HEADER_BYTES + LEN)
#define COUNT 100u /* one pack is sealed then, the next one takes records */
#define FIRST_PACK ((PACK_RECORDS_MAX_BYTES - PACK_HEADER_BYTES) / RECORD)

static void put_all(struct fixture *f, struct blob_id *ids)
{
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(put_seed(f->store, i, LEN, &ids[i]), RECORD);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
}

static uint64_t place_of(unsigned i)
{
    return PACK_HEADER_BYTES + (uint64_t)(i % FIRST_PACK) * RECORD;
}

static unsigned pack_of(unsigned i)
{
    return 1 + i / FIRST_PACK;
}

static void expect(const struct heard *heard, unsigned k, enum blob_fsck_fault fault, unsigned i,
                   const struct blob_id *id)
{
    assert_true(k < heard->count);
    assert_int_equal(heard->events[k].fault, fault);
    assert_int_equal(heard->events[k].pack, pack_of(i));
    assert_int_equal(heard->events[k].offset_bytes, place_of(i));
    assert_memory_equal(&heard->events[k].id, id, sizeof(*id));
}

static void nothing_is_wrong(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[COUNT], more;
    struct heard heard;
    struct blob_fsck_result result;
    blob_fsck_free(check(f, &heard, &result)); /* of an empty store */
    assert_int_equal(result.packs, 0);
    put_all(f, ids);
    assert_int_equal(put_seed(f->store, COUNT, LEN, &more), RECORD); /* in memory only */
    struct blob_fsck *fsck = check(f, &heard, &result);
    assert_int_equal(heard.count, 0);
    assert_int_equal(result.packs, 2);
    assert_int_equal(result.chunks, COUNT + 1);
    for (unsigned i = 0; i < COUNT; i++)
        assert_true(blob_fsck_has(fsck, &ids[i]));
    assert_true(blob_fsck_has(fsck, &more));
    assert_int_equal(put_seed(f->store, 500, LEN, &more), RECORD); /* since it began */
    assert_true(blob_fsck_has(fsck, &more));
    more.bytes[0] ^= 1;
    assert_false(blob_fsck_has(fsck, &more));
    blob_fsck_free(fsck);
    fixture_reopen(f);
    blob_fsck_free(check(f, &heard, &result));
    assert_int_equal(heard.count, 0);
    assert_int_equal(result.chunks, COUNT + 2);
    assert_int_equal(result.bad_chunks, 0);
}

static void damaged_records(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[COUNT];
    struct heard heard;
    struct blob_fsck_result result;
    put_all(f, ids);
    flip(f, 1, place_of(3) + 1000);              /* content of the sealed pack */
    flip(f, 1, place_of(5) + 2);                 /* a record's magic there */
    flip(f, 2, place_of(FIRST_PACK + 1) + 5000); /* content of the one that grows */
    struct blob_fsck *fsck = check(f, &heard, &result);
    assert_int_equal(result.bad_chunks, 3);
    expect(&heard, 0, BLOB_FSCK_CHUNK, 3, &ids[3]);
    expect(&heard, 1, BLOB_FSCK_CHUNK, 5, &ids[5]);
    expect(&heard, 2, BLOB_FSCK_CHUNK, FIRST_PACK + 1, &ids[FIRST_PACK + 1]);
    assert_int_equal(heard.count, 3);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(blob_fsck_has(fsck, &ids[i]), i != 3 && i != 5 && i != FIRST_PACK + 1);
    assert_int_equal(stats_of(f).bad_chunks, 3);
    assert_int_equal(put_seed(f->store, 3, LEN, &ids[3]), RECORD);
    assert_true(blob_fsck_has(fsck, &ids[3]));
    blob_fsck_free(fsck);
    /* What is of no use to anybody is no fault. */
    assert_int_equal(put_seed(f->store, 5, LEN, &ids[5]), RECORD);
    assert_int_equal(put_seed(f->store, FIRST_PACK + 1, LEN, &ids[FIRST_PACK + 1]), RECORD);
    fixture_reopen(f);
    blob_fsck_free(check(f, &heard, &result));
    assert_int_equal(result.bad_chunks, 0);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(get_seed(f->store, i, LEN, &ids[i]), 0);
}

static void a_damaged_footer(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[COUNT];
    struct heard heard;
    struct blob_fsck_result result;
    put_all(f, ids);
    flip(f, 1, pack_file_bytes(f, 1) - 10);
    blob_fsck_free(check(f, &heard, &result));
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.events[0].fault, BLOB_FSCK_FOOTER);
    assert_int_equal(heard.events[0].pack, 1);
    assert_int_equal(result.bad_chunks, 0);
    assert_int_equal(result.other_faults, 1);
    fixture_reopen(f); /* mends it */
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    blob_fsck_free(check(f, &heard, &result));
    assert_int_equal(heard.count, 0);
}

static void another_copy_takes_its_place(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[COUNT];
    struct heard heard;
    struct blob_fsck_result result;
    put_all(f, ids);
    /* It is bad once, stored anew, and good again: two copies. */
    flip(f, 1, place_of(7) + 100);
    assert_true(get_seed(f->store, 7, LEN, &ids[7]) < 0);
    struct blob_place second;
    assert_int_equal(put_seed(f->store, 7, LEN, &ids[7]), RECORD);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_int_equal(blob_store_locate(f->store, &ids[7], &second), 0);
    flip(f, 1, place_of(7) + 100);
    flip(f, (unsigned)second.pack, second.offset_bytes + 3000);
    struct blob_fsck *fsck = check(f, &heard, &result);
    assert_int_equal(result.bad_chunks, 1);
    assert_int_equal(result.recovered, 1);
    assert_true(blob_fsck_has(fsck, &ids[7]));
    blob_fsck_free(fsck);
    /* Also after the next start, whatever the pack says of the bad one. */
    fixture_reopen(f);
    assert_int_equal(get_seed(f->store, 7, LEN, &ids[7]), 0);
    assert_int_equal(blob_store_locate(f->store, &ids[7], &second), 0);
    flip(f, (unsigned)second.pack, second.offset_bytes + 3000);
    flip(f, 1, place_of(7) + 100);
    blob_fsck_free(check(f, &heard, &result));
    assert_int_equal(result.bad_chunks, 1);
    assert_int_equal(result.recovered, 0);
    flip(f, 1, place_of(7) + 100);
    assert_int_equal(put_seed(f->store, 7, LEN, &ids[7]), RECORD);
    for (unsigned i = COUNT; i < 2 * COUNT; i++) { /* until that pack is sealed */
        struct blob_id id;
        assert_int_equal(put_seed(f->store, i, LEN, &id), RECORD);
    }
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_int_equal(blob_store_locate(f->store, &ids[7], &second), 0);
    flip(f, (unsigned)second.pack, second.offset_bytes + 3000);
    fsck = check(f, &heard, &result);
    assert_int_equal(result.bad_chunks, 1);
    assert_int_equal(result.recovered, 1);
    assert_int_equal(heard.events[heard.count - 1].fault, BLOB_FSCK_RECOVERED);
    assert_int_equal(heard.events[heard.count - 1].pack, 1);
    assert_true(blob_fsck_has(fsck, &ids[7]));
    blob_fsck_free(fsck);
    assert_int_equal(get_seed(f->store, 7, LEN, &ids[7]), 0);
}

/* One that a reader set aside before the check, and one whose older copy's pack has no footer. */
static void copies_that_only_records_tell_of(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[COUNT];
    struct heard heard;
    struct blob_fsck_result result;
    struct blob_place second;
    const unsigned two[] = {7, FIRST_PACK + 2}; /* in the sealed pack, and in the one that grows */
    put_all(f, ids);
    for (unsigned i = 0; i < 2; i++) {
        flip(f, pack_of(two[i]), place_of(two[i]) + 100);
        assert_true(get_seed(f->store, two[i], LEN, &ids[two[i]]) < 0);
        assert_int_equal(put_seed(f->store, two[i], LEN, &ids[two[i]]), RECORD);
        assert_int_equal(blob_store_locate(f->store, &ids[two[i]], &second), 0);
        flip(f, pack_of(two[i]), place_of(two[i]) + 100);
        flip(f, (unsigned)second.pack, second.offset_bytes + 3000);
    }
    assert_true(get_seed(f->store, 7, LEN, &ids[7]) < 0);
    assert_false(blob_store_has(f->store, &ids[7]));
    flip(f, 1, pack_file_bytes(f, 1) - 10);
    struct blob_fsck *fsck = check(f, &heard, &result);
    assert_int_equal(result.bad_chunks, 1);
    assert_int_equal(result.recovered, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_true(blob_fsck_has(fsck, &ids[two[i]]));
    blob_fsck_free(fsck);
    fixture_reopen(f);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(get_seed(f->store, i, LEN, &ids[i]), 0);

    /* A place that cannot be read for a while. */
    flip(f, 1, place_of(50) + 100);
    assert_true(get_seed(f->store, 50, LEN, &ids[50]) < 0);
    flip(f, 1, place_of(50) + 100);
    fixture_reopen(f);
    assert_false(blob_store_has(f->store, &ids[50]));
    blob_fsck_free(check(f, &heard, &result));
    assert_int_equal(result.recovered, 1);
    assert_int_equal(get_seed(f->store, 50, LEN, &ids[50]), 0);
    blob_fsck_free(check(f, &heard, &result));
    assert_int_equal(heard.count, 0);
}

static void a_pack_is_gone(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[COUNT];
    struct heard heard;
    struct blob_fsck_result result;
    put_all(f, ids);
    fixture_reopen(f); /* no fd of it is open */
    assert_int_equal(unlinkat(f->dirfd, "packs/0000000000000001.pack", 0), 0);
    struct blob_fsck *fsck = check(f, &heard, &result);
    assert_int_equal(result.packs, 1);
    assert_int_equal(result.bad_chunks, FIRST_PACK);
    assert_int_equal(heard.count, FIRST_PACK);
    assert_int_equal(heard.events[0].fault, BLOB_FSCK_CHUNK);
    assert_int_equal(heard.events[0].pack, 1);
    assert_false(blob_fsck_has(fsck, &ids[0]));
    assert_true(blob_fsck_has(fsck, &ids[COUNT - 1]));
    blob_fsck_free(fsck);
}

static void it_can_be_cancelled(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[COUNT];
    struct heard heard = {0};
    bool cancelled = true;
    put_all(f, ids);
    struct blob_fsck_options options = {.cancelled = &cancelled, .event = hear, .arg = &heard};
    struct blob_fsck *fsck = NULL;
    struct err err = {0};
    assert_int_equal(blob_fsck_run(f->store, &options, &fsck, &err), -ECANCELED);
    assert_null(fsck);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_wrong),
        TEST(damaged_records),
        TEST(a_damaged_footer),
        TEST(another_copy_takes_its_place),
        TEST(copies_that_only_records_tell_of),
        TEST(a_pack_is_gone),
        TEST(it_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
