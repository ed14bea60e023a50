/* Every message there and back, and every way in which a frame can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "codec.h"
#include "samples.h"

static void encode(const struct wire_message *message, struct buf *out)
{
    out->len_bytes = 0;
    assert_int_equal(wire_encode(message, out), 0);
    assert_int_equal(le32_at(out->bytes), out->len_bytes);
    assert_int_equal(le16_at(out->bytes + 4), message->type);
}

/* Only what the bytes say is looked at, from a copy that ends where they end: ASan sees a step beyond. */
static int decode(const void *bytes, size_t len_bytes, struct wire_message *out)
{
    struct err err = {0};
    OWNED uint8_t *copy = malloc(len_bytes ? len_bytes : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len_bytes);
    struct wire_message untouched;
    memset(out, 0x5a, sizeof(*out));
    memset(&untouched, 0x5a, sizeof(untouched));
    int rc = wire_decode(copy, len_bytes, out, &err);
    if (rc <= 0)
        assert_memory_equal(out, &untouched, sizeof(untouched));
    if (rc < 0) {
        assert_int_equal(rc, -EBADMSG);
        assert_int_equal(err.code, EBADMSG);
        assert_true(strlen(err.message) > 10);
    }
    return rc;
}

static void assert_refused(struct buf *frame)
{
    struct wire_message got;
    assert_int_equal(decode(frame->bytes, frame->len_bytes, &got), -EBADMSG);
}

static void assert_same_field(const struct wire_field *f, const void *a, const void *b)
{
    const struct wire_text *ta = a, *tb = b;
    const struct wire_bytes *ba = a, *bb = b;
    const struct wire_list *la = a, *lb = b;
    switch (f->kind) {
    case WIRE_FIELD_NUMBER:
    case WIRE_FIELD_RAW:
        assert_memory_equal(a, b, f->bytes);
        break;
    case WIRE_FIELD_TEXT:
        assert_int_equal(ta->len_bytes, tb->len_bytes);
        if (ta->len_bytes)
            assert_memory_equal(ta->at, tb->at, ta->len_bytes);
        break;
    case WIRE_FIELD_BYTES:
        assert_int_equal(ba->len_bytes, bb->len_bytes);
        assert_memory_equal(ba->at, bb->at, ba->len_bytes);
        break;
    case WIRE_FIELD_LIST:
        assert_int_equal(la->count, lb->count);
        if (la->count)
            assert_memory_equal(la->at, lb->at, (size_t)la->count * f->bytes);
        break;
    }
}

static void there_and_back(const struct wire_message *message, struct buf *frame)
{
    struct wire_message got;
    struct err err = {0};
    const struct wire_layout *layout = wire_layout_of(message->type);
    encode(message, frame);
    assert_int_equal(wire_decode(frame->bytes, frame->len_bytes, &got, &err), frame->len_bytes);
    assert_int_equal(got.type, message->type);
    for (unsigned i = 0; i < layout->count; i++) {
        const struct wire_field *f = &layout->fields[i];
        assert_same_field(f, (const uint8_t *)message + f->offset, (const uint8_t *)&got + f->offset);
    }
}

/* With the frame's own length right: too short, or one too long. Of a long frame, its ends. */
static void refuse_other_lengths(struct buf *frame)
{
    struct wire_message got;
    size_t len_bytes = frame->len_bytes;
    for (size_t n = 0; n < len_bytes; n++) {
        if (n > 300 && n + 300 < len_bytes)
            continue;
        le32_to(frame->bytes, (uint32_t)len_bytes);
        assert_int_equal(decode(frame->bytes, n, &got), 0); /* not all there yet */
        le32_to(frame->bytes, (uint32_t)n);
        if (n >= 4) /* else the length itself is cut */
            assert_int_equal(decode(frame->bytes, n, &got), n < WIRE_FRAME_HEADER_BYTES ? 0 : -EBADMSG);
    }
    for (int last = 0; last < 256; last += 255) {
        frame->len_bytes = len_bytes;
        buf_put_u8(frame, (uint8_t)last);
        le32_to(frame->bytes, (uint32_t)len_bytes + 1);
        assert_refused(frame);
    }
}

