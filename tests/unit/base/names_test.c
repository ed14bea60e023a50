#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/names.h"

#define SIXTY_THREE "a23456789012345678901234567890123456789012345678901234567890123"

static void names_follow_the_rule(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool valid, slot;
    } rows[] = {
        {"web", true, true},   {"3", true, true},         {"a.b_c-d", true, true},
        {"any", true, false},  {"any1", true, true},      {"", false, false},
        {".", false, false},   {"..", false, false},      {".hidden", false, false},
        {"-x", false, false},  {"_x", false, false},      {"a/b", false, false},
        {"a b", false, false}, {"a@1", false, false},     {"\xc3\xa4", false, false},
        {"a\n", false, false}, {SIXTY_THREE, true, true}, {SIXTY_THREE "4", false, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(name_is_valid(rows[i].name, strlen(rows[i].name)), rows[i].valid);
        assert_int_equal(slot_name_is_valid(rows[i].name, strlen(rows[i].name)), rows[i].slot);
    }
    assert_false(name_is_valid("a\0b", 3));
}

static void running_names_split_and_join(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name;
        uint64_t n; /* 0: refused */
    } rows[] = {
        {"web@1", "web", 1},
        {"a.b@18446744073709551615", "a.b", UINT64_MAX},
        {"web@18446744073709551616", NULL, 0},
        {"web@99999999999999999999", NULL, 0},
        {"web@0", NULL, 0},
        {"web@01", NULL, 0},
        {"web@", NULL, 0},
        {"web@1x", NULL, 0},
        {"web@-1", NULL, 0},
        {"@1", NULL, 0},
        {"web", NULL, 0},
        {"web@1@2", NULL, 0},
        {"we b@1", NULL, 0},
        {SIXTY_THREE "@7", SIXTY_THREE, 7},
        {SIXTY_THREE "x@7", NULL, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char name[NAME_MAX_BYTES + 1] = "untouched";
        uint64_t n = 42;
        bool good = running_name_parse(rows[i].text, strlen(rows[i].text), name, &n);
        assert_int_equal(good, rows[i].n != 0);
        assert_string_equal(name, good ? rows[i].name : "untouched");
        assert_true(n == (good ? rows[i].n : 42));
        if (good) {
            char again[RUNNING_NAME_MAX_BYTES + 1];
            running_name_format(again, name, n);
            assert_string_equal(again, rows[i].text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_follow_the_rule),
        cmocka_unit_test(running_names_split_and_join),
    };
    return cmocka_run_group_tests_name("base/names", tests, NULL, NULL);
}
