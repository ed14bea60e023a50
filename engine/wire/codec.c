/* Frames: encoding and decoding along the table of codec_layout.c. */
#include "codec.h"

#include <string.h>

/* ---- numbers, where they lie in the message, by their width ---- */

static uint64_t number_get(const void *at, unsigned bytes)
{
    uint16_t v16;
    uint32_t v32;
    uint64_t v64;
    switch (bytes) {
    case 1:
        return *(const uint8_t *)at;
    case 2:
        memcpy(&v16, at, sizeof(v16));
        return v16;
    case 4:
        memcpy(&v32, at, sizeof(v32));
        return v32;
    default:
        memcpy(&v64, at, sizeof(v64));
        return v64;
    }
}

static void number_set(void *at, unsigned bytes, uint64_t v)
{
    uint8_t v8 = (uint8_t)v;
    uint16_t v16 = (uint16_t)v;
    uint32_t v32 = (uint32_t)v;
    switch (bytes) {
    case 1:
        memcpy(at, &v8, sizeof(v8));
        break;
    case 2:
        memcpy(at, &v16, sizeof(v16));
        break;
    case 4:
        memcpy(at, &v32, sizeof(v32));
        break;
    default:
        memcpy(at, &v, sizeof(v));
        break;
    }
}

static void number_put(struct buf *out, unsigned bytes, uint64_t v)
{
    uint8_t raw[8];
    le64_to(raw, v);
    buf_put(out, raw, bytes);
}

static uint64_t number_read(struct rd *r, unsigned bytes)
{
    switch (bytes) {
    case 1:
        return rd_u8(r);
    case 2:
        return rd_u16(r);
    case 4:
        return rd_u32(r);
    default:
        return rd_u64(r);
    }
}

static bool in_range(const struct wire_field *f, uint64_t v)
{
    return v >= f->min && v <= f->max;
}

static bool records_ok(const struct wire_field *f, const struct wire_list *list)
{
    if (!f->record_ok)
        return true;
    for (uint32_t i = 0; i < list->count; i++) {
        if (!f->record_ok(list->at + (size_t)i * f->bytes))
            return false;
    }
    return true;
}

/* ---- encoding ---- */

/* A length that is too small is the caller's mistake, one that is too large may be a peer's or a user's. */
static int length_check(const struct wire_field *f, size_t len_bytes)
{
    if (len_bytes > f->max)
        return -EMSGSIZE;
    return len_bytes < f->min ? -EINVAL : 0;
}

static int put_field(const struct wire_field *f, const uint8_t *at, struct buf *out, struct wire_bytes *tail)
{
    int rc = 0;
    switch (f->kind) {
    case WIRE_FIELD_NUMBER: {
        uint64_t v = number_get(at, f->bytes);
        if (!in_range(f, v))
            return -EINVAL;
        number_put(out, f->bytes, v);
        return 0;
    }
    case WIRE_FIELD_RAW:
        buf_put(out, at, f->bytes);
        return 0;
    case WIRE_FIELD_TEXT: {
        const struct wire_text *text = (const void *)at;
        rc = length_check(f, text->len_bytes);
        if (rc == 0)
            buf_put_str16(out, text->at, text->len_bytes);
        return rc;
    }
    case WIRE_FIELD_BYTES: {
        const struct wire_bytes *bytes = (const void *)at;
        rc = length_check(f, bytes->len_bytes);
        if (rc == 0) {
            buf_put_u32(out, bytes->len_bytes);
            *tail = *bytes;
        }
        return rc;
    }
    case WIRE_FIELD_LIST: {
        const struct wire_list *list = (const void *)at;
        if (list->count > WIRE_FRAME_MAX_BYTES / f->bytes)
            return -EMSGSIZE;
        if (!records_ok(f, list))
            return -EINVAL;
        buf_put_u32(out, list->count);
        *tail = (struct wire_bytes){.at = list->at, .len_bytes = list->count * f->bytes};
        return 0;
    }
    }
    return -EINVAL;
}

int wire_encode_head(const struct wire_message *message, struct buf *out, struct wire_bytes *tail)
{
    const struct wire_layout *layout = wire_layout_of(message->type);
    if (!layout)
        return -EINVAL;
    if (out->error)
        return out->error;
    size_t begin = out->len_bytes;
    struct wire_bytes rest = {0};
    buf_put_u32(out, 0); /* the length, when it is known */
    buf_put_u16(out, (uint16_t)message->type);
    buf_put_u16(out, 0);
    int rc = 0;
    for (unsigned i = 0; i < layout->count && rc == 0; i++)
        rc = put_field(&layout->fields[i], (const uint8_t *)message + layout->fields[i].offset, out, &rest);
    if (out->error)
        return out->error;
    size_t frame_bytes = out->len_bytes - begin + rest.len_bytes;
    if (rc == 0 && frame_bytes > WIRE_FRAME_MAX_BYTES)
        rc = -EMSGSIZE;
    if (rc < 0) {
        out->len_bytes = begin;
        return rc;
    }
    le32_to(out->bytes + begin, (uint32_t)frame_bytes);
    *tail = rest;
    return 0;
}

int wire_encode(const struct wire_message *message, struct buf *out)
{
    struct wire_bytes tail = {0};
    int rc = wire_encode_head(message, out, &tail);
    if (rc < 0)
        return rc;
    buf_put(out, tail.at, tail.len_bytes);
    return out->error;
}

