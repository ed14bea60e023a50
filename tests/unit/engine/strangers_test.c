#include "scratch.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#include "strangers.h"

static bool found(const struct scratch *s, const char *expected)
{
    char path[64] = "";
    int r = stranger_find(s->fd, path, sizeof(path));
    assert_true(r >= 0);
    if (r > 0)
        assert_string_equal(path, expected);
    return r > 0;
}

static bool has_leases(const struct scratch *s)
{
    scratch_write(s->fd, "probe", "x");
    OWNED_FD fd = openat(s->fd, "probe", O_RDONLY | O_CLOEXEC);
    return fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
}

static void who_can_write_is_found(void **state)
{
    struct scratch *s = *state;
    signal(SIGIO, SIG_IGN); /* a lease that is broken */
    if (!has_leases(s))
        skip();
    assert_int_equal(mkdirat(s->fd, "bin", 0755), 0);
    scratch_write(s->fd, "bin/app", "program");
    scratch_write(s->fd, "other", "data");
    assert_int_equal(symlinkat("bin/app", s->fd, "link"), 0);
    assert_int_equal(mkfifoat(s->fd, "fifo", 0644), 0);
    assert_false(found(s, ""));

    int reader = openat(s->fd, "bin/app", O_RDONLY | O_CLOEXEC);
    assert_false(found(s, ""));
    int writer = openat(s->fd, "bin/app", O_RDWR | O_CLOEXEC);
    assert_true(writer >= 0 && found(s, "bin/app"));
    void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    close(writer);
    assert_true(found(s, "bin/app")); /* the mapping outlives the descriptor */
    munmap(map, 4096);
    assert_false(found(s, ""));
    close(reader);
}

static void what_is_newer_has_none(void **state)
{
    const struct scratch *s = *state;
    struct statx st;
    if (geteuid() != 0 || statx(s->fd, "", AT_EMPTY_PATH, STATX_BTIME, &st) < 0 ||
        !(st.stx_mask & STATX_BTIME))
        skip();
    int64_t made_ns = (int64_t)st.stx_btime.tv_sec * 1000000000 + st.stx_btime.tv_nsec;
    assert_true(strangers_possible(s->fd, made_ns + 1));
    assert_false(strangers_possible(s->fd, made_ns));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_can_write_is_found, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(what_is_newer_has_none, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
