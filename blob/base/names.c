#include "base/names.h"

#include <inttypes.h>
#include <string.h>

static bool is_alnum(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool name_is_valid(const char *name, size_t len_bytes)
{
    if (len_bytes == 0 || len_bytes > NAME_MAX_BYTES || !is_alnum(name[0]))
        return false;
    for (size_t i = 1; i < len_bytes; i++)
        if (!is_alnum(name[i]) && name[i] != '.' && name[i] != '_' && name[i] != '-')
            return false;
    return true;
}

bool slot_name_is_valid(const char *name, size_t len_bytes)
{
    return name_is_valid(name, len_bytes) && !(len_bytes == 3 && memcmp(name, "any", 3) == 0);
}

bool running_name_parse(const char *text, size_t len_bytes, char name[NAME_MAX_BYTES + 1], uint64_t *n)
{
    const char *at = memchr(text, '@', len_bytes);
    if (!at || !name_is_valid(text, (size_t)(at - text)))
        return false;

    const char *digits = at + 1;
    size_t count = len_bytes - (size_t)(digits - text);
    if (count == 0 || count > 20 || digits[0] == '0')
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(digits[i] - '0'), &value))
            return false;
    }
    memcpy(name, text, (size_t)(at - text));
    name[at - text] = '\0';
    *n = value;
    return true;
}

void running_name_format(char out[RUNNING_NAME_MAX_BYTES + 1], const char *name, uint64_t n)
{
    snprintf(out, RUNNING_NAME_MAX_BYTES + 1, "%s@%" PRIu64, name, n);
}
