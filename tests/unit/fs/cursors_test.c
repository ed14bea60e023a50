/* Where readers of directories stopped: found by directory and offset, each by one reader, the oldest given
 * up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>

#include "cursors.h"

static struct cursor *at(uint64_t inode, off_t next)
{
    struct cursor *cursor = NULL;
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(cursor_new(fd, inode, &cursor), 0);
    cursor->next = next;
    return cursor;
}

static void a_reader_finds_where_it_stopped(void **state)
{
    struct cursors *cursors = NULL;
    (void)state;
    assert_int_equal(cursors_new(8, &cursors), 0);
    struct cursor *a = at(1, 100), *b = at(1, 200), *c = at(2, 100);
    cursor_keep(cursors, a);
    cursor_keep(cursors, b);
    cursor_keep(cursors, c);
    static const struct {
        uint64_t inode;
        off_t next;
        int which; /* of a, b, c; -1: none */
    } rows[] = {
        {1, 300, -1}, {3, 100, -1}, {2, 200, -1}, {1, 200, 1},
        {1, 200, -1}, {2, 100, 2},  {1, 100, 0},  {1, 100, -1},
    };
    struct cursor *all[] = {a, b, c};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cursor *found = cursor_take(cursors, rows[i].inode, rows[i].next);
        assert_ptr_equal(found, rows[i].which < 0 ? NULL : all[rows[i].which]);
        cursor_free(found);
    }
    cursors_free(cursors);
}

static void the_oldest_is_given_up(void **state)
{
    struct cursors *cursors = NULL;
    (void)state;
    assert_int_equal(cursors_new(3, &cursors), 0);
    for (off_t next = 1; next <= 5; next++)
        cursor_keep(cursors, at(7, next));
    for (off_t next = 1; next <= 5; next++) {
        struct cursor *found = cursor_take(cursors, 7, next);
        assert_int_equal(found != NULL, next > 2);
        cursor_free(found);
    }
    cursor_keep(cursors, at(7, 9)); /* freed with the table */
    cursors_free(cursors);
}

static void a_change_drops_what_was_read(void **state)
{
    struct cursors *cursors = NULL;
    (void)state;
    assert_int_equal(cursors_new(4, &cursors), 0);
    cursors_drop(cursors, 7);
    for (off_t next = 1; next <= 4; next++)
        cursor_keep(cursors, at(next % 2 ? 7 : 8, next));
    cursors_drop(cursors, 7);
    for (off_t next = 5; next <= 6; next++) /* there is room again */
        cursor_keep(cursors, at(8, next));
    for (off_t next = 1; next <= 6; next++) {
        struct cursor *seven = cursor_take(cursors, 7, next), *eight = cursor_take(cursors, 8, next);
        assert_null(seven);
        assert_int_equal(eight != NULL, next % 2 == 0 || next > 4);
        cursor_free(eight);
    }
    cursors_free(cursors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_drops_what_was_read),
        cmocka_unit_test(a_reader_finds_where_it_stopped),
        cmocka_unit_test(the_oldest_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
