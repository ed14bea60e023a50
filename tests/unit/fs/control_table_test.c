#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "control.h"

static void every_row_has_a_number_of_its_own(void **state)
{
    (void)state;
    const struct control *table = control_table();
    for (const struct control *a = table; a->row; a++) {
        assert_ptr_equal(control_of_row(a->row), a);
        assert_ptr_equal(control_named(a->place, a->name), a);
        for (const struct control *b = table; b != a; b++)
            assert_false(a->row == b->row || (a->place == b->place && strcmp(a->name, b->name) == 0));
    }
    assert_null(control_of_row(0));
    assert_null(control_of_row(255));
    assert_null(control_named(PLACE_SLOT, "nothing"));
}

static void modes_say_what_rows_can_do(void **state)
{
    (void)state;
    for (const struct control *row = control_table(); row->row; row++) {
        if (row->store == store_key) /* root writes it although it is 0400 */
            continue;
        assert_int_equal((row->mode & 0222) != 0, row->store != NULL);
        assert_int_equal((row->mode & 0444) != 0, row->show != NULL || row->read != NULL);
        assert_int_equal(row->size != NULL, row->read != NULL);
        /* Whatever takes long to write must not be one inode for all writers. */
        assert_int_equal(row->action, row->store != NULL && row->place != PLACE_BLADEFS);
    }
}

static void the_key_is_roots_alone(void **state)
{
    (void)state;
    const struct control *key = control_named(PLACE_SLOT, "key");
    assert_non_null(key);
    assert_int_equal(key->mode, 0400);
    assert_true(key->fixed);
    assert_ptr_equal(key->store, store_key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_a_number_of_its_own),
        cmocka_unit_test(modes_say_what_rows_can_do),
        cmocka_unit_test(the_key_is_roots_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
