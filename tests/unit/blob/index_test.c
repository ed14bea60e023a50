/* The index against a plain array that knows the truth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "blob/cut.h"
#include "index.h"
#include "random.h"

#define IDS 6000u

static struct blob_id id_of(unsigned k)
{
    struct blob_id id;
    random_fill(k, id.bytes, sizeof(id.bytes));
    memset(id.bytes, 0, k % 3); /* some meet in the table */
    return id;
}

static void lengths_and_offsets_fit(void **state)
{
    static const struct index_place places[] = {
        {.pack = 1, .offset_bytes = 32, .stored_bytes = 1, .raw_bytes = 1},
        {.pack = UINT32_MAX,
         .offset_bytes = (32u << 20) - 1,
         .stored_bytes = BLOB_CHUNK_MAX_BYTES,
         .raw_bytes = BLOB_CHUNK_MAX_BYTES},
        {.pack = 5, .offset_bytes = 1u << 24, .stored_bytes = 1, .raw_bytes = BLOB_CHUNK_MAX_BYTES},
    };
    (void)state;
    struct index index = {0};
    for (unsigned i = 0; i < 3; i++) {
        struct blob_id id = id_of(i);
        assert_int_equal(index_reserve(&index, &id), 0);
        index_put(&index, &id, &places[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        struct blob_id id = id_of(i);
        struct index_place place;
        assert_true(index_find(&index, &id, &place));
        assert_memory_equal(&place, &places[i], sizeof(place));
    }
    struct index_totals totals;
    index_totals(&index, &totals);
    assert_int_equal(totals.raw_bytes, 2 * BLOB_CHUNK_MAX_BYTES + 1);
    assert_int_equal(totals.stored_bytes, BLOB_CHUNK_MAX_BYTES + 2);
    index_free(&index);
}

static void random_puts_and_removes(void **state)
{
    (void)state;
    struct index index = {0};
    OWNED uint32_t *truth = calloc(IDS, sizeof(*truth)); /* the offset, 0: not there */
    assert_non_null(truth);
    uint64_t seed = 1;
    uint32_t count = 0;
    for (unsigned step = 0; step < 60000; step++) {
        uint64_t word = random_next(&seed);
        unsigned k = (unsigned)(word % IDS);
        uint32_t offset = 1 + (uint32_t)(word >> 40);
        struct blob_id id = id_of(k);
        if (word >> 32 & 1) {
            assert_int_equal(index_reserve(&index, &id), 0);
            index_put(&index, &id,
                      &(struct index_place){
                          .pack = 1 + k % 7, .offset_bytes = offset, .stored_bytes = 10, .raw_bytes = 20});
            count += truth[k] == 0;
            truth[k] = offset;
        } else {
            assert_false(index_remove(&index, &id, 1 + k % 7, truth[k] + 1));
            assert_int_equal(index_remove(&index, &id, 1 + k % 7, truth[k]), truth[k] != 0);
            count -= truth[k] != 0;
            truth[k] = 0;
        }
        struct index_totals totals;
        index_totals(&index, &totals);
        assert_int_equal(totals.count, count);
    }
    for (unsigned k = 0; k < IDS; k++) {
        struct blob_id id = id_of(k);
        struct index_place place = {0};
        assert_int_equal(index_find(&index, &id, &place), truth[k] != 0);
        assert_int_equal(place.offset_bytes, truth[k]);
    }
    struct index_totals totals;
    index_totals(&index, &totals);
    assert_int_equal(totals.raw_bytes, 20 * (uint64_t)count);
    assert_int_equal(totals.stored_bytes, 10 * (uint64_t)count);
    index_free(&index);
}

/* Ids that crowd at the end of one table, beyond its last home, and all in one part. */
static void ids_in_a_crowd(void **state)
{
    (void)state;
    struct index index = {0};
    for (unsigned k = 0; k < IDS; k++) {
        struct blob_id id;
        random_fill(k, id.bytes, sizeof(id.bytes));
        memset(id.bytes, 0xff, 6);
        assert_int_equal(index_part_of(&id, 2), 1);
        assert_int_equal(index_reserve(&index, &id), 0);
        index_put(&index, &id,
                  &(struct index_place){.pack = 1, .offset_bytes = k, .stored_bytes = 1, .raw_bytes = 1});
    }
    for (unsigned k = 0; k < IDS; k++) {
        struct blob_id id;
        random_fill(k, id.bytes, sizeof(id.bytes));
        struct index_place place;
        assert_false(index_find(&index, &id, &place));
        memset(id.bytes, 0xff, 6);
        assert_true(index_find(&index, &id, &place));
        assert_int_equal(place.offset_bytes, k);
        if (k % 2)
            assert_true(index_remove(&index, &id, 1, k));
    }
    struct index_totals totals;
    index_totals(&index, &totals);
    assert_int_equal(totals.count, IDS / 2);
    index_free(&index);
}

static void the_later_place_stays(void **state)
{
    static const struct {
        uint32_t pack, offset_bytes, pack_then, offset_then;
    } steps[] = {{5, 100, 5, 100}, {4, 900, 5, 100}, {5, 99, 5, 100}, {5, 101, 5, 101}, {6, 32, 6, 32}};
    (void)state;
    struct index index = {0};
    struct blob_id id = id_of(1);
    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        assert_int_equal(index_reserve(&index, &id), 0);
        index_put_later(&index, &id,
                        &(struct index_place){.pack = steps[i].pack,
                                              .offset_bytes = steps[i].offset_bytes,
                                              .stored_bytes = 1,
                                              .raw_bytes = 1 + i});
        struct index_place place;
        assert_true(index_find(&index, &id, &place));
        assert_int_equal(place.pack, steps[i].pack_then);
        assert_int_equal(place.offset_bytes, steps[i].offset_then);
    }
    struct index_totals totals;
    index_totals(&index, &totals);
    assert_int_equal(totals.count, 1);
    assert_int_equal(totals.raw_bytes, 5);
    index_free(&index);
}

/* An expectation changes how it grows, and nothing else. */
static void what_was_expected_or_not_is_found(void **state)
{
    static const uint64_t expected[] = {1, IDS, 100 * IDS};
    (void)state;
    for (unsigned e = 0; e < 3; e++) {
        struct index index = {0};
        assert_int_equal(index_expect(&index, expected[e]), 0);
        for (unsigned k = 0; k < IDS; k++) {
            struct blob_id id = id_of(k);
            assert_int_equal(index_reserve(&index, &id), 0);
            index_put(&index, &id,
                      &(struct index_place){.pack = 1, .offset_bytes = k, .stored_bytes = 1, .raw_bytes = 1});
        }
        for (unsigned k = 0; k < IDS; k++) {
            struct blob_id id = id_of(k);
            struct index_place place;
            index_prefetch(&index, &id);
            assert_true(index_find(&index, &id, &place));
            assert_int_equal(place.offset_bytes, k);
        }
        index_free(&index);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_and_offsets_fit),
        cmocka_unit_test(random_puts_and_removes),
        cmocka_unit_test(ids_in_a_crowd),
        cmocka_unit_test(the_later_place_stays),
        cmocka_unit_test(what_was_expected_or_not_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
