#include "exec_words.h"

#include <stdbool.h>
#include <string.h>

struct cutter {
    const char *text;
    size_t len_bytes, at;
    char *out;   /* where the words' bytes go: never more than the text's, plus a NUL a word */
    bool inside; /* of a word: '' is one too */
    struct err *err;
};

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int unbalanced(const struct cutter *c, const char *what, size_t opened)
{
    return err_set(c->err, EINVAL, "the command line has %s at character %zu that is not closed", what,
                   opened + 1);
}

static int single_quoted(struct cutter *c)
{
    size_t opened = c->at++;
    while (c->at < c->len_bytes && c->text[c->at] != '\'')
        *c->out++ = c->text[c->at++];
    if (c->at == c->len_bytes)
        return unbalanced(c, "a single quote", opened);
    c->at++;
    return 0;
}

static int double_quoted(struct cutter *c)
{
    size_t opened = c->at++;
    while (c->at < c->len_bytes && c->text[c->at] != '"') {
        char ch = c->text[c->at++];
        if (ch == '\\' && c->at < c->len_bytes && strchr("$`\"\\\n", c->text[c->at])) {
            ch = c->text[c->at++];
            if (ch == '\n')
                continue;
        }
        *c->out++ = ch;
    }
    if (c->at >= c->len_bytes)
        return unbalanced(c, "a double quote", opened);
    c->at++;
    return 0;
}

static int escaped(struct cutter *c)
{
    if (c->at + 1 == c->len_bytes)
        return err_set(c->err, EINVAL, "the command line ends in a backslash");
    char ch = c->text[c->at + 1];
    c->at += 2;
    if (ch == '\n')
        return 0;
    c->inside = true;
    *c->out++ = ch;
    return 0;
}

static int next_piece(struct cutter *c)
{
    char ch = c->text[c->at];
    if (ch == '\\')
        return escaped(c);
    c->inside = true;
    if (ch == '\'')
        return single_quoted(c);
    if (ch == '"')
        return double_quoted(c);
    *c->out++ = ch;
    c->at++;
    return 0;
}

/* Writes the words one after another, each with its NUL, and counts them. */
static int cut(struct cutter *c, size_t *count)
{
    while (c->at < c->len_bytes) {
        if (!blank(c->text[c->at])) {
            int r = next_piece(c);
            if (r < 0)
                return r;
        } else {
            c->at++;
            if (!c->inside)
                continue;
            c->inside = false;
            *c->out++ = '\0';
            (*count)++;
        }
    }
    if (c->inside) {
        *c->out++ = '\0';
        (*count)++;
    }
    return 0;
}

int exec_words_parse(const char *text, size_t len_bytes, struct exec_words *out, struct err *err)
{
    if (len_bytes > EXEC_WORDS_MAX_BYTES)
        return err_set(err, E2BIG, "the command line has %zu bytes, more than %zu", len_bytes,
                       EXEC_WORDS_MAX_BYTES);
    if (len_bytes > 0 && memchr(text, '\0', len_bytes))
        return err_set(err, EINVAL, "the command line has a NUL in it");

    /* One allocation: the pointers, a NULL after them, then the bytes that they point at. A word takes two
     * bytes of the text at least, but for the last one. */
    size_t most = len_bytes / 2 + 2;
    char **at = malloc(most * sizeof(*at) + len_bytes + 2);
    if (!at)
        return err_set(err, ENOMEM, "no memory for the command line");
    char *words = (char *)(at + most);
    struct cutter c = {.text = text, .len_bytes = len_bytes, .out = words, .err = err};
    size_t count = 0;
    int r = cut(&c, &count);
    if (r == 0 && count > 0 && words[0] == '\0')
        r = err_set(err, EINVAL, "the command line's first word, the program, is empty");
    if (r < 0) {
        free((void *)at);
        return r;
    }
    for (size_t i = 0; i < count; i++) {
        at[i] = words;
        words += strlen(words) + 1;
    }
    at[count] = NULL;
    *out = (struct exec_words){.at = at, .count = count};
    return 0;
}

void exec_words_free(struct exec_words *words)
{
    free((void *)words->at);
    *words = (struct exec_words){0};
}
