/*
 * A growable byte buffer that writes little-endian, and a reader over foreign bytes that never passes their
 * end.
 *
 * Both carry their failure with them: after the first one every call does nothing, and the caller asks once
 * at the end. A writer fails with -ENOMEM; a reader with -EBADMSG.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct buf {
    uint8_t *bytes; /* owned; NULL while empty */
    size_t len_bytes;
    size_t cap_bytes;
    int error; /* 0 or -ENOMEM */
};

#define BUF_EMPTY ((struct buf){0})

void buf_free(struct buf *b);
/* OWNED_BUF struct buf b = BUF_EMPTY; */
#define OWNED_BUF __attribute__((cleanup(buf_free)))

/* Room for `more_bytes` behind the end; NULL when there is no memory. The length does not change: see
 * buf_grew. */
uint8_t *buf_room(struct buf *b, size_t more_bytes);
void buf_grew(struct buf *b, size_t by_bytes);
/* Drops the first `n` bytes. */
void buf_drop(struct buf *b, size_t n);

void buf_put(struct buf *b, const void *bytes, size_t len_bytes);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
/* A u16 length and the bytes; over 65,535 bytes the writer fails with -EMSGSIZE. */
void buf_put_str16(struct buf *b, const char *s, size_t len_bytes);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

struct rd {
    const uint8_t *at;
    size_t left_bytes;
    int error; /* 0 or -EBADMSG */
};

static inline struct rd rd_over(const void *bytes, size_t len_bytes)
{
    return (struct rd){.at = bytes, .left_bytes = len_bytes, .error = 0};
}

uint8_t rd_u8(struct rd *r);
uint16_t rd_u16(struct rd *r);
uint32_t rd_u32(struct rd *r);
uint64_t rd_u64(struct rd *r);
/* A view of `len_bytes` bytes of the input, or NULL past its end. */
const uint8_t *rd_bytes(struct rd *r, size_t len_bytes);
/* A u16 length and that many bytes: a view, not NUL-terminated. */
const char *rd_str16(struct rd *r, size_t *len_bytes);
/* 0 when everything was read well and nothing is left over, else -EBADMSG. */
int rd_end(const struct rd *r) MUST_CHECK;

/* Fixed places, for records that are read where they lie. */
uint16_t le16_at(const uint8_t *p);
uint32_t le32_at(const uint8_t *p);
uint64_t le64_at(const uint8_t *p);
void le16_to(uint8_t *p, uint16_t v);
void le32_to(uint8_t *p, uint32_t v);
void le64_to(uint8_t *p, uint64_t v);

#endif
