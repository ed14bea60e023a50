#include "scratch.h"

#include "slot_log.h"

static uint64_t size_of(int fd)
{
    uint64_t size;
    int64_t changed;
    assert_int_equal(slot_log_stat(fd, 7, &size, &changed), 0);
    return size;
}

static void keeps_the_end(void **state)
{
    struct scratch *s = *state;
    struct err err = {0};
    OWNED_FD fd = slot_log_open(s->fd, &err);
    assert_true(fd >= 0);
    char out[64] = "";
    assert_int_equal(size_of(fd), 0);
    assert_int_equal(slot_log_read(fd, 7, out, sizeof out, 0), 0);

    assert_int_equal(slot_log_append(fd, 7, "one\n", 4), 0);
    assert_int_equal(slot_log_append(fd, 7, "two\n", 4), 0);
    assert_int_equal(size_of(fd), 8);
    assert_int_equal(slot_log_read(fd, 7, out, 3, 2), 3);
    assert_memory_equal(out, "e\nt", 3);
    struct stat st;
    assert_int_equal(fstatat(fd, "7", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);

    /* four megabytes in odd pieces: bounded, and the end is whole */
    uint8_t piece[7777];
    uint64_t written = 8;
    for (int i = 0; written < 4u << 20; i++) {
        memset(piece, 'a' + i % 26, sizeof piece);
        assert_int_equal(slot_log_append(fd, 7, piece, sizeof piece), 0);
        written += sizeof piece;
        assert_true(size_of(fd) <= SLOT_LOG_MAX_BYTES);
    }
    uint64_t size = size_of(fd);
    assert_true(size >= SLOT_LOG_MAX_BYTES / 2);
    /* read in pieces that cross the two halves */
    uint8_t *all = malloc(size);
    assert_non_null(all);
    for (uint64_t at = 0; at < size;) {
        ssize_t n = slot_log_read(fd, 7, all + at, 100000, at);
        assert_true(n > 0);
        at += (uint64_t)n;
    }
    assert_int_equal(slot_log_read(fd, 7, out, sizeof out, size), 0);
    /* byte k of all that was written is known */
    for (uint64_t k = 0; k < size; k++) {
        uint64_t place = written - size + k;
        if (place >= 8)
            assert_int_equal(all[k], 'a' + (place - 8) / sizeof piece % 26);
    }
    free(all);

    /* one piece larger than everything */
    uint8_t *big = malloc(3u << 20);
    assert_non_null(big);
    memset(big, 'z', 3u << 20);
    assert_int_equal(slot_log_append(fd, 7, big, 3u << 20), 0);
    assert_true(size_of(fd) <= SLOT_LOG_MAX_BYTES);
    free(big);

    slot_log_remove(fd, 7);
    assert_int_equal(size_of(fd), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keeps_the_end, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
