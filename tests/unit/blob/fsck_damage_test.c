/* Damage of what holds chunks, not of their content: headers, lengths of files, spots that cannot be read.
 * What is good around it is found. */
#include "fsck_heard.h"
#include "memory_packs.h"
#include "store_parts.h"

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

/* That only these are bad, by name and by place. */
static void expect_bad(struct fixture *f, const struct blob_id *ids, const unsigned *bad, unsigned count)
{
    struct heard heard;
    struct blob_fsck_result result;
    struct blob_fsck *fsck = check(f, &heard, &result);
    assert_int_equal(result.bad_chunks, count);
    for (unsigned i = 0; i < COUNT; i++) {
        bool is_bad = false;
        for (unsigned k = 0; k < count; k++)
            is_bad = is_bad || bad[k] == i;
        assert_int_equal(blob_fsck_has(fsck, &ids[i]), !is_bad);
    }
    for (unsigned k = 0; k < count; k++) {
        bool named = false;
        for (unsigned h = 0; h < heard.count && h < HEARD_MAX; h++)
            named = named || (heard.events[h].fault == BLOB_FSCK_CHUNK &&
                              heard.events[h].pack == 1 + bad[k] / FIRST_PACK &&
                              heard.events[h].offset_bytes == place_of(bad[k]) &&
                              blob_id_compare(&heard.events[h].id, &ids[bad[k]]) == 0);
        assert_true(named);
    }
    blob_fsck_free(fsck);
}

/* Magic, check, codec, zeros, both lengths and the id of records that lie side by side, and the last one. */
static void headers_of_records(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[COUNT];
    const unsigned bad[] = {3, 4, 5, 6, 7, 8, FIRST_PACK - 1, FIRST_PACK + 1, FIRST_PACK + 2, COUNT - 1};
    const unsigned at[] = {0, 6, 12, 14, 18, 22, 30, 22, 39, 18};
    put_all(f, ids);
    for (unsigned k = 0; k < sizeof(bad) / sizeof(*bad); k++)
        flip(f, 1 + bad[k] / FIRST_PACK, place_of(bad[k]) + at[k]);
    expect_bad(f, ids, bad, sizeof(bad) / sizeof(*bad));
}

/* The footer, which would name them, is damaged as well: the index knows what was there. */
static void headers_of_records_without_a_footer(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[COUNT];
    const unsigned bad[] = {0, 9, FIRST_PACK - 1};
    put_all(f, ids);
    for (unsigned k = 0; k < sizeof(bad) / sizeof(*bad); k++)
        flip(f, 1, place_of(bad[k]) + 20);
    flip(f, 1, pack_file_bytes(f, 1) - 10);
    expect_bad(f, ids, bad, sizeof(bad) / sizeof(*bad));
}

static void the_header_of_a_pack(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[COUNT];
    struct heard heard;
    struct blob_fsck_result result;
    put_all(f, ids);
    for (unsigned at = 1; at < PACK_HEADER_BYTES; at += 7) {
        flip(f, 1, at);
        flip(f, 2, at);
        blob_fsck_free(check(f, &heard, &result));
        assert_int_equal(heard.count, 2);
        for (unsigned k = 0; k < 2; k++) {
            assert_int_equal(heard.events[k].fault, BLOB_FSCK_HEADER);
            assert_int_equal(heard.events[k].pack, 1 + k);
        }
        assert_int_equal(result.chunks, COUNT);
        assert_int_equal(result.bad_chunks, 0);
        assert_int_equal(result.other_faults, 2);
        uint64_t sealed_bytes = pack_file_bytes(f, 1);
        fixture_reopen(f); /* mends both */
        assert_int_equal(pack_file_bytes(f, 1), sealed_bytes);
        expect_bad(f, ids, NULL, 0);
        blob_fsck_free(check(f, &heard, &result));
        assert_int_equal(heard.count, 0);
    }
}

static void a_pack_that_is_shorter(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[COUNT];
    struct heard heard;
    struct blob_fsck_result result;
    put_all(f, ids);
    OWNED_FD first = open_pack_file(f, 1);
    OWNED_FD second = open_pack_file(f, 2);
    assert_int_equal(ftruncate(first, (off_t)place_of(20) + 1000), 0);
    assert_int_equal(ftruncate(second, (off_t)place_of(FIRST_PACK + 3)), 0);
    struct blob_fsck *fsck = check(f, &heard, &result);
    assert_int_equal(result.chunks, 23);
    assert_int_equal(result.bad_chunks, COUNT - 23);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(blob_fsck_has(fsck, &ids[i]), i < 20 || (i >= FIRST_PACK && i < FIRST_PACK + 3));
    blob_fsck_free(fsck);
}

