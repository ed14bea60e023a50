#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"

static int top;
static char top_path[] = "/tmp/fdio_test.XXXXXX";

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(top_path))
        return -1;
    top = open(top_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return top < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    close(top);
    return tree_remove(AT_FDCWD, top_path);
}

static void replacing_is_whole(void **state)
{
    (void)state;
    OWNED_BUF struct buf b = BUF_EMPTY;
    assert_int_equal(mkdirat(top, "sub", 0700), 0);
    assert_int_equal(file_replace(top, "sub/f", 0640, "old content", 11), 0);
    assert_int_equal(file_replace(top, "sub/f", 0600, "new", 3), 0);
    assert_int_equal(file_read(top, "sub/f", 100, &b), 0);
    assert_int_equal(b.len_bytes, 3);
    assert_memory_equal(b.bytes, "new", 3);
    struct stat st;
    assert_int_equal(fstatat(top, "sub/f", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(faccessat(top, "sub/f.new", F_OK, 0), -1);
    assert_int_equal(file_replace(top, "nowhere/f", 0600, "x", 1), -ENOENT);
}

static void reading_is_bounded(void **state)
{
    (void)state;
    static char big[10000];
    OWNED_BUF struct buf b = BUF_EMPTY;
    assert_int_equal(file_replace(top, "big", 0600, big, sizeof(big)), 0);
    assert_int_equal(file_read(top, "big", sizeof(big), &b), 0);
    assert_int_equal(b.len_bytes, sizeof(big));
    assert_int_equal(file_read(top, "big", sizeof(big) - 1, &b), -EFBIG);
    assert_int_equal(file_read(top, "absent", 10, &b), -ENOENT);
}

static void a_short_read_is_the_end_of_the_file(void **state)
{
    (void)state;
    char got[16];
    OWNED_FD fd = openat(top, "short", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_at(fd, "abc", 3, 5), 0);
    assert_int_equal(fd_read_at(fd, got, sizeof(got), 4), 4);
    assert_memory_equal(got, "\0abc", 4);
    assert_int_equal(fd_read_at(fd, got, sizeof(got), 100), 0);
}

static void trees_of_any_depth_are_removed(void **state)
{
    (void)state;
    assert_int_equal(mkdirat(top, "deep", 0700), 0);
    int at = openat(top, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(mkdirat(at, "d", 0700), 0);
        if (i % 500 == 0) {
            assert_int_equal(mkdirat(at, "side", 0700), 0);
            assert_int_equal(symlinkat("/etc/passwd", at, "side/link"), 0);
        }
        int below = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(below >= 0);
        close(at);
        at = below;
    }
    close(at);
    assert_int_equal(tree_remove(top, "deep"), 0);
    assert_int_equal(faccessat(top, "deep", F_OK, AT_SYMLINK_NOFOLLOW), -1);
    assert_int_equal(access("/etc/passwd", F_OK), 0);
    assert_int_equal(tree_remove(top, "deep"), 0); /* absent is success */
}

static void what_a_removal_left_half_done_is_removed(void **state)
{
    (void)state;
    static const char *const dirs[] = {"half",   "half/.gone-0", "half/.gone-0/x", "half/.gone-0/x/y",
                                       "half/a", "half/a/b",     "half/a/b/c"};
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        assert_int_equal(mkdirat(top, dirs[i], 0700), 0);
    assert_int_equal(file_replace(top, "half/.gone-1", 0600, "x", 1), 0);
    assert_int_equal(file_replace(top, "half/.gone-0/x/y/f", 0600, "x", 1), 0);
    assert_int_equal(tree_remove(top, "half"), 0);
    assert_int_equal(faccessat(top, "half", F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

static void times_are_rfc_3339(void **state)
{
    (void)state;
    char text[32];
    clock_format(INT64_C(1769860800) * 1000000000 + 999999999, text);
    assert_string_equal(text, "2026-01-31T12:00:00Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replacing_is_whole),
        cmocka_unit_test(reading_is_bounded),
        cmocka_unit_test(a_short_read_is_the_end_of_the_file),
        cmocka_unit_test(trees_of_any_depth_are_removed),
        cmocka_unit_test(what_a_removal_left_half_done_is_removed),
        cmocka_unit_test(times_are_rfc_3339),
    };
    return cmocka_run_group_tests_name("base/fdio", tests, setup, teardown);
}
