/* The files of an instance: spec, status, the log, and the renames between its directories. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "instance_dirs.h"
#include "instance_log.h"
#include "instance_spec.h"
#include "supervise_state.h"

struct place {
    char dir[64];
    int fd;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    if (!p)
        return -1;
    snprintf(p->dir, sizeof(p->dir), "/tmp/bladed-files-XXXXXX");
    p->fd = mkdtemp(p->dir) ? open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    *state = p;
    return p->fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    close(p->fd);
    int r = tree_remove(AT_FDCWD, p->dir);
    free(p);
    return r;
}

static struct instance_spec some_spec(void)
{
    static char bind[] = "/srv/caf\xe9:/data", exec[] = "sh -c 'echo \"\xff\"'\n";
    static char *binds[] = {bind, NULL}, *caps[] = {NULL};
    struct instance_spec spec = {.image = 7,
                                 .snapshot = "web@3",
                                 .slot = "rack-7",
                                 .committed = true,
                                 .boot_id = "0-1",
                                 .start = 12,
                                 .restarts = 2,
                                 .id = "blade-x-1",
                                 .exec = exec,
                                 .lower_count = 2,
                                 .lowers = {"images/7/tree", "images/5/tree"},
                                 .runtime = "/usr/sbin/runc",
                                 .init = "/usr/bin/tini-static",
                                 .binds = binds,
                                 .caps = caps};
    return spec;
}

static void a_spec_comes_back(void **state)
{
    struct place *p = *state;
    struct instance_spec spec = some_spec();
    OWNED_SPEC back = {0};
    assert_int_equal(instance_spec_read(p->fd, INSTANCE_SPEC, &back), -ENOENT);
    assert_int_equal(instance_spec_write(p->fd, INSTANCE_SPEC, &spec, true), 0);
    assert_int_equal(instance_spec_read(p->fd, INSTANCE_SPEC, &back), 0);
    assert_int_equal(back.image, 7);
    assert_string_equal(back.snapshot, "web@3");
    assert_string_equal(back.exec, spec.exec);
    assert_true(back.committed && !back.wanted);
    assert_int_equal(back.start, 12);
    assert_int_equal(back.restarts, 2);
    assert_int_equal(back.lower_count, 2);
    assert_string_equal(back.lowers[1], "images/5/tree");
    assert_string_equal(back.binds[0], spec.binds[0]);
    assert_null(back.binds[1]);
    assert_null(back.caps[0]);
}

static void a_damaged_spec_is_refused(void **state)
{
    static const char *const changes[][2] = {
        {"\"version\": 1", "\"version\": 2"},
        {"\"image\": 7", "\"image\": -7"},
        {"\"web@3\"", "7"},
        {"\"committed\": true", "\"committed\": 1"},
        {"\"restarts\": 2", "\"restarts\": 5000000000"},
        {"\"images/5/tree\"",
         "\"a-path-that-is-longer-than-any-that-was-ever-written-here-by-us-aaaaaaaaaaaaaaaaaaaaaaaaa\""},
        {"[", "{"},
        {"\"0-1\"", "\"a\\u0000b\""},
    };
    struct place *p = *state;
    struct instance_spec spec = some_spec();
    assert_int_equal(instance_spec_write(p->fd, INSTANCE_SPEC, &spec, false), 0);
    OWNED_BUF struct buf text = BUF_EMPTY;
    assert_int_equal(file_read(p->fd, INSTANCE_SPEC, 65536, &text), 0);
    buf_put_u8(&text, 0);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        const char *all = (const char *)text.bytes;
        const char *at = strstr(all, changes[i][0]);
        assert_non_null(at);
        OWNED_BUF struct buf bad = BUF_EMPTY;
        buf_printf(&bad, "%.*s%s%s", (int)(at - all), all, changes[i][1], at + strlen(changes[i][0]));
        assert_int_equal(file_replace(p->fd, INSTANCE_SPEC, 0600, bad.bytes, bad.len_bytes), 0);
        struct instance_spec back = {0};
        if (instance_spec_read(p->fd, INSTANCE_SPEC, &back) != -EBADMSG)
            fail_msg("%s was taken", changes[i][1]);
        assert_null(back.exec);
    }
}

static void a_state_comes_back(void **state)
{
    struct place *p = *state;
    struct supervise_state s = {.start = 4, .since_ns = 1234567890123}, back;
    supervise_state_ended(&s, "web@3", 3 << 8, true, "caf\xe9 \"x\"");
    assert_string_equal(s.sentence, "web@3 ended with exit code 3: caf\xe9 \"x\"");
    assert_int_equal(supervise_status_read(p->fd, &back), -ENOENT);
    assert_int_equal(supervise_status_write(p->fd, &s), 0);
    assert_int_equal(supervise_status_read(p->fd, &back), 0);
    assert_memory_equal(&s, &back, sizeof(s));

    OWNED_BUF struct buf packet = BUF_EMPTY;
    supervise_state_encode(&s, &packet);
    assert_int_equal(packet.error, 0);
    memset(&back, 0, sizeof(back));
    assert_int_equal(supervise_state_decode(packet.bytes, packet.len_bytes, &back), 0);
    assert_string_equal(back.sentence, s.sentence);
    assert_int_equal(back.exit_code, 3);
    for (size_t n = 0; n < packet.len_bytes; n++)
        assert_int_equal(supervise_state_decode(packet.bytes, n, &back), -EBADMSG);
    assert_int_equal(file_replace(p->fd, "status", 0600, "{}", 2), 0);
    assert_int_equal(supervise_status_read(p->fd, &back), -EBADMSG);
}

static void how_it_ended(void **state)
{
    (void)state;
    static const struct {
        int wait_status;
        bool through_init, asked;
        const char *line, *sentence;
        bool well;
    } rows[] = {
        {0, true, false, "x", "", true},
        {1 << 8, true, false, "", "w@1 ended with exit code 1", false},
        {137 << 8, true, false, "hm", "w@1 was killed by signal 9 (SIGKILL): hm", false},
        {137 << 8, false, false, "hm", "w@1 ended with exit code 137: hm", false},
        {SIGSEGV, false, false, "", "w@1 was killed by signal 11 (SIGSEGV)", false},
        {143 << 8, true, true, "bye", "", true},
        {SIGKILL, true, true, "bye", "", true},
        {255 << 8, true, false, "", "w@1 ended with exit code 255", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct supervise_state s = {.asked = rows[i].asked};
        supervise_state_ended(&s, "w@1", rows[i].wait_status, rows[i].through_init, rows[i].line);
        assert_string_equal(s.sentence, rows[i].sentence);
        assert_int_equal(supervise_ended_well(&s), rows[i].well);
    }
}

static void the_last_line(void **state)
{
    (void)state;
    static const struct {
        const char *pieces[4];
        const char *line;
    } rows[] = {
        {{""}, ""},
        {{"a\nb\n"}, "b"},
        {{"a\nb"}, "b"},
        {{"a\n", "par", "tial\n", "\n  \n"}, "partial"},
        {{"\x1b[31mred\tx\r\n"}, "[31mred x"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct last_line l = {0};
        for (size_t n = 0; n < 4 && rows[i].pieces[n]; n++)
            last_line_feed(&l, rows[i].pieces[n], strlen(rows[i].pieces[n]));
        assert_string_equal(last_line_get(&l), rows[i].line);
    }
    struct last_line l = {0};
    char much[1000];
    memset(much, 'x', sizeof(much));
    last_line_feed(&l, much, sizeof(much));
    assert_int_equal(strlen(last_line_get(&l)), LAST_LINE_BYTES - 1);
}

static void the_log_is_bounded_and_read_on(void **state)
{
    struct place *p = *state;
    struct instance_log log;
    char block[4096], back[8192];
    assert_int_equal(instance_log_open(p->fd, &log), 0);
    for (unsigned i = 0; i < 600; i++) { /* 2.4 MB */
        memset(block, (int)i & 0x7F, sizeof(block));
        assert_int_equal(instance_log_append(&log, block, sizeof(block)), 0);
    }
    uint64_t end = 600u * sizeof(block);
    assert_int_equal(instance_log_end(&log), end);
    struct stat st;
    assert_int_equal(fstatat(p->fd, "log.1", &st, 0), 0);
    assert_int_equal(st.st_size, INSTANCE_LOG_FILE_BYTES);

    /* What is gone is passed over. */
    uint64_t at = 0;
    ssize_t n = instance_log_read(&log, &at, back, sizeof(back));
    assert_true(n > 0 && at > 0 && at >= end - 2 * INSTANCE_LOG_FILE_BYTES);
    assert_int_equal(back[0], (at / sizeof(block)) & 0x7F);
    /* All that is kept is read, over the border between the files. */
    while (n > 0) {
        assert_int_equal(back[n - 1], ((at + (uint64_t)n - 1) / sizeof(block)) & 0x7F);
        at += (uint64_t)n;
        n = instance_log_read(&log, &at, back, 3000);
    }
    assert_int_equal(n, 0);
    assert_int_equal(at, end);

    /* And goes on where it was. */
    log.handed_on = end - 5;
    instance_log_close(&log);
    assert_int_equal(instance_log_open(p->fd, &log), 0);
    assert_int_equal(instance_log_end(&log), end);
    assert_int_equal(log.handed_on, end - 5);
    instance_log_close(&log);
}

