#include "base/err.h"

#include <stdarg.h>
#include <string.h>

PRINTF_LIKE(3, 0) static void format(struct err *e, int code, const char *fmt, va_list args)
{
    e->code = code;
    if (vsnprintf(e->message, sizeof(e->message), fmt, args) < 0)
        e->message[0] = '\0';
}

static void append(struct err *e, const char *more)
{
    size_t len = strlen(e->message);
    snprintf(e->message + len, sizeof(e->message) - len, ": %s", more);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (e) {
        va_list args;
        va_start(args, fmt);
        format(e, code, fmt, args);
        va_end(args);
    }
    return -code;
}

int err_sys(struct err *e, int code, const char *fmt, ...)
{
    if (e) {
        char reason[128];
        va_list args;
        va_start(args, fmt);
        format(e, code, fmt, args);
        va_end(args);
        append(e, strerror_r(code, reason, sizeof(reason)));
    }
    return -code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    if (!e)
        return -EIO;
    if (e->code == 0)
        e->code = EIO;

    char old[sizeof(e->message)];
    memcpy(old, e->message, sizeof(old));
    va_list args;
    va_start(args, fmt);
    format(e, e->code, fmt, args);
    va_end(args);
    if (old[0])
        append(e, old);
    return -e->code;
}
