#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/err.h"

static void a_sentence_grows_from_the_inside_out(void **state)
{
    (void)state;
    struct err e = {0};
    assert_int_equal(err_sys(&e, ENOENT, "open %s", "x"), -ENOENT);
    assert_string_equal(e.message, "open x: No such file or directory");
    assert_int_equal(err_prefix(&e, "blade %d", 3), -ENOENT);
    assert_string_equal(e.message, "blade 3: open x: No such file or directory");
    assert_int_equal(e.code, ENOENT);
}

static void without_a_place_only_the_code_counts(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, EIO, "%s", "x"), -EIO);
    assert_int_equal(err_sys(NULL, EPERM, "x"), -EPERM);
    assert_int_equal(err_prefix(NULL, "x"), -EIO);
    struct err e = {0};
    assert_int_equal(err_prefix(&e, "alone"), -EIO);
    assert_string_equal(e.message, "alone");
}

static void a_long_sentence_is_cut(void **state)
{
    (void)state;
    struct err e = {0};
    char longest[2000];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(err_set(&e, EINVAL, "%s", longest), -EINVAL);
    assert_int_equal(strlen(e.message), sizeof(e.message) - 1);
    assert_int_equal(err_sys(&e, EINVAL, "%s", longest), -EINVAL);
    assert_int_equal(strlen(e.message), sizeof(e.message) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sentence_grows_from_the_inside_out),
        cmocka_unit_test(without_a_place_only_the_code_counts),
        cmocka_unit_test(a_long_sentence_is_cut),
    };
    return cmocka_run_group_tests_name("base/err", tests, NULL, NULL);
}