/* ---- spots that cannot be read ---- */

static void open_over(struct fixture *f, struct memory_packs *m)
{
    struct err err = {0};
    struct pack_io io = memory_packs_io(m);
    if (store_open_over(f->dirfd, 1, &io, &f->store, &err) != 0)
        fail_msg("open: %s", err.message);
}

static void expect_unreadable(struct fixture *f, unsigned pack, uint64_t at)
{
    struct heard heard;
    struct blob_fsck_result result;
    blob_fsck_free(check(f, &heard, &result));
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.events[0].fault, BLOB_FSCK_UNREADABLE);
    assert_int_equal(heard.events[0].pack, pack);
    assert_int_equal(heard.events[0].offset_bytes, at / 4096 * 4096);
    assert_int_equal(heard.events[0].error, EIO);
    assert_int_equal(result.packs, 2);
}

static void begin_over(struct fixture *f, struct memory_packs *m, struct blob_id *ids)
{
    memory_packs_init(m);
    open_over(f, m);
    put_all(f, ids);
}

static void end_over(struct fixture *f, struct memory_packs *m)
{
    fixture_close(f);
    memory_packs_free(m);
}

static void spots_that_cannot_be_read(void **state)
{
    struct fixture *f = *state;
    static struct memory_packs m;
    struct blob_id ids[COUNT];
    fixture_close(f);

    /* In content, and over two records' ends. */
    begin_over(f, &m, ids);
    const unsigned bad[] = {3, 10, 11};
    m.spots[0].pack = m.spots[1].pack = 1;
    m.spots[0].from = place_of(3) + 100000;
    m.spots[0].to = m.spots[0].from + 10;
    m.spots[1].from = place_of(11) - 1000;
    m.spots[1].to = place_of(11) + 1000;
    expect_bad(f, ids, bad, 3);
    expect_unreadable(f, 1, m.spots[0].from);
    end_over(f, &m);

    /* The headers of a pack that grows and of its first record. */
    begin_over(f, &m, ids);
    m.spots[0].pack = 2;
    m.spots[0].to = 50;
    expect_bad(f, ids, (const unsigned[]){FIRST_PACK}, 1);
    expect_unreadable(f, 2, 0);
    end_over(f, &m);

    /* The footer: the index knows where the record before it is, which is read for itself. */
    begin_over(f, &m, ids);
    m.spots[0].pack = 1;
    m.spots[0].from = place_of(FIRST_PACK - 1) + RECORD + 10;
    m.spots[0].to = m.spots[0].from + 10;
    expect_bad(f, ids, NULL, 0);
    expect_unreadable(f, 1, m.spots[0].from);
    end_over(f, &m);
}

/* What is in memory alone is not missing. */
static void a_full_disk_is_no_damage(void **state)
{
    struct fixture *f = *state;
    static struct memory_packs m;
    struct blob_id ids[COUNT], more;
    struct heard heard;
    struct blob_fsck_result result;
    fixture_close(f);
    memory_packs_init(&m);
    open_over(f, &m);
    m.full = true;
    assert_int_equal(put_seed(f->store, 1000, LEN, &more), RECORD); /* of a pack that has nothing yet */
    struct blob_fsck *fsck = check(f, &heard, &result);
    assert_int_equal(heard.count, 0);
    assert_true(blob_fsck_has(fsck, &more));
    blob_fsck_free(fsck);
    m.full = false;
    put_all(f, ids);
    m.full = true;
    assert_int_equal(put_seed(f->store, 1001, LEN, &more), RECORD);
    fsck = check(f, &heard, &result);
    assert_int_equal(heard.count, 0);
    assert_int_equal(result.bad_chunks, 0);
    assert_true(blob_fsck_has(fsck, &more));
    blob_fsck_free(fsck);
    m.full = false;
    assert_int_equal(get_seed(f->store, 1001, LEN, &more), 0);
    fixture_close(f);
    memory_packs_free(&m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(headers_of_records),        TEST(headers_of_records_without_a_footer),
        TEST(the_header_of_a_pack),      TEST(a_pack_that_is_shorter),
        TEST(spots_that_cannot_be_read), TEST(a_full_disk_is_no_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
