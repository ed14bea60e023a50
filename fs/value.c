#include "value.h"

#include <signal.h>
#include <string.h>

ssize_t value_check(const char *bytes, size_t len_bytes, int64_t offset, bool appends, size_t max_bytes)
{
    if (offset != 0 && !appends)
        return -EINVAL;
    if (len_bytes > 0 && bytes[len_bytes - 1] == '\n')
        len_bytes--;
    if (len_bytes > max_bytes)
        return -EINVAL;
    if (memchr(bytes, 0, len_bytes) || memchr(bytes, '\n', len_bytes))
        return -EINVAL;
    return (ssize_t)len_bytes;
}

bool value_quotes_end(const char *value, size_t len_bytes)
{
    char quote = 0;
    for (size_t i = 0; i < len_bytes; i++) {
        char c = value[i];
        if (c == '\\' && quote != '\'') {
            if (++i == len_bytes)
                return false;
        } else if (quote) {
            if (c == quote)
                quote = 0;
        } else if (c == '\'' || c == '"') {
            quote = c;
        }
    }
    return quote == 0;
}

int value_errno(int result)
{
    static const int allowed[] = {EINVAL, ENOENT, ENXIO, EEXIST, ETXTBSY, ENOTEMPTY, EIO,
                                  ENOSPC, EDQUOT, EROFS, EACCES, EPERM,   EINTR,     ESTALE};
    if (result >= 0)
        return 0;
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
        if (allowed[i] == -result)
            return result;
    return -EIO;
}

/* The mask on the line that begins so; 0 when there is none. */
static uint64_t mask_of(const char *status, const char *label)
{
    const char *line = strstr(status, label);
    return line ? strtoull(line + strlen(label), NULL, 16) : 0;
}

static uint64_t bit(int number)
{
    return UINT64_C(1) << (number - 1);
}

bool status_shows_end(const char *status)
{
    uint64_t pending = mask_of(status, "\nSigPnd:\t") | mask_of(status, "\nShdPnd:\t");
    uint64_t blocked = mask_of(status, "\nSigBlk:\t") & ~bit(SIGKILL);
    uint64_t ending = bit(SIGHUP) | bit(SIGINT) | bit(SIGQUIT) | bit(SIGTERM) | bit(SIGKILL);
    return (pending & ~blocked & ending) != 0;
}
