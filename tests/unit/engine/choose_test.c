#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "choose.h"

static void chooses(void **state)
{
    (void)state;
    assert_int_equal(choose_blade(NULL, 0), -1);
    struct candidate c[] = {
        {.slot = 1, .name = "b", .available = true, .missing_bytes = 100, .ready_ns = 5},
        {.slot = 2, .name = "a", .available = false, .missing_bytes = 0, .ready_ns = 1},
        {.slot = 3, .name = "c", .available = true, .missing_bytes = 50, .ready_ns = 9},
        {.slot = 4, .name = "d", .available = true, .missing_bytes = 50, .ready_ns = 8},
        {.slot = 5, .name = "0", .available = true, .missing_bytes = 50, .ready_ns = 8},
    };
    assert_int_equal(choose_blade(c, 1), 0);
    assert_int_equal(choose_blade(c + 1, 1), -1); /* not available, however good */
    assert_int_equal(choose_blade(c, 3), 2);      /* the fewest bytes */
    assert_int_equal(choose_blade(c, 4), 3);      /* ready the longest */
    assert_int_equal(choose_blade(c, 5), 4);      /* the first by name */
    c[0].missing_bytes = 49;
    assert_int_equal(choose_blade(c, 5), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(chooses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
