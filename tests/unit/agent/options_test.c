/* bladed's command line, as a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "options.h"

#define WORDS 16

static const struct row {
    const char *argv[WORDS];
    const char *host, *port; /* NULL: refused */
    const char *words;       /* in the sentence */
    unsigned keep;
} rows[] = {
    {{"-c", "rack:7420", "-k", "key", "-d", "/d"}, "rack", "7420", NULL, 2},
    {{"-crack:7420", "-kkey", "-d/d"}, "rack", "7420", NULL, 2},
    {{"--controller=10.0.0.1:1", "--key=key", "--dir=/d", "--keep=0"}, "10.0.0.1", "1", NULL, 0},
    {{"--controller", "[fe80::1%eth0]:65535", "--key", "k", "--dir", "d", "--keep", "1000"},
     "fe80::1%eth0",
     "65535",
     NULL,
     1000},
    {{"-c", "[::1]:07420", "-k", "k", "-d", "d"}, "::1", "7420", NULL, 2},
    {{"-c", "h:1", "-k", "k", "-d", "d", "--bind", "/a:/b", "--cap", "CAP_NET_ADMIN", "-v"},
     "h",
     "1",
     NULL,
     2},
    {{"-k", "k", "-d", "d"}, NULL, NULL, "-c HOST:PORT", 0},
    {{"-c", "h:1", "-d", "d"}, NULL, NULL, "-k KEYFILE", 0},
    {{"-c", "h:1", "-k", "k"}, NULL, NULL, "-d DIR", 0},
    {{"-c", "h", "-k", "k", "-d", "d"}, NULL, NULL, "no HOST:PORT", 0},
    {{"-c", ":1", "-k", "k", "-d", "d"}, NULL, NULL, "no HOST:PORT", 0},
    {{"-c", "h:", "-k", "k", "-d", "d"}, NULL, NULL, "port", 0},
    {{"-c", "h:0", "-k", "k", "-d", "d"}, NULL, NULL, "port", 0},
    {{"-c", "h:65536", "-k", "k", "-d", "d"}, NULL, NULL, "port", 0},
    {{"-c", "h:4294967297", "-k", "k", "-d", "d"}, NULL, NULL, "port", 0},
    {{"-c", "h:1x", "-k", "k", "-d", "d"}, NULL, NULL, "port", 0},
    {{"-c", "fe80::1:7420", "-k", "k", "-d", "d"}, NULL, NULL, "[ADDRESS]", 0},
    {{"-c", "[::1:7420", "-k", "k", "-d", "d"}, NULL, NULL, "no HOST:PORT", 0},
    {{"-c", "[]:7420", "-k", "k", "-d", "d"}, NULL, NULL, "no HOST:PORT", 0},
    {{"-c"}, NULL, NULL, "needs a value", 0},
    {{"-c", ""}, NULL, NULL, "needs a value", 0},
    {{"--keep=", "1"}, NULL, NULL, "needs a value", 0},
    {{"--keep", "-1"}, NULL, NULL, "number", 0},
    {{"--keep", "1001"}, NULL, NULL, "number", 0},
    {{"--keep", "99999999999999999999"}, NULL, NULL, "number", 0},
    {{"--bind", "a:/b"}, NULL, NULL, "SRC:DST", 0},
    {{"--bind", "/a"}, NULL, NULL, "SRC:DST", 0},
    {{"--bind", "/a:b"}, NULL, NULL, "SRC:DST", 0},
    {{"--bind", "/a:/"}, NULL, NULL, "SRC:DST", 0},
    {{"--bind", "/a:/b:ro"}, NULL, NULL, "SRC:DST", 0},
    {{"--cap", "net_admin"}, NULL, NULL, "CAP_NET_ADMIN", 0},
    {{"--cap", "CAP_"}, NULL, NULL, "CAP_NET_ADMIN", 0},
    {{"--what"}, NULL, NULL, "unknown option --what", 0},
    {{"word"}, NULL, NULL, "unknown option word", 0},
    {{"--verbose=1"}, NULL, NULL, "takes no value", 0},
    {{"--controllers", "h:1"}, NULL, NULL, "unknown option", 0},
};

static int parse(const char *const *words, struct options *out, struct err *err)
{
    char *argv[WORDS + 2] = {(char *)"bladed"};
    int argc = 1;
    for (; words[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    return options_parse(argc, argv, out, err);
}

static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct options o = {0};
        struct err err = {0};
        int r = parse(rows[i].argv, &o, &err);
        if ((r == 0) != (rows[i].host != NULL))
            fail_msg("row %zu: %d %s", i, r, err.message);
        if (r < 0) {
            assert_int_equal(r, -EINVAL);
            if (!strstr(err.message, rows[i].words))
                fail_msg("row %zu: %s", i, err.message);
            continue;
        }
        assert_string_equal(o.host, rows[i].host);
        assert_string_equal(o.port, rows[i].port);
        assert_int_equal(o.keep, rows[i].keep);
        options_free(&o);
    }
}

static void lists(void **state)
{
    (void)state;
    static const char *const words[] = {"-c",    "h:1",    "-k",    "k",     "-d",    "d",           "--bind",
                                        "/a:/b", "--bind", "/c:/d", "--cap", "CAP_A", "--cap=CAP_B", NULL};
    struct options o;
    struct err err = {0};
    assert_int_equal(parse(words, &o, &err), 0);
    assert_string_equal(o.binds[0], "/a:/b");
    assert_string_equal(o.binds[1], "/c:/d");
    assert_null(o.binds[2]);
    assert_string_equal(o.caps[0], "CAP_A");
    assert_string_equal(o.caps[1], "CAP_B");
    assert_null(o.caps[2]);
    assert_null(o.runtime);
    options_free(&o);
}

static void help_needs_nothing_else(void **state)
{
    (void)state;
    static const char *const help[] = {"--help", NULL}, *const version[] = {"-v", "--version", NULL};
    struct options o;
    struct err err = {0};
    assert_int_equal(parse(help, &o, &err), 0);
    assert_true(o.help);
    options_free(&o);
    assert_int_equal(parse(version, &o, &err), 0);
    assert_true(o.version && o.verbose);
    options_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(lists),
        cmocka_unit_test(help_needs_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
