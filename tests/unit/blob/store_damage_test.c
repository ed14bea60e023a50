/* Torn, flipped and missing bytes in packs: what is good stays, what is bad is said and can be stored again.
 */
#include "store_fixture.h"

#define LEN 100u
#define RECORD (BLOB_RECORD_HEADER_BYTES + LEN)

static void put_three(struct fixture *f, struct blob_id ids[3])
{
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(put_seed(f->store, i, LEN, &ids[i]), RECORD);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_int_equal(pack_file_bytes(f, 1), PACK_HEADER_BYTES + 3 * RECORD);
}

static void a_torn_tail_at_every_byte(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[3];
    put_three(f, ids);
    uint64_t good = PACK_HEADER_BYTES + 2 * RECORD;
    for (uint64_t torn = 0; torn < RECORD; torn++) {
        fixture_close(f);
        OWNED_FD fd = open_pack_file(f, 1);
        assert_int_equal(ftruncate(fd, (off_t)(good + torn)), 0);
        fixture_open(f);
        assert_int_equal(stats_of(f).cut_bytes, torn);
        assert_int_equal(stats_of(f).bad_chunks, 0);
        assert_int_equal(pack_file_bytes(f, 1), good);
        assert_int_equal(get_seed(f->store, 0, LEN, &ids[0]), 0);
        assert_int_equal(get_seed(f->store, 1, LEN, &ids[1]), 0);
        assert_false(blob_store_has(f->store, &ids[2]));
        assert_int_equal(put_seed(f->store, 2, LEN, &ids[2]), RECORD);
        assert_int_equal(get_seed(f->store, 2, LEN, &ids[2]), 0);
    }
}

/* After power loss the length may be there and the bytes not. */
static void a_tail_of_zeros(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[3];
    put_three(f, ids);
    fixture_close(f);
    OWNED_FD fd = open_pack_file(f, 1);
    assert_int_equal(ftruncate(fd, PACK_HEADER_BYTES + 2 * RECORD + 7), 0);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    fixture_open(f);
    assert_int_equal(stats_of(f).chunks, 2);
    assert_int_equal(pack_file_bytes(f, 1), PACK_HEADER_BYTES + 2 * RECORD);
}

static void a_flipped_bit_while_open(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[3];
    put_three(f, ids);
    flip(f, 1, PACK_HEADER_BYTES + RECORD + 77);
    struct err err = {0};
    uint8_t raw[LEN];
    char hex[2 * BLOB_ID_BYTES + 1];
    blob_id_format(&ids[1], hex);
    assert_int_equal(blob_store_get(f->store, &ids[1], raw, LEN, &err), -EIO);
    assert_non_null(strstr(err.message, hex));
    assert_int_equal(stats_of(f).bad_chunks, 1);
    assert_false(blob_store_has(f->store, &ids[1]));
    assert_int_equal(blob_store_get(f->store, &ids[1], raw, LEN, &err), -ENOENT);
    assert_int_equal(stats_of(f).chunks, 2);
    assert_int_equal(stats_of(f).raw_bytes, 2 * LEN);

    assert_int_equal(put_seed(f->store, 1, LEN, &ids[1]), RECORD);
    assert_int_equal(get_seed(f->store, 1, LEN, &ids[1]), 0);
    fixture_reopen(f);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(get_seed(f->store, i, LEN, &ids[i]), 0);
}

/* A bit in every third byte of a record, found at the start: the records around it stay. */
static void damage_in_the_middle_loses_one_record(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[3];
    put_three(f, ids);
    fixture_close(f);
    for (unsigned at = 0; at < RECORD; at += 3) {
        struct blob_id id;
        flip(f, 1, PACK_HEADER_BYTES + RECORD + at);
        fixture_open(f);
        assert_int_equal(stats_of(f).chunks, 2);
        assert_int_equal(stats_of(f).bad_chunks, 1);
        assert_int_equal(stats_of(f).cut_bytes, 0);
        assert_false(blob_store_has(f->store, &ids[1]));
        assert_int_equal(get_seed(f->store, 0, LEN, &ids[0]), 0);
        assert_int_equal(get_seed(f->store, 2, LEN, &ids[2]), 0);
        if (at == 0) {
            assert_int_equal(put_seed(f->store, 1, LEN, &id), RECORD);
            fixture_reopen(f);
            assert_int_equal(get_seed(f->store, 1, LEN, &ids[1]), 0);
        }
        fixture_close(f);
        /* As it was, for the next bit. */
        assert_int_equal(tree_remove(f->dirfd, "packs/0000000000000002.pack"), 0);
        OWNED_FD fd = open_pack_file(f, 1);
        assert_int_equal(ftruncate(fd, PACK_HEADER_BYTES + 3 * RECORD), 0);
        flip(f, 1, PACK_HEADER_BYTES + RECORD + at);
    }
    fixture_open(f);
}

