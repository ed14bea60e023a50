/* Cuts: golden places, the same cuts whatever the read sizes, and what a change moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "blob/cut.h"
#include "cut_scan.h"
#include "random.h"

/* Cuts the way a reader does that gets `step` bytes at a time; returns the number of lengths. */
static size_t cut_by(const uint8_t *bytes, size_t len, size_t step, size_t *lengths)
{
    size_t count = 0;
    size_t start = 0;
    size_t have = 0;
    while (start < len) {
        while (have < len && have - start < BLOB_CHUNK_MAX_BYTES)
            have = len - have < step ? len : have + step;
        lengths[count] = blob_cut(bytes + start, have - start);
        assert_true(lengths[count] > 0);
        start += lengths[count++];
    }
    assert_int_equal(start, len);
    return count;
}

#define MOST 1024

static void read_sizes_do_not_show(void **state)
{
    (void)state;
    static const size_t steps[] = {1000, 4096, 65537, 1 << 20};
    size_t len = (6u << 20) + 12345;
    OWNED uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    random_fill(1, bytes, len);
    memset(bytes + (1 << 20), 0, 1 << 20); /* nothing to cut by: the longest chunks */

    size_t whole[MOST];
    size_t pieces[MOST];
    size_t count = cut_by(bytes, len, len, whole);
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        assert_int_equal(cut_by(bytes, len, steps[i], pieces), count);
        assert_memory_equal(pieces, whole, count * sizeof(*whole));
    }
}

static void lengths_are_in_bounds(void **state)
{
    (void)state;
    size_t len = 32u << 20;
    OWNED uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    random_fill(2, bytes, len);
    size_t lengths[MOST * 2];
    size_t count = cut_by(bytes, len, len, lengths);
    for (size_t i = 0; i + 1 < count; i++)
        assert_in_range(lengths[i], BLOB_CHUNK_MIN_BYTES, BLOB_CHUNK_MAX_BYTES);
    assert_in_range(len / count, BLOB_CHUNK_NORMAL_BYTES * 8 / 10, BLOB_CHUNK_NORMAL_BYTES * 12 / 10);
}

static void small_runs_are_whole(void **state)
{
    (void)state;
    OWNED uint8_t *bytes = malloc(BLOB_WHOLE_MAX_BYTES);
    assert_non_null(bytes);
    random_fill(3, bytes, BLOB_WHOLE_MAX_BYTES);
    assert_int_equal(blob_cut(bytes, 0), 0);
    assert_int_equal(blob_cut(bytes, 1), 1);
    assert_int_equal(blob_cut(bytes, BLOB_WHOLE_MAX_BYTES), BLOB_WHOLE_MAX_BYTES);
}

static void an_insertion_moves_little(void **state)
{
    (void)state;
    size_t len = 8u << 20;
    OWNED uint8_t *bytes = malloc(len + 7);
    assert_non_null(bytes);
    random_fill(4, bytes, len);
    size_t before[MOST];
    size_t after[MOST];
    size_t count_before = cut_by(bytes, len, len, before);
    memmove(bytes + 1000007, bytes + 1000000, len - 1000000);
    memcpy(bytes + 1000000, "inserted" /* seven of them */, 7);
    size_t count_after = cut_by(bytes, len + 7, len + 7, after);

    size_t same_at_end = 0;
    while (same_at_end < count_before && same_at_end < count_after &&
           before[count_before - 1 - same_at_end] == after[count_after - 1 - same_at_end])
        same_at_end++;
    assert_true(same_at_end > count_before * 3 / 4);
}

/* Each line of cuts-v2.txt: a seed, a length, and the lengths of the chunks of that many random bytes. */
static void golden_cuts(void **state)
{
    (void)state;
    OWNED_FILE file = fopen(GOLDEN_DIR "/cuts-v2.txt", "r");
    assert_non_null(file);
    OWNED char *line = NULL;
    size_t room = 0;
    int lines = 0;
    while (getline(&line, &room, file) > 0) {
        char *at = line;
        uint64_t seed = strtoull(at, &at, 10);
        size_t len = strtoull(at, &at, 10);
        OWNED uint8_t *bytes = malloc(len);
        assert_non_null(bytes);
        random_fill(seed, bytes, len);
        size_t lengths[MOST];
        size_t count = cut_by(bytes, len, len, lengths);
        if (getenv("GOLDEN_PRINT")) {
            printf("%llu %zu", (unsigned long long)seed, len);
            for (size_t i = 0; i < count; i++)
                printf(" %zu", lengths[i]);
            printf("\n");
            continue;
        }
        for (size_t i = 0; i < count; i++)
            assert_int_equal(strtoull(at, &at, 10), lengths[i]);
        assert_int_equal(*at, '\n');
        lines++;
    }
    if (!getenv("GOLDEN_PRINT"))
        assert_int_equal(lines, 6);
}

