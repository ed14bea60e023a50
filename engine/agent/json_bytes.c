#include "json_bytes.h"

#include <stdlib.h>
#include <string.h>

json_t *bytes_to_json(const char *bytes)
{
    size_t len = strlen(bytes);
    char *text = malloc(2 * len + 1);
    if (!text)
        return NULL;
    char *out = text;
    for (const unsigned char *p = (const unsigned char *)bytes; *p; p++) {
        if (*p < 0x80) {
            *out++ = (char)*p;
        } else {
            *out++ = (char)(0xC0 | (*p >> 6));
            *out++ = (char)(0x80 | (*p & 0x3F));
        }
    }
    json_t *value = json_stringn(text, (size_t)(out - text));
    free(text);
    return value;
}

char *bytes_from_json(const json_t *value)
{
    const char *text = json_string_value(value);
    if (!text || strlen(text) != json_string_length(value))
        return NULL;
    char *bytes = malloc(strlen(text) + 1);
    if (!bytes)
        return NULL;
    char *out = bytes;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p < 0x80) {
            *out++ = (char)*p;
        } else if ((*p & 0xFC) == 0xC0 && (p[1] & 0xC0) == 0x80) {
            *out++ = (char)(((*p & 3) << 6) | (p[1] & 0x3F));
            p++;
        } else {
            free(bytes);
            return NULL;
        }
    }
    *out = '\0';
    return bytes;
}