static void every_sample(void **state)
{
    (void)state;
    OWNED_BUF struct buf frame = BUF_EMPTY;
    for (unsigned i = 0; i < SAMPLES; i++) {
        struct wire_message message = sample(i);
        there_and_back(&message, &frame);
        refuse_other_lengths(&frame);
    }
}

static void every_extreme(void **state)
{
    (void)state;
    OWNED_BUF struct buf frame = BUF_EMPTY, store = BUF_EMPTY;
    for (unsigned i = 0; i < 2 * SAMPLES; i++) {
        struct wire_message message = sample_extreme(sample(i / 2).type, i % 2, &store);
        there_and_back(&message, &frame);
        refuse_other_lengths(&frame);
    }
}

static void several_in_a_row(void **state)
{
    (void)state;
    OWNED_BUF struct buf frames = BUF_EMPTY;
    struct err err = {0};
    for (unsigned i = 0; i < SAMPLES; i++) {
        struct wire_message message = sample(i);
        assert_int_equal(wire_encode(&message, &frames), 0);
    }
    size_t at = 0;
    for (unsigned i = 0; i < SAMPLES; i++) {
        struct wire_message got;
        int n = wire_decode(frames.bytes + at, frames.len_bytes - at, &got, &err);
        assert_true(n > 0);
        assert_int_equal(got.type, sample(i).type);
        at += (size_t)n;
    }
    assert_int_equal(at, frames.len_bytes);
}

/* A number that is out of its range is neither sent nor taken. */
static void out_of_range(const struct wire_message *good, const struct wire_field *f, size_t at, uint64_t v)
{
    OWNED_BUF struct buf frame = BUF_EMPTY;
    struct wire_message bad = *good;
    uint8_t raw[8];
    le64_to(raw, v);
    encode(good, &frame);
    memcpy(frame.bytes + at, raw, f->bytes);
    assert_refused(&frame);
    memcpy((uint8_t *)&bad + f->offset, &v, f->bytes);
    size_t before = frame.len_bytes;
    assert_int_equal(wire_encode(&bad, &frame), -EINVAL);
    assert_int_equal(frame.len_bytes, before);
}

static size_t encoded_bytes(const struct wire_message *message, const struct wire_field *f)
{
    const struct wire_text *text = (const void *)((const uint8_t *)message + f->offset);
    return f->kind == WIRE_FIELD_TEXT ? 2u + text->len_bytes : f->bytes; /* what else there is comes last */
}

static void every_range(void **state)
{
    (void)state;
    unsigned tried = 0;
    for (unsigned i = 0; i < SAMPLES; i++) {
        struct wire_message good = sample(i);
        const struct wire_layout *layout = wire_layout_of(good.type);
        size_t at = WIRE_FRAME_HEADER_BYTES;
        for (unsigned k = 0; k < layout->count; k++) {
            const struct wire_field *f = &layout->fields[k];
            uint64_t widest = f->bytes < 8 ? (1ull << (8 * f->bytes)) - 1 : UINT64_MAX;
            if (f->kind == WIRE_FIELD_NUMBER && f->min > 0)
                out_of_range(&good, f, at, f->min - 1), tried++;
            if (f->kind == WIRE_FIELD_NUMBER && f->max < widest)
                out_of_range(&good, f, at, f->max + 1), out_of_range(&good, f, at, widest), tried++;
            at += encoded_bytes(&good, f);
        }
    }
    assert_true(tried > 30);
}

static void every_unknown_type(void **state)
{
    (void)state;
    uint8_t header[WIRE_FRAME_HEADER_BYTES] = {0};
    struct wire_message got;
    unsigned known = 0;
    le32_to(header, 100);
    for (unsigned type = 0; type <= UINT16_MAX; type++) {
        le16_to(header + 4, (uint16_t)type);
        bool is_known = wire_layout_of(type) != NULL;
        assert_int_equal(decode(header, sizeof(header), &got), is_known ? 0 : -EBADMSG);
        assert_int_equal(strcmp(wire_type_name((enum wire_type)type), "unknown") != 0, is_known);
        known += is_known;
    }
    assert_int_equal(known, SAMPLES);
    struct wire_message bad = {.type = (enum wire_type)99};
    OWNED_BUF struct buf out = BUF_EMPTY;
    assert_int_equal(wire_encode(&bad, &out), -EINVAL);
}

