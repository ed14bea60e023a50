/* The names that people give: of slots and snapshots, and `<name>@<n>` of running snapshots. Pure. */
#ifndef BASE_NAMES_H
#define BASE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define NAME_MAX_BYTES 63                                /* [A-Za-z0-9][A-Za-z0-9._-]{0,62} */
#define RUNNING_NAME_MAX_BYTES (NAME_MAX_BYTES + 1 + 20) /* name, '@', a decimal u64 */

bool name_is_valid(const char *name, size_t len_bytes);

/* A slot's name; `any` is reserved. */
bool slot_name_is_valid(const char *name, size_t len_bytes);

/*
 * Splits "<name>@<n>": n is decimal, from 1, without leading zeros. Returns true and fills `name`
 * (NUL-terminated) and `n`, or false and leaves both alone.
 */
bool running_name_parse(const char *text, size_t len_bytes, char name[NAME_MAX_BYTES + 1], uint64_t *n);

/* Writes "<name>@<n>". */
void running_name_format(char out[RUNNING_NAME_MAX_BYTES + 1], const char *name, uint64_t n);

#endif