enum kind { RANDOM, ZEROS, TEXT, PATTERN, KINDS };

static void fill(enum kind kind, uint64_t seed, uint8_t *bytes, size_t len)
{
    static const char words[] = "the quick brown fox jumps over the lazy dog; ";
    random_fill(seed, bytes, len);
    for (size_t i = 0; kind != RANDOM && i < len; i++)
        bytes[i] = kind == ZEROS  ? 0
                   : kind == TEXT ? (uint8_t)words[(i + bytes[i] % 3) % (sizeof(words) - 1)]
                                  : bytes[i % (5 + seed % 40)];
}

/* Whatever the processor has, the cuts are the same. */
static void all_ways_are_one(void **state)
{
    (void)state;
    size_t len = 2u << 20;
    OWNED uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    cut_scan best = cut_scan_best();
    if (best == cut_scan_plain)
        print_message("this processor has no other way\n");
    for (int kind = RANDOM; kind < KINDS; kind++) {
        for (uint64_t seed = 1; seed <= 8; seed++) {
            fill((enum kind)kind, seed, bytes, len);
            for (size_t at = 0; at < len;) {
                size_t n = cut_with(cut_scan_plain, bytes + at, len - at);
                assert_int_equal(cut_with(best, bytes + at, len - at), n);
                at += n;
            }
        }
        for (size_t n = 0; n < 300; n++) { /* where a step begins and ends */
            size_t lengths[] = {BLOB_CHUNK_MIN_BYTES + n, BLOB_CHUNK_NORMAL_BYTES - 100 + n,
                                BLOB_CHUNK_MAX_BYTES - 100 + n};
            for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
                assert_int_equal(cut_with(best, bytes + n, lengths[i]),
                                 cut_with(cut_scan_plain, bytes + n, lengths[i]));
        }
    }
}

/* Every place that one way finds at a bit or two, the other one finds: many more than there are cuts. */
static void all_places_are_found(void **state)
{
    (void)state;
    size_t len = 1u << 20;
    OWNED uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    cut_scan best = cut_scan_best();
    for (int kind = RANDOM; kind < KINDS; kind++) {
        unsigned found = 0;
        fill((enum kind)kind, 7, bytes, len);
        for (size_t at = CUT_WINDOW_BYTES; at < len;) {
            size_t next = cut_scan_plain(bytes, at, len, 1);
            assert_int_equal(best(bytes, at, len, 1), next);
            found += next != 0;
            at = next ? next + 1 : len;
        }
        if (kind == RANDOM)
            assert_in_range(found, 400, 650); /* one in 2048 */
        if (kind == ZEROS)
            assert_int_equal(found, 0);
    }
}

/* No byte that is repeated makes the second hash look at every place. */
static void repeated_bytes_are_no_places(void **state)
{
    (void)state;
    uint8_t bytes[CUT_WINDOW_BYTES + 64];
    for (unsigned byte = 0; byte < 256; byte++) {
        memset(bytes, (int)byte, sizeof(bytes));
        for (unsigned bits = 1; bits < 3; bits++)
            assert_int_equal(cut_scan_best()(bytes, CUT_WINDOW_BYTES, sizeof(bytes), bits), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_ways_are_one),
        cmocka_unit_test(all_places_are_found),
        cmocka_unit_test(repeated_bytes_are_no_places),
        cmocka_unit_test(read_sizes_do_not_show),
        cmocka_unit_test(lengths_are_in_bounds),
        cmocka_unit_test(small_runs_are_whole),
        cmocka_unit_test(an_insertion_moves_little),
        cmocka_unit_test(golden_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