static void every_header(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {0, 1, 7, WIRE_FRAME_MAX_BYTES + 1, INT32_MAX, 0x80000000, UINT32_MAX};
    uint8_t header[WIRE_FRAME_HEADER_BYTES] = {0};
    struct wire_message got;
    le16_to(header + 4, WIRE_CHUNK);
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        le32_to(header, lengths[i]);
        assert_int_equal(decode(header, sizeof(header), &got),
                         -EBADMSG); /* at once: the rest is not awaited */
    }
    le32_to(header, WIRE_FRAME_MAX_BYTES);
    assert_int_equal(decode(header, sizeof(header), &got), 0);
    for (unsigned bit = 0; bit < 16; bit++) {
        le16_to(header + 6, (uint16_t)(1u << bit));
        assert_int_equal(decode(header, sizeof(header), &got), -EBADMSG);
    }
}

static void bad_records(void **state)
{
    (void)state;
    static const struct {
        uint32_t first, count, image_first, zero;
        uint64_t image;
        bool good;
    } rows[] = {
        {0, 1, 0, 0, 1, true},           {0, 0, 0, 0, 1, false},
        {0, 1, 0, 1, 1, false},          {0, 1, 0, 0, 0, false},
        {UINT32_MAX, 1, 0, 0, 1, false}, {0, 1, UINT32_MAX, 0, 1, false},
        {1, UINT32_MAX, 0, 0, 1, false}, {UINT32_MAX - 1, 1, 0, 0, 1, true},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        OWNED_BUF struct buf records = BUF_EMPTY, frame = BUF_EMPTY;
        struct wire_seed seed = {rows[i].first, rows[i].count, rows[i].image, rows[i].image_first};
        wire_put_seed(&records, &seed);
        le32_to(records.bytes + 20, rows[i].zero);
        struct wire_message message = {.type = WIRE_SEEDS, .seeds = {1, true, {records.bytes, 1}}};
        assert_int_equal(wire_encode(&message, &frame), rows[i].good ? 0 : -EINVAL);
        message.seeds.seeds.count = 0;
        encode(&message, &frame);
        le32_to(frame.bytes + frame.len_bytes - 4, 1);
        buf_put(&frame, records.bytes, records.len_bytes);
        le32_to(frame.bytes, (uint32_t)frame.len_bytes);
        struct wire_message got;
        assert_int_equal(decode(frame.bytes, frame.len_bytes, &got),
                         rows[i].good ? (int)frame.len_bytes : -EBADMSG);
    }
}

/* The count says more than there is, up to where count times size would overflow. */
static void bad_counts(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 3, 0x0aaaaaab, 0x20000000, 0x20000002, 0x80000000, UINT32_MAX};
    for (unsigned i = 0; i < SAMPLES; i++) {
        struct wire_message message = sample(i);
        const struct wire_layout *layout = wire_layout_of(message.type);
        const struct wire_field *last = &layout->fields[layout->count - 1];
        if (last->kind != WIRE_FIELD_LIST)
            continue;
        OWNED_BUF struct buf frame = BUF_EMPTY;
        encode(&message, &frame);
        size_t at = frame.len_bytes - 2u * last->bytes - 4; /* each sample has two records */
        assert_int_equal(le32_at(frame.bytes + at), 2);
        for (unsigned k = 0; k < sizeof(counts) / sizeof(counts[0]); k++) {
            le32_to(frame.bytes + at, counts[k]);
            assert_refused(&frame);
        }
    }
}