/* Content that looks like records must not become chunks when the record around it is damaged. */
static void forged_records_in_content_are_not_believed(void **state)
{
    struct fixture *f = *state;
    OWNED uint8_t *inner = content_of(50, LEN);
    struct blob_id forged = {{1, 2, 3}};
    struct blob_compressor *c;
    uint8_t *record = malloc(BLOB_RECORD_MAX_BYTES);
    uint8_t *content = content_of(51, 1000);
    assert_int_equal(blob_compressor_new(1, &c), 0);
    int n = blob_record_encode(c, &forged, inner, LEN, record);
    assert_int_equal(n, RECORD);
    memcpy(content + 300, record, (size_t)n);

    struct blob_id ids[2];
    assert_true(blob_store_put(f->store, c, content, 1000, &ids[0], NULL) > 0);
    assert_true(put_seed(f->store, 1, LEN, &ids[1]) > 0);
    fixture_close(f);
    flip(f, 1, PACK_HEADER_BYTES + 20);
    fixture_open(f);
    assert_false(blob_store_has(f->store, &forged));
    assert_false(blob_store_has(f->store, &ids[0]));
    assert_int_equal(get_seed(f->store, 1, LEN, &ids[1]), 0);
    blob_compressor_free(c);
    free(record);
    free(content);
}

static void a_damaged_header_is_mended(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[3];
    put_three(f, ids);
    for (unsigned at = 0; at < PACK_HEADER_BYTES; at++) {
        fixture_close(f);
        flip(f, 1, at);
        fixture_open(f);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(get_seed(f->store, i, LEN, &ids[i]), 0);
    }
    uint8_t header[PACK_HEADER_BYTES];
    OWNED_FD fd = open_pack_file(f, 1);
    assert_int_equal(pread(fd, header, sizeof(header), 0), sizeof(header));
    assert_int_equal(pack_header_check(header, sizeof(header), 1), 0);
}

static void an_empty_pack_is_used(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    OWNED_FD fd = openat(f->dirfd, "packs/0000000000000005.pack", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    OWNED_FD other = openat(f->dirfd, "packs/5.pack", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(other >= 0); /* no pack by its name: left alone */
    fixture_open(f);
    struct blob_id id;
    assert_true(put_seed(f->store, 1, LEN, &id) > 0);
    fixture_reopen(f);
    assert_int_equal(get_seed(f->store, 1, LEN, &id), 0);
    assert_int_equal(stats_of(f).packs, 1);
}

#define BIG (128u << 10)
#define BIGS 130u /* more than one pack's 16 MiB */

static void put_sealed_pack(struct fixture *f, struct blob_id *ids)
{
    for (unsigned i = 0; i < BIGS; i++)
        assert_true(put_seed(f->store, 1000 + i, BIG, &ids[i]) > 0);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_int_equal(stats_of(f).packs, 2);
}

static bool is_sealed(const struct fixture *f, unsigned number)
{
    OWNED_FD fd = open_pack_file(f, number);
    uint64_t size = pack_file_bytes(f, number);
    uint8_t bytes[PACK_TRAILER_BYTES];
    struct pack_trailer trailer;
    assert_int_equal(pread(fd, bytes, sizeof(bytes), (off_t)(size - sizeof(bytes))), sizeof(bytes));
    return pack_trailer_decode(bytes, size, number, &trailer) == 0;
}

static void a_damaged_footer_is_made_anew(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[BIGS];
    put_sealed_pack(f, ids);
    uint64_t size = pack_file_bytes(f, 1);
    const uint64_t places[] = {1, 5, 9, 17, 20, 30, 38, 41, 60, 1000, 3000};
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        fixture_close(f);
        flip(f, 1, size - places[i]);
        fixture_open(f);
        assert_int_equal(stats_of(f).chunks, BIGS);
        assert_int_equal(pack_file_bytes(f, 1), size);
        assert_true(is_sealed(f, 1));
    }
    /* Sealing was cut short: by power loss, at some byte. */
    fixture_close(f);
    OWNED_FD fd = open_pack_file(f, 1);
    assert_int_equal(ftruncate(fd, (off_t)(size - 1001)), 0);
    fixture_open(f);
    assert_int_equal(pack_file_bytes(f, 1), size);
    for (unsigned i = 0; i < BIGS; i++)
        assert_int_equal(get_seed(f->store, 1000 + i, BIG, &ids[i]), 0);
}

static void damage_in_a_sealed_pack_is_remembered(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[BIGS];
    put_sealed_pack(f, ids);
    flip(f, 1, PACK_HEADER_BYTES + 5000);
    fixture_reopen(f);
    assert_true(blob_store_has(f->store, &ids[0])); /* nobody looked yet */
    assert_int_equal(get_seed(f->store, 1000, BIG, &ids[0]), -EIO);
    fixture_reopen(f);
    assert_false(blob_store_has(f->store, &ids[0]));
    assert_int_equal(stats_of(f).chunks, BIGS - 1);
    assert_true(put_seed(f->store, 1000, BIG, &ids[0]) > 0);
    fixture_reopen(f);
    assert_int_equal(get_seed(f->store, 1000, BIG, &ids[0]), 0);

    /* A torn line at the end of the list does no harm to the next. */
    OWNED_FD fd = openat(f->dirfd, "packs/bad", O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, "torn", 4), 4);
    flip(f, 1, PACK_HEADER_BYTES + BIG + 5000);
    fixture_reopen(f);
    assert_int_equal(get_seed(f->store, 1001, BIG, &ids[1]), -EIO);
    fixture_reopen(f);
    assert_false(blob_store_has(f->store, &ids[1]));
    assert_int_equal(get_seed(f->store, 1000, BIG, &ids[0]), 0);
}

