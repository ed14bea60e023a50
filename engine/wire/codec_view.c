/* The views that decode gives: records of lists, and text. */
#include "wire/message.h"

#include <string.h>

#define SEED_BYTES 24
#define RANGE_BYTES 8

uint64_t wire_u64_at(const struct wire_list *list, uint32_t i)
{
    return le64_at(list->at + (size_t)i * sizeof(uint64_t));
}

struct wire_seed wire_seed_at(const struct wire_list *list, uint32_t i)
{
    const uint8_t *p = list->at + (size_t)i * SEED_BYTES;
    return (struct wire_seed){
        .first = le32_at(p),
        .count = le32_at(p + 4),
        .image = le64_at(p + 8),
        .image_first = le32_at(p + 16),
    };
}

struct wire_range wire_range_at(const struct wire_list *list, uint32_t i)
{
    const uint8_t *p = list->at + (size_t)i * RANGE_BYTES;
    return (struct wire_range){.first = le32_at(p), .count = le32_at(p + 4)};
}

void wire_put_seed(struct buf *out, const struct wire_seed *seed)
{
    uint8_t raw[SEED_BYTES] = {0};
    le32_to(raw, seed->first);
    le32_to(raw + 4, seed->count);
    le64_to(raw + 8, seed->image);
    le32_to(raw + 16, seed->image_first);
    buf_put(out, raw, sizeof(raw));
}

void wire_put_range(struct buf *out, const struct wire_range *range)
{
    uint8_t raw[RANGE_BYTES];
    le32_to(raw, range->first);
    le32_to(raw + 4, range->count);
    buf_put(out, raw, sizeof(raw));
}

/*
 * The length of the UTF-8 sequence at `p` (RFC 3629), or 0 when it is none, or one that a terminal may take
 * for a command: control characters of ASCII and, in two bytes, of ISO 6429.
 */
static size_t printable(const uint8_t *p, size_t left_bytes)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* shorter ones are overlong */
    if (p[0] < 0x80)
        return p[0] >= 0x20 && p[0] != 0x7f;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n > left_bytes)
        return 0;
    uint32_t c = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    bool good = c >= least[n] && c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff) && !(c >= 0x80 && c < 0xa0);
    return good ? n : 0;
}

void wire_text_copy(const struct wire_text *text, char *out, size_t out_bytes)
{
    if (out_bytes == 0)
        return;
    const uint8_t *in = (const uint8_t *)text->at;
    size_t at = 0, put = 0;
    while (at < text->len_bytes) {
        size_t n = printable(in + at, text->len_bytes - at);
        size_t need = n ? n : 1;
        if (put + need >= out_bytes)
            break;
        if (n)
            memcpy(out + put, in + at, n);
        else
            out[put] = '?';
        put += need;
        at += need;
    }
    out[put] = 0;
}