static void too_long_to_send(void **state)
{
    (void)state;
    static char many[WIRE_PIECE_MAX_BYTES + 1];
    OWNED_BUF struct buf out = BUF_EMPTY;
    memset(many, 'y', sizeof(many));
    struct wire_message rows[] = {
        {.type = WIRE_FAILED, .failed = {1, EIO, {many, WIRE_SENTENCE_MAX_BYTES + 1}}},
        {.type = WIRE_REPORT, .report = {.snapshot = {many, 85}}},
        {.type = WIRE_LOG, .log = {{(const uint8_t *)many, WIRE_PIECE_MAX_BYTES + 1}}},
        {.type = WIRE_CHUNK, .chunk = {1, 0, 0, {(const uint8_t *)many, UINT32_MAX}}},
        {.type = WIRE_WANT, .want = {1, true, {(const uint8_t *)many, WIRE_FRAME_MAX_BYTES}}},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(wire_encode(&rows[i], &out), -EMSGSIZE);
        assert_int_equal(out.len_bytes, 0);
    }
    /* One record more than fits, every one of them good. */
    OWNED_BUF struct buf store = BUF_EMPTY;
    struct wire_message want = sample_extreme(WIRE_WANT, true, &store);
    struct wire_range range = {1, 1};
    wire_put_range(&store, &range);
    want.want.ranges.at = store.bytes;
    want.want.ranges.count++;
    assert_int_equal(wire_encode(&want, &out), -EMSGSIZE);
    assert_int_equal(out.len_bytes, 0);
}

static void reads_lists(void **state)
{
    (void)state;
    OWNED_BUF struct buf b = BUF_EMPTY;
    struct wire_range range = {7, 9}, got_range;
    struct wire_seed seed = {1, 2, 1ull << 40, 4}, got_seed;
    wire_put_range(&b, &(struct wire_range){1, 2});
    wire_put_range(&b, &range);
    got_range = wire_range_at(&(struct wire_list){b.bytes, 2}, 1);
    assert_memory_equal(&got_range, &range, sizeof(range));
    assert_int_equal(wire_u64_at(&(struct wire_list){b.bytes, 2}, 1), 7 | 9ull << 32);
    b.len_bytes = 0;
    wire_put_seed(&b, &(struct wire_seed){9, 9, 9, 9});
    wire_put_seed(&b, &seed);
    assert_int_equal(b.len_bytes, 48);
    got_seed = wire_seed_at(&(struct wire_list){b.bytes, 2}, 1);
    assert_int_equal(got_seed.first, 1);
    assert_int_equal(got_seed.count, 2);
    assert_int_equal(got_seed.image, 1ull << 40);
    assert_int_equal(got_seed.image_first, 4);
}

static void copies_text(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        size_t out_bytes;
    } rows[] = {
        {"plain", "plain", 32},
        {"", "", 1},
        {"cut here", "cut", 4},
        {"a\nb\tc\x1b[31m\x7f", "a?b?c?[31m?", 32},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", 32},
        {"gr\xc3\xbc\xc3\x9f", "gr", 4}, /* not half a letter */
        {"\xc2\x9b"
         "31m",
         "??31m", 32}, /* CSI in one code point */
        {"\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80", 32},
        {"\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80\xff", "??????????", 32}, /* overlong, surrogate, too large */
        {"\xe2\x82", "??", 32},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[32];
        struct wire_text text = wire_text(rows[i].in);
        wire_text_copy(&text, out, rows[i].out_bytes);
        assert_string_equal(out, rows[i].out);
    }
    char zero[] = {'a', 0, 'b'}, out[8];
    struct wire_text text = {zero, sizeof(zero)};
    wire_text_copy(&text, out, sizeof(out));
    assert_string_equal(out, "a?b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sample),       cmocka_unit_test(every_extreme),
        cmocka_unit_test(several_in_a_row),   cmocka_unit_test(every_range),
        cmocka_unit_test(every_unknown_type), cmocka_unit_test(every_header),
        cmocka_unit_test(bad_records),        cmocka_unit_test(bad_counts),
        cmocka_unit_test(too_long_to_send),   cmocka_unit_test(reads_lists),
        cmocka_unit_test(copies_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
