#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "exec_words.h"

struct row {
    const char *text;
    const char *words; /* parted by '|' */
};

static const struct row good[] = {
    {"", ""},
    {" \t \n", ""},
    {"httpd", "httpd|"},
    {"  /bin/httpd -f   -p 80 \n", "/bin/httpd|-f|-p|80|"},
    {"sh -c 'echo \"a b\"; exit 3'", "sh|-c|echo \"a b\"; exit 3|"},
    {"a '' b", "a||b|"},
    {"a \"\"", "a||"},
    {"a'b c'd\"e f\"g\\ h", "ab cde fg h|"},
    {"a \"x\\\"y\\\\z\\$q\\`r\\n\"", "a|x\"y\\z$q`r\\n|"},
    {"a 'x\\y'", "a|x\\y|"},
    {"a \\\nb", "a|b|"},
    {"a\\\nb", "ab|"},
    {"a \"x\\\ny\"", "a|xy|"},
    {"echo $HOME *.c ~ ; # no | shell", "echo|$HOME|*.c|~|;|#|no|\x01|shell|"},
    {"\\'a", "'a|"},
    {"caf\xc3\xa9 \xff", "caf\xc3\xa9|\xff|"},
};

static const struct row bad[] = {
    {"a 'b", "the command line has a single quote at character 3 that is not closed"},
    {"a \"b'", "the command line has a double quote at character 3 that is not closed"},
    {"a \"b\\\"", "the command line has a double quote at character 3 that is not closed"},
    {"a \\", "the command line ends in a backslash"},
    {"'' a", "the command line's first word, the program, is empty"},
};

static void cuts_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct exec_words words;
        struct err err = {0};
        assert_int_equal(exec_words_parse(good[i].text, strlen(good[i].text), &words, &err), 0);
        char joined[256] = "";
        for (size_t w = 0; w < words.count; w++) {
            strcat(joined, strcmp(words.at[w], "|") == 0 ? "\x01" : words.at[w]);
            strcat(joined, "|");
        }
        assert_string_equal(joined, good[i].words);
        assert_null(words.at[words.count]);
        exec_words_free(&words);
    }
}

static void names_what_is_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct exec_words words = {0};
        struct err err = {0};
        assert_int_equal(exec_words_parse(bad[i].text, strlen(bad[i].text), &words, &err), -EINVAL);
        assert_string_equal(err.message, bad[i].words);
        assert_null(words.at);
    }
}

static void refuses_nul_and_length(void **state)
{
    (void)state;
    struct exec_words words;
    assert_int_equal(exec_words_parse("a\0b", 3, &words, NULL), -EINVAL);
    OWNED char *text = malloc(EXEC_WORDS_MAX_BYTES + 1);
    assert_non_null(text);
    memset(text, 'a', EXEC_WORDS_MAX_BYTES + 1);
    assert_int_equal(exec_words_parse(text, EXEC_WORDS_MAX_BYTES + 1, &words, NULL), -E2BIG);
    assert_int_equal(exec_words_parse(text, EXEC_WORDS_MAX_BYTES, &words, NULL), 0);
    assert_int_equal(words.count, 1);
    exec_words_free(&words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_words),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(refuses_nul_and_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
