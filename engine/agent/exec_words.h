/*
 * A command line as it stands in `.bladefs/exec`, cut into words. The quoting is that of POSIX sh (XCU 2.2):
 * blanks part words; '...' keeps everything; "..." keeps everything but \ before $ ` " \ and newline; \ keeps
 * the next character. No shell is asked: $, *, ~, ;, | and # are ordinary characters. Pure.
 */
#ifndef AGENT_EXEC_WORDS_H
#define AGENT_EXEC_WORDS_H

#include <stddef.h>

#include "base/err.h"

#define EXEC_WORDS_MAX_BYTES ((size_t)64 << 10)

struct exec_words {
    char **at; /* count words and a NULL; owned, see exec_words_free */
    size_t count;
};

/*
 * Cuts `text`. No word at all (empty, blanks) is a success with a count of 0. -EINVAL with the sentence when
 * a quote is left open, a backslash ends the text, there is a NUL in it or the first word is empty; -E2BIG;
 * -ENOMEM.
 */
int exec_words_parse(const char *text, size_t len_bytes, struct exec_words *out, struct err *err) MUST_CHECK;
void exec_words_free(struct exec_words *words);

#endif
