/* The texts of the control files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "status_text.h"

#define MIB 1048576.0

static void bytes(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {{0, "0B"},
                {1023, "1023B"},
                {1024, "1.0KiB"},
                {1536, "1.5KiB"},
                {1048575, "1.0MiB"},
                {430126592, "410.2MiB"},
                {UINT64_C(5) << 30, "5.0GiB"},
                {UINT64_MAX, "16.0EiB"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[32];
        text_bytes(rows[i].bytes, out);
        assert_string_equal(out, rows[i].text);
    }
}

static void durations(void **state)
{
    (void)state;
    char out[32];
    text_duration(0, out);
    assert_string_equal(out, "0s");
    text_duration(190, out);
    assert_string_equal(out, "3m10s");
    text_duration(7500, out);
    assert_string_equal(out, "2h05m");
    text_duration(5 * 86400 + 3 * 3600, out);
    assert_string_equal(out, "5d3h");
}

static void expect_progress(const struct progress *p, int64_t now_ms, const char *text)
{
    OWNED_BUF struct buf out = BUF_EMPTY;
    text_progress(p, now_ms, &out);
    buf_put_u8(&out, 0);
    assert_string_equal((char *)out.bytes, text);
}

static void progress(void **state)
{
    (void)state;
    struct progress p = {0};
    expect_progress(&p, 1000, "");
    p = (struct progress){.any = true, .began_ms = 1000};
    expect_progress(&p, 1000, "0% 0B/0B sent 0B 0B/s eta -\n");
    p.total_bytes = (uint64_t)(660.9 * MIB);
    p.done_bytes = (uint64_t)(410.2 * MIB);
    p.sent_bytes = (uint64_t)(88.1 * MIB);
    expect_progress(&p, 2931, "62% 410.2MiB/660.9MiB sent 88.1MiB 212.4MiB/s eta 2s\n");
    p.done_bytes = p.total_bytes;
    expect_progress(&p, 4000, "99% 660.9MiB/660.9MiB sent 88.1MiB 220.3MiB/s eta 0s\n"); /* not started yet */
    p.done = true;
    p.ended_ms = 4000;
    expect_progress(&p, 999999, "100% 660.9MiB/660.9MiB sent 88.1MiB 220.3MiB/s eta 0s\n");
    p.done = false; /* it failed: it says how far it came */
    p.done_bytes = 0;
    expect_progress(&p, 999999, "0% 0B/660.9MiB sent 88.1MiB 0B/s eta -\n");
}

static void info(void **state)
{
    (void)state;
    OWNED_BUF struct buf out = BUF_EMPTY;
    struct blade_info none = {0};
    text_info(&none, "b-17", 0, &out);
    buf_put_u8(&out, 0);
    assert_string_equal((char *)out.bytes, "key_id b-17\n");
    out.len_bytes = 0;
    struct blade_info i = {.known = true, .version = "0.1.0", .cores = 2, .restarts = 3, .kernel = "6.1"};
    text_info(&i, "b-17", INT64_C(1000000000000000000), &out);
    buf_put_u8(&out, 0);
    assert_string_equal((char *)out.bytes,
                        "version 0.1.0\ncores 2\nmemory 0\nmemory_free 0\ndisk 0\ndisk_free 0\nuptime 0\n"
                        "last_seen 2001-09-09T01:46:40Z\nrestarts 3\nkernel 6.1\nkey_id b-17\n");
}

static void table(void **state)
{
    (void)state;
    const struct status_row rows[] = {
        {.slot = "1", .state = "running", .image = "web@12", .since_ns = 0, .info = ""},
        {.slot = "rack2-blade17", .state = "absent", .image = "", .since_ns = 0, .info = "it is gone"},
    };
    OWNED_BUF struct buf out = BUF_EMPTY;
    text_status(rows, 2, &out);
    buf_put_u8(&out, 0);
    assert_string_equal((char *)out.bytes,
                        "SLOT           STATE    IMAGE   SINCE                 INFO\n"
                        "1              running  web@12  1970-01-01T00:00:00Z  -\n"
                        "rack2-blade17  absent   -       1970-01-01T00:00:00Z  it is gone\n");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes), cmocka_unit_test(durations), cmocka_unit_test(progress),
        cmocka_unit_test(info),  cmocka_unit_test(table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
