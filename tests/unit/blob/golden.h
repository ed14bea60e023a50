/* Hexadecimal golden files: bytes, with white space anywhere. */
#ifndef TEST_BLOB_GOLDEN_H
#define TEST_BLOB_GOLDEN_H

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

/* Appends the file's bytes to `out`. */
static inline bool golden_read(const char *name, struct buf *out)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", GOLDEN_DIR, name);
    OWNED_FILE file = fopen(path, "r");
    if (!file)
        return false;
    unsigned byte;
    while (fscanf(file, "%2x", &byte) == 1)
        buf_put_u8(out, (uint8_t)byte);
    return !out->error && feof(file);
}

/* With GOLDEN_PRINT set, prints what the file would be now; it is looked at before it becomes the file. */
static inline bool golden_print(const char *name, const uint8_t *bytes, size_t len_bytes)
{
    if (!getenv("GOLDEN_PRINT"))
        return false;
    printf("golden %s\n", name);
    for (size_t i = 0; i < len_bytes; i++)
        printf("%02x%s", bytes[i], i % 32 == 31 || i + 1 == len_bytes ? "\n" : "");
    return true;
}

#endif
