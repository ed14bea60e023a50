/*
 * The error that goes up: a code for programs and one sentence for people, made where the context is known.
 * Functions return 0 or more, or -errno, and take a `struct err *` last where a sentence helps.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/cleanup.h"

struct err {
    int code;          /* a positive errno, 0: none */
    char message[512]; /* one sentence without a newline */
};

/* Fills `e` (NULL is allowed) and returns -code. `code` is positive. The sentence is cut at the field's size.
 */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As err_set, with ": " and strerror(code) at its end. */
int err_sys(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts words and ": " before the sentence that `e` has. Returns -e->code (-EIO when `e` is NULL or empty). */
int err_prefix(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
