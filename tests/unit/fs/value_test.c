#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "value.h"

static void one_write_has_one_value(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len_bytes;
        int64_t offset;
        bool appends;
        ssize_t expected;
    } rows[] = {
        {"web\n", 4, 0, false, 3},
        {"web", 3, 0, false, 3},
        {"\n", 1, 0, false, 0},
        {"web\n", 4, 3, false, -EINVAL},
        {"web\n", 4, 3, true, 3},
        {"web\n\n", 5, 0, false, -EINVAL},
        {"web\ndb\n", 7, 0, false, -EINVAL},
        {"we\0b", 4, 0, false, -EINVAL},
        {"\0", 1, 0, false, -EINVAL},
        {"12345678\n", 9, 0, false, 8},
        {"123456789", 9, 0, false, -EINVAL},
        {"web\r\n", 5, 0, false, 4},
        {"web", 3, -1, false, -EINVAL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(value_check(rows[i].bytes, rows[i].len_bytes, rows[i].offset, rows[i].appends, 8),
                         rows[i].expected);
}

static void quotes_end_or_not(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ends;
    } rows[] = {
        {"", true},         {"/bin/app", true},  {"a 'b c' \"d e\"", true}, {"a 'b", false},
        {"a \"b", false},   {"a\\", false},      {"a\\ b", true},           {"'it\\'", true},
        {"\"a\\\"", false}, {"\"a\\\"\"", true}, {"\"it's\"", true},        {"'say \"x\"'", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(value_quotes_end(rows[i].text, strlen(rows[i].text)), rows[i].ends);
}

static void only_errors_that_survive_nfs_leave(void **state)
{
    (void)state;
    static const struct {
        int from, to;
    } rows[] = {
        {0, 0},
        {5, 0},
        {-EBUSY, -EIO},
        {-EAGAIN, -EIO},
        {-ETIMEDOUT, -EIO},
        {-ENOMEM, -EIO},
        {-ECANCELED, -EIO},
        {-ENXIO, -ENXIO},
        {-ETXTBSY, -ETXTBSY},
        {-EINTR, -EINTR},
        {-ENOENT, -ENOENT},
        {-EEXIST, -EEXIST},
        {-ENOSPC, -ENOSPC},
        {-ENOTEMPTY, -ENOTEMPTY},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(value_errno(rows[i].from), rows[i].to);
}

/* Signal n is bit n - 1: HUP 1, INT 2, QUIT 3, KILL 9, TERM 15, CHLD 17, WINCH 28. */
static void only_some_signals_end_a_load(void **state)
{
    (void)state;
    static const struct {
        const char *status;
        bool ends;
    } rows[] = {
        {"", false},
        {"Name:\tbash\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\n",
         false},
        {"Name:\tbash\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000010000\nSigBlk:\t0000000000000000\n",
         false},
        {"Name:\tbash\nSigPnd:\t0000000008000000\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\n",
         false},
        {"Name:\tbash\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000001\nSigBlk:\t0000000000000000\n",
         true},
        {"Name:\tbash\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000002\nSigBlk:\t0000000000000000\n",
         true},
        {"Name:\tbash\nSigPnd:\t0000000000000004\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\n",
         true},
        {"Name:\tbash\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\nSigBlk:\tffffffffffffffff\n",
         true},
        {"Name:\tbash\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000014000\nSigBlk:\t0000000000000000\n",
         true},
        {"Name:\tbash\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000004000\nSigBlk:\t0000000000004000\n",
         false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(status_shows_end(rows[i].status), rows[i].ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_write_has_one_value),
        cmocka_unit_test(quotes_end_or_not),
        cmocka_unit_test(only_errors_that_survive_nfs_leave),
        cmocka_unit_test(only_some_signals_end_a_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
