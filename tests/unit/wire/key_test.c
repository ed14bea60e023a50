/* The key line. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "wire/key.h"

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"

static void makes(void **state)
{
    (void)state;
    struct wire_key a, b, same;
    struct err err = {0};
    char line[WIRE_KEY_LINE_BYTES + 1];
    assert_int_equal(wire_key_make(NULL, &a, &err), 0);
    assert_int_equal(wire_key_make(NULL, &b, &err), 0);
    assert_int_equal(strlen(a.id), 18);
    assert_memory_equal(a.id, "b-", 2);
    assert_string_not_equal(a.id, b.id);
    assert_memory_not_equal(a.secret, b.secret, sizeof(a.secret));
    assert_int_equal(wire_key_make(a.id, &b, &err), 0);
    assert_string_equal(a.id, b.id);
    assert_memory_not_equal(a.secret, b.secret, sizeof(a.secret));
    wire_key_format(&a, line);
    assert_int_equal(strlen(line), 18 + 1 + 64 + 1);
    assert_int_equal(wire_key_parse(line, strlen(line), &same, &err), 0);
    assert_memory_equal(&same, &a, sizeof(a));
}

static void formats(void **state)
{
    (void)state;
    static const char text[] = "b-17 " HEX "\n";
    struct wire_key key;
    struct err err = {0};
    char line[WIRE_KEY_LINE_BYTES + 1];
    assert_int_equal(wire_key_parse(text, strlen(text), &key, &err), 0);
    assert_string_equal(key.id, "b-17");
    assert_int_equal(key.secret[0], 0);
    assert_int_equal(key.secret[31], 0xff);
    wire_key_format(&key, line);
    assert_string_equal(line, text);
    assert_int_equal(wire_key_parse(text, strlen(text) - 1, &key, &err), 0); /* without the newline */
    static const char longest[] = "abcdefghijklmnopqrstuv-9 " HEX "\n";
    assert_int_equal(strlen(longest), WIRE_KEY_LINE_BYTES);
    assert_int_equal(wire_key_parse(longest, strlen(longest), &key, &err), 0);
    wire_key_format(&key, line);
    assert_string_equal(line, longest);
}

static void refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "\n",
        " ",
        " " HEX,
        "b-17",
        "b-17 ",
        "b-17" HEX,
        "b-17\t" HEX,
        "B-17 " HEX,
        "b_17 " HEX,
        "b/17 " HEX,
        "b-17  " HEX,
        "b-17 " HEX "\n\n",
        "b-17 " HEX " ",
        "b-17 " HEX "0",
        "b-17 0" HEX "\r\n",
        "abcdefghijklmnopqrstuvwxy " HEX, /* 25 */
        "b-17 g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff",
        "b-17 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1efg",
        "b-17 000102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1eff",
        "b-17 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e",
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct wire_key key, untouched;
        struct err err = {0};
        memset(&key, 7, sizeof(key));
        memset(&untouched, 7, sizeof(untouched));
        assert_int_equal(wire_key_parse(bad[i], strlen(bad[i]), &key, &err), -EINVAL);
        assert_memory_equal(&key, &untouched, sizeof(key));
        assert_non_null(strstr(err.message, "blades/<slot>/key"));
        assert_null(strstr(err.message, "0a0b0c0d")); /* the secret is not for logs */
    }
    struct wire_key key;
    struct err err = {0};
    assert_int_equal(wire_key_make("not an id", &key, &err), -EINVAL);
    assert_int_equal(wire_key_make("", &key, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes),
        cmocka_unit_test(formats),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
