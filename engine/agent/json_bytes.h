/*
 * Bytes in JSON. JSON wants UTF-8; a path, a command line or a line of output need not be that: each byte
 * becomes the code point of its number, and back. Pure.
 */
#ifndef AGENT_JSON_BYTES_H
#define AGENT_JSON_BYTES_H

#include <jansson.h>

/* A new reference; NULL: no memory. */
json_t *bytes_to_json(const char *bytes);
/* NUL-terminated, to be freed; NULL when `value` is no such string, or there is no memory. */
char *bytes_from_json(const json_t *value);

#endif