/* ---- decoding ---- */

static int field_bad(struct err *err, const struct wire_layout *layout, const struct wire_field *f,
                     const char *what)
{
    return err_set(err, EBADMSG, "a %s message is malformed: %s %s", layout->name, f->name, what);
}

static int read_number(struct rd *r, const struct wire_layout *layout, const struct wire_field *f, void *at,
                       struct err *err)
{
    uint64_t v = number_read(r, f->bytes);
    if (r->error)
        return field_bad(err, layout, f, "is cut off");
    if (!in_range(f, v))
        return field_bad(err, layout, f, "has a value that it cannot have");
    number_set(at, f->bytes, v);
    return 0;
}

static int read_raw(struct rd *r, const struct wire_layout *layout, const struct wire_field *f, void *at,
                    struct err *err)
{
    const uint8_t *raw = rd_bytes(r, f->bytes);
    if (!raw)
        return field_bad(err, layout, f, "is cut off");
    memcpy(at, raw, f->bytes);
    return 0;
}

static int read_text(struct rd *r, const struct wire_layout *layout, const struct wire_field *f,
                     struct wire_text *out, struct err *err)
{
    size_t len_bytes = 0;
    const char *at = rd_str16(r, &len_bytes);
    if (r->error)
        return field_bad(err, layout, f, "is cut off");
    if (!in_range(f, len_bytes))
        return field_bad(err, layout, f, "has a length that it cannot have");
    *out = (struct wire_text){.at = at, .len_bytes = (uint16_t)len_bytes};
    return 0;
}

static int read_bytes(struct rd *r, const struct wire_layout *layout, const struct wire_field *f,
                      struct wire_bytes *out, struct err *err)
{
    uint32_t len_bytes = rd_u32(r);
    const uint8_t *at = rd_bytes(r, len_bytes);
    if (r->error)
        return field_bad(err, layout, f, "is cut off");
    if (!in_range(f, len_bytes))
        return field_bad(err, layout, f, "has a length that it cannot have");
    *out = (struct wire_bytes){.at = at, .len_bytes = len_bytes};
    return 0;
}

static int read_list(struct rd *r, const struct wire_layout *layout, const struct wire_field *f,
                     struct wire_list *out, struct err *err)
{
    uint32_t count = rd_u32(r);
    if (!r->error && count > r->left_bytes / f->bytes)
        return field_bad(err, layout, f, "counts more than the frame holds");
    const uint8_t *at = rd_bytes(r, (size_t)count * f->bytes);
    if (r->error)
        return field_bad(err, layout, f, "is cut off");
    struct wire_list list = {.at = at, .count = count};
    if (!records_ok(f, &list))
        return field_bad(err, layout, f, "has a record that cannot be");
    *out = list;
    return 0;
}

static int read_field(struct rd *r, const struct wire_layout *layout, const struct wire_field *f, void *at,
                      struct err *err)
{
    switch (f->kind) {
    case WIRE_FIELD_NUMBER:
        return read_number(r, layout, f, at, err);
    case WIRE_FIELD_RAW:
        return read_raw(r, layout, f, at, err);
    case WIRE_FIELD_TEXT:
        return read_text(r, layout, f, at, err);
    case WIRE_FIELD_BYTES:
        return read_bytes(r, layout, f, at, err);
    case WIRE_FIELD_LIST:
        return read_list(r, layout, f, at, err);
    }
    return err_set(err, EBADMSG, "a %s message is malformed", layout->name);
}

int wire_decode(const uint8_t *bytes, size_t len_bytes, struct wire_message *out, struct err *err)
{
    if (len_bytes < WIRE_FRAME_HEADER_BYTES)
        return 0;
    uint32_t frame_bytes = le32_at(bytes);
    unsigned type = le16_at(bytes + 4);
    const struct wire_layout *layout = wire_layout_of(type);
    if (frame_bytes < WIRE_FRAME_HEADER_BYTES || frame_bytes > WIRE_FRAME_MAX_BYTES)
        return err_set(err, EBADMSG, "a frame says that it is %u bytes long; from %u to %u can be",
                       frame_bytes, WIRE_FRAME_HEADER_BYTES, WIRE_FRAME_MAX_BYTES);
    if (!layout)
        return err_set(err, EBADMSG, "a message has the unknown type %u", type);
    if (le16_at(bytes + 6) != 0)
        return err_set(err, EBADMSG, "a %s message has a reserved field that is not zero", layout->name);
    if (len_bytes < frame_bytes)
        return 0;

    struct wire_message message = {.type = (enum wire_type)type};
    struct rd r = rd_over(bytes + WIRE_FRAME_HEADER_BYTES, frame_bytes - WIRE_FRAME_HEADER_BYTES);
    for (unsigned i = 0; i < layout->count; i++) {
        const struct wire_field *f = &layout->fields[i];
        int rc = read_field(&r, layout, f, (uint8_t *)&message + f->offset, err);
        if (rc < 0)
            return rc;
    }
    if (rd_end(&r) < 0)
        return err_set(err, EBADMSG, "a %s message has %zu bytes too many", layout->name, r.left_bytes);
    *out = message;
    return (int)frame_bytes;
}