static uint64_t bad_list_bytes(const struct fixture *f)
{
    struct stat st;
    assert_int_equal(fstatat(f->dirfd, "packs/bad", &st, 0), 0);
    return (uint64_t)st.st_size;
}

static void places_of_packs_that_are_gone_are_forgotten(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[BIGS];
    put_sealed_pack(f, ids);
    const unsigned bad[] = {0, BIGS - 1, 1}; /* the second is in the second pack */
    for (unsigned i = 0; i < 3; i++) {
        struct blob_place place;
        assert_int_equal(blob_store_locate(f->store, &ids[bad[i]], &place), 0);
        assert_int_equal(place.pack, 1 + i % 2);
        flip(f, (unsigned)place.pack, place.offset_bytes + 50);
        assert_int_equal(get_seed(f->store, 1000 + bad[i], BIG, &ids[bad[i]]), -EIO);
    }
    fixture_reopen(f);
    assert_int_equal(bad_list_bytes(f), 4 * 40);
    assert_true(put_seed(f->store, 5, BIG, &ids[5]) > 0);
    fixture_close(f);
    assert_int_equal(tree_remove(f->dirfd, "packs/0000000000000001.pack"), 0);
    fixture_open(f);
    assert_int_equal(bad_list_bytes(f), 2 * 40);
    assert_false(blob_store_has(f->store, &ids[BIGS - 1]));
    assert_true(put_seed(f->store, 1000 + BIGS - 1, BIG, &ids[BIGS - 1]) > 0);
    struct blob_place place;
    assert_int_equal(blob_store_locate(f->store, &ids[BIGS - 1], &place), 0);
    flip(f, (unsigned)place.pack, place.offset_bytes + 50);
    assert_int_equal(get_seed(f->store, 1000 + BIGS - 1, BIG, &ids[BIGS - 1]), -EIO);
    assert_int_equal(bad_list_bytes(f), 3 * 40);
    fixture_reopen(f);
    assert_false(blob_store_has(f->store, &ids[BIGS - 1]));
    assert_int_equal(bad_list_bytes(f), 3 * 40);
}

/* It is a hint. */
static void a_list_that_cannot_be_read(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[3];
    put_three(f, ids);
    assert_int_equal(mkdirat(f->dirfd, "packs/bad", 0700), 0);
    fixture_reopen(f);
    flip(f, 1, PACK_HEADER_BYTES + 50);
    assert_int_equal(get_seed(f->store, 0, LEN, &ids[0]), -EIO);
    assert_int_equal(get_seed(f->store, 1, LEN, &ids[1]), 0);
    fixture_reopen(f);
    assert_int_equal(get_seed(f->store, 1, LEN, &ids[1]), 0);
}

