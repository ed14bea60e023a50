#include "base/buf.h"

#include <stdarg.h>
#include <string.h>

void buf_free(struct buf *b)
{
    free(b->bytes);
    *b = BUF_EMPTY;
}

uint8_t *buf_room(struct buf *b, size_t more_bytes)
{
    if (b->error)
        return NULL;
    if (more_bytes > SIZE_MAX / 4 || b->len_bytes > SIZE_MAX / 4) {
        b->error = -ENOMEM;
        return NULL;
    }
    size_t need = b->len_bytes + more_bytes;
    if (need > b->cap_bytes || !b->bytes) {
        size_t cap = b->cap_bytes ? b->cap_bytes : 64;
        while (cap < need)
            cap += cap / 2;
        uint8_t *bytes = realloc(b->bytes, cap);
        if (!bytes) {
            b->error = -ENOMEM;
            return NULL;
        }
        b->bytes = bytes;
        b->cap_bytes = cap;
    }
    return b->bytes + b->len_bytes;
}

void buf_grew(struct buf *b, size_t by_bytes)
{
    if (!b->error)
        b->len_bytes += by_bytes;
}

void buf_drop(struct buf *b, size_t n)
{
    if (n >= b->len_bytes) {
        b->len_bytes = 0;
        return;
    }
    memmove(b->bytes, b->bytes + n, b->len_bytes - n);
    b->len_bytes -= n;
}

void buf_put(struct buf *b, const void *bytes, size_t len_bytes)
{
    uint8_t *room = buf_room(b, len_bytes);
    if (room && len_bytes) {
        memcpy(room, bytes, len_bytes);
        b->len_bytes += len_bytes;
    }
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    buf_put(b, &v, 1);
}

void buf_put_u16(struct buf *b, uint16_t v)
{
    uint8_t raw[2];
    le16_to(raw, v);
    buf_put(b, raw, sizeof(raw));
}

void buf_put_u32(struct buf *b, uint32_t v)
{
    uint8_t raw[4];
    le32_to(raw, v);
    buf_put(b, raw, sizeof(raw));
}

void buf_put_u64(struct buf *b, uint64_t v)
{
    uint8_t raw[8];
    le64_to(raw, v);
    buf_put(b, raw, sizeof(raw));
}

void buf_put_str16(struct buf *b, const char *s, size_t len_bytes)
{
    if (len_bytes > UINT16_MAX) {
        if (!b->error)
            b->error = -EMSGSIZE;
        return;
    }
    buf_put_u16(b, (uint16_t)len_bytes);
    buf_put(b, s, len_bytes);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0) {
        if (!b->error)
            b->error = -ENOMEM;
    } else {
        char *room = (char *)buf_room(b, (size_t)len + 1);
        if (room) {
            vsnprintf(room, (size_t)len + 1, fmt, again);
            b->len_bytes += (size_t)len;
        }
    }
    va_end(again);
}

const uint8_t *rd_bytes(struct rd *r, size_t len_bytes)
{
    if (r->error || len_bytes > r->left_bytes) {
        r->error = -EBADMSG;
        return NULL;
    }
    const uint8_t *at = r->at;
    r->at += len_bytes;
    r->left_bytes -= len_bytes;
    return at;
}

uint8_t rd_u8(struct rd *r)
{
    const uint8_t *p = rd_bytes(r, 1);
    return p ? *p : 0;
}

uint16_t rd_u16(struct rd *r)
{
    const uint8_t *p = rd_bytes(r, 2);
    return p ? le16_at(p) : 0;
}

uint32_t rd_u32(struct rd *r)
{
    const uint8_t *p = rd_bytes(r, 4);
    return p ? le32_at(p) : 0;
}

uint64_t rd_u64(struct rd *r)
{
    const uint8_t *p = rd_bytes(r, 8);
    return p ? le64_at(p) : 0;
}

const char *rd_str16(struct rd *r, size_t *len_bytes)
{
    size_t len = rd_u16(r);
    const uint8_t *p = rd_bytes(r, len);
    *len_bytes = p ? len : 0;
    return (const char *)p;
}

int rd_end(const struct rd *r)
{
    return r->error || r->left_bytes ? -EBADMSG : 0;
}

uint16_t le16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

uint32_t le32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t le64_at(const uint8_t *p)
{
    return (uint64_t)le32_at(p) | (uint64_t)le32_at(p + 4) << 32;
}

void le16_to(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

void le32_to(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

void le64_to(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
