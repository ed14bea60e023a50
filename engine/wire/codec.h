/* Inside of wire/: the table that says what each message looks like, and the encoding without its tail. */
#ifndef WIRE_CODEC_H
#define WIRE_CODEC_H

#include <stddef.h>

#include "wire/message.h"

enum wire_field_kind {
    WIRE_FIELD_NUMBER, /* `bytes` wide, 1, 2, 4 or 8; from `min` to `max` when read as unsigned */
    WIRE_FIELD_RAW,    /* `bytes` bytes as they are */
    WIRE_FIELD_TEXT,   /* u16 length, `min` to `max` bytes */
    WIRE_FIELD_BYTES,  /* u32 length, `min` to `max` bytes */
    WIRE_FIELD_LIST,   /* u32 count, records of `bytes` bytes */
};

struct wire_field {
    const char *name;
    enum wire_field_kind kind;
    uint16_t offset; /* in struct wire_message */
    uint16_t bytes;
    uint64_t min, max;
    bool (*record_ok)(const uint8_t *record); /* lists; NULL: every record is good */
};

struct wire_layout {
    const char *name; /* NULL: no such type */
    const struct wire_field *fields;
    unsigned count;
};

/* NULL for an unknown type. */
const struct wire_layout *wire_layout_of(unsigned type);

/*
 * Appends the frame up to its tail: the bytes of the last field, when that is of kind BYTES or LIST. They
 * stay where they are and `tail` views them, so that a chunk is not copied on its way. The frame is what was
 * appended and then the tail. As wire_encode otherwise.
 */
int wire_encode_head(const struct wire_message *message, struct buf *out, struct wire_bytes *tail) MUST_CHECK;

#endif