static void set_aside_looks_for_itself(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[3];
    put_three(f, ids);
    blob_store_set_aside(f->store, &ids[0]);
    assert_true(blob_store_has(f->store, &ids[0]));
    flip(f, 1, PACK_HEADER_BYTES + 50);
    blob_store_set_aside(f->store, &ids[0]);
    blob_store_set_aside(f->store, &ids[0]);
    assert_false(blob_store_has(f->store, &ids[0]));
    assert_int_equal(stats_of(f).bad_chunks, 1);
}

static void a_pack_that_is_gone(void **state)
{
    struct fixture *f = *state;
    struct blob_id ids[BIGS];
    put_sealed_pack(f, ids);
    assert_int_equal(tree_remove(f->dirfd, "packs/0000000000000001.pack"), 0);
    assert_int_equal(get_seed(f->store, 1000, BIG, &ids[0]), -EIO);
    assert_true(put_seed(f->store, 1000, BIG, &ids[0]) > 0);
    assert_int_equal(get_seed(f->store, 1000, BIG, &ids[0]), 0);
}

static struct blob_store_mend only_mend(const struct fixture *f)
{
    const struct blob_store_mend *mends;
    assert_int_equal(blob_store_mends(f->store, &mends), 1);
    return mends[0];
}

static void what_was_mended_is_told(void **state)
{
    struct fixture *f = *state;
    const struct blob_store_mend *mends;
    struct blob_id ids[BIGS];
    struct blob_store_mend m;
    assert_int_equal(blob_store_mends(f->store, &mends), 0);
    fixture_reopen(f); /* of an empty one */
    assert_int_equal(blob_store_mends(f->store, &mends), 0);
    put_sealed_pack(f, ids);
    uint64_t size = pack_file_bytes(f, 1);
    fixture_reopen(f);
    assert_int_equal(blob_store_mends(f->store, &mends), 0);

    fixture_close(f); /* a torn tail */
    OWNED_FD second = open_pack_file(f, 2);
    assert_int_equal(pwrite(second, "torn", 4, (off_t)pack_file_bytes(f, 2)), 4);
    fixture_open(f);
    m = only_mend(f);
    assert_true(m.pack == 2 && m.cut_bytes == 4 && !m.header && !m.footer && m.left_out_bytes == 0);

    fixture_close(f); /* headers, that of a pack with a good footer too */
    flip(f, 1, 3);
    flip(f, 2, 3);
    fixture_open(f);
    assert_int_equal(blob_store_mends(f->store, &mends), 2);
    assert_true(mends[0].pack == 1 && mends[0].header && mends[0].footer && mends[0].cut_bytes == 0);
    assert_true(mends[1].pack == 2 && mends[1].header && !mends[1].footer && mends[1].cut_bytes == 0);
    assert_int_equal(stats_of(f).cut_bytes, 0);

    fixture_close(f); /* no footer, as after a kill, and damage before it */
    OWNED_FD first = open_pack_file(f, 1);
    assert_int_equal(ftruncate(first, (off_t)size - 28 * 20), 0);
    flip(f, 1, PACK_HEADER_BYTES + 1000);
    fixture_open(f);
    m = only_mend(f);
    assert_true(m.pack == 1 && m.footer && !m.header && m.cut_bytes > 0);
    assert_int_equal(m.left_out_at, PACK_HEADER_BYTES);
    assert_int_equal(m.left_out_bytes, BLOB_RECORD_HEADER_BYTES + BIG);
    fixture_reopen(f);
    assert_int_equal(blob_store_mends(f->store, &mends), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_torn_tail_at_every_byte),
        TEST(a_tail_of_zeros),
        TEST(a_flipped_bit_while_open),
        TEST(damage_in_the_middle_loses_one_record),
        TEST(forged_records_in_content_are_not_believed),
        TEST(a_damaged_header_is_mended),
        TEST(an_empty_pack_is_used),
        TEST(a_damaged_footer_is_made_anew),
        TEST(damage_in_a_sealed_pack_is_remembered),
        TEST(places_of_packs_that_are_gone_are_forgotten),
        TEST(a_list_that_cannot_be_read),
        TEST(set_aside_looks_for_itself),
        TEST(a_pack_that_is_gone),
        TEST(what_was_mended_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