/* ---- directories ---- */

static void make(int fd, const char *name, uint64_t image, bool committed)
{
    struct instance_spec spec = some_spec();
    spec.image = image;
    spec.committed = committed;
    assert_int_equal(mkdirat(fd, name, 0700), 0);
    OWNED_FD dir = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(instance_spec_write(dir, INSTANCE_SPEC, &spec, false), 0);
}

static unsigned image_of(int fd, const char *name)
{
    OWNED_FD dir = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OWNED_SPEC spec = {0};
    if (dir < 0)
        return 0;
    assert_int_equal(instance_spec_read(dir, INSTANCE_SPEC, &spec), 0);
    return (unsigned)spec.image;
}

/* The old instance is 2, the one before it 1, the one that is to come 3: after any crash it is 2 and 1 again,
 * or, once committed, 3 and 2. */
static void a_crash_at_any_moment(void **state)
{
    static const struct {
        unsigned older, previous, current, next;
        bool committed;
        unsigned then_current, then_previous;
    } rows[] = {
        {0, 1, 2, 3, true, 2, 1},                             /* prepared */
        {1, 0, 2, 3, true, 2, 1},                             /* the first rename of the switch */
        {1, 2, 0, 3, true, 2, 1},                             /* the second */
        {1, 2, 3, 0, false, 2, 1},                            /* the third */
        {1, 2, 0, 0, true, 2, 1},                             /* rolling back: current is thrown away */
        {1, 0, 2, 0, true, 2, 1},                             /* previous is back */
        {1, 2, 3, 0, true, 3, 2},                             /* committed, the oldest still there */
        {0, 2, 3, 0, true, 3, 2},  {0, 0, 3, 0, false, 0, 0}, /* a first load */
        {0, 0, 0, 3, true, 0, 0},  {0, 0, 2, 0, true, 2, 0},  {0, 0, 0, 0, true, 0, 0},
    };
    struct place *p = *state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err err = {0};
        if (rows[i].older)
            make(p->fd, "older", rows[i].older, true);
        if (rows[i].previous)
            make(p->fd, "previous", rows[i].previous, true);
        if (rows[i].current)
            make(p->fd, "current", rows[i].current, rows[i].committed);
        if (rows[i].next)
            make(p->fd, "next", rows[i].next, false);
        assert_int_equal(instance_dirs_is_uncommitted(p->fd), rows[i].current && !rows[i].committed);
        for (int twice = 0; twice < 2; twice++) {
            assert_int_equal(instance_dirs_recover(p->fd, &err), 0);
            assert_int_equal(image_of(p->fd, "current"), rows[i].then_current);
            assert_int_equal(image_of(p->fd, "previous"), rows[i].then_previous);
            assert_int_equal(image_of(p->fd, "older"), 0);
            assert_int_equal(image_of(p->fd, "next"), 0);
        }
        assert_int_equal(instance_dirs_remove(p->fd, &err), 0);
        assert_int_equal(image_of(p->fd, "current"), 0);
        instance_dirs_sweep(p->fd);
        assert_int_equal(faccessat(p->fd, "gone-0", F_OK, 0), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_spec_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_spec_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_state_comes_back, setup, teardown),
        cmocka_unit_test(how_it_ended),
        cmocka_unit_test(the_last_line),
        cmocka_unit_test_setup_teardown(the_log_is_bounded_and_read_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_crash_at_any_moment, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
