/* Which reader of a directory must see in it what is not listed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unlisted.h"

enum { THREAD = 7, OTHER = 8, PARENT = 100, CHILD = 200, NOW_MS = 5000 };

static int set_up(void **state)
{
    struct unlisted *unlisted;
    if (unlisted_new(&unlisted) < 0)
        return -1;
    *state = unlisted;
    return 0;
}

static int tear_down(void **state)
{
    unlisted_free(*state);
    return 0;
}

static void only_who_asked_and_once(void **state)
{
    struct unlisted *unlisted = *state;
    assert_int_equal(unlisted_take(unlisted, THREAD, PARENT, NOW_MS), 0);
    unlisted_ask(unlisted, THREAD, PARENT, CHILD, NOW_MS);
    assert_int_equal(unlisted_take(unlisted, OTHER, PARENT, NOW_MS), 0);
    assert_int_equal(unlisted_take(unlisted, THREAD, PARENT + 1, NOW_MS), 0);
    assert_int_equal(unlisted_take(unlisted, THREAD, PARENT, NOW_MS + 1), CHILD);
    assert_int_equal(unlisted_take(unlisted, THREAD, PARENT, NOW_MS + 1), 0);
}

static void what_was_asked_long_ago_is_forgotten(void **state)
{
    struct unlisted *unlisted = *state;
    unlisted_ask(unlisted, THREAD, PARENT, CHILD, NOW_MS);
    assert_int_equal(unlisted_take(unlisted, THREAD, PARENT, NOW_MS + 60000), 0);
    unlisted_ask(unlisted, THREAD, PARENT, CHILD, NOW_MS);
    unlisted_ask(unlisted, THREAD, PARENT, CHILD + 1, NOW_MS + 60000);
    assert_int_equal(unlisted_take(unlisted, THREAD, PARENT, NOW_MS + 60001), CHILD + 1);
}

static void the_oldest_makes_room(void **state)
{
    struct unlisted *unlisted = *state;
    for (int i = 0; i < 1000; i++)
        unlisted_ask(unlisted, THREAD, PARENT + (uint64_t)i, CHILD, NOW_MS);
    assert_int_equal(unlisted_take(unlisted, THREAD, PARENT, NOW_MS), 0);
    assert_int_equal(unlisted_take(unlisted, THREAD, PARENT + 999, NOW_MS), CHILD);
    assert_int_equal(unlisted_take(unlisted, THREAD, PARENT + 980, NOW_MS), CHILD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_who_asked_and_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_asked_long_ago_is_forgotten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_oldest_makes_room, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
