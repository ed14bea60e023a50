/* Ids, records and packs byte for byte: golden ones, and what damage to them does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "blob/record.h"
#include "golden.h"
#include "pack.h"
#include "random.h"

/* The secret of all golden files: 0, 1, ... 191. */
static struct blob_secret golden_secret(void)
{
    struct blob_secret secret;
    for (unsigned i = 0; i < BLOB_SECRET_BYTES; i++)
        secret.bytes[i] = (uint8_t)i;
    return secret;
}

static void assert_golden(const char *name, const uint8_t *bytes, size_t len_bytes)
{
    if (golden_print(name, bytes, len_bytes))
        return;
    OWNED_BUF struct buf golden = BUF_EMPTY;
    assert_true(golden_read(name, &golden));
    assert_int_equal(golden.len_bytes, len_bytes);
    assert_memory_equal(golden.bytes, bytes, len_bytes);
}

/* XXH3 takes another way for each of these lengths. */
static void golden_ids(void **state)
{
    static const size_t lengths[] = {1, 3, 4, 8, 9, 16, 17, 128, 129, 240, 241, 1024, 100000};
    enum { COUNT = sizeof(lengths) / sizeof(*lengths) };
    (void)state;
    struct blob_secret secret = golden_secret();
    OWNED uint8_t *bytes = malloc(100000);
    assert_non_null(bytes);
    random_fill(21, bytes, 100000);
    uint8_t all[COUNT * (BLOB_ID_BYTES + 8)];
    for (size_t i = 0; i < COUNT; i++) {
        struct blob_id id = blob_id_of(&secret, bytes, lengths[i]);
        memcpy(all + i * (BLOB_ID_BYTES + 8), id.bytes, BLOB_ID_BYTES);
        le64_to(all + i * (BLOB_ID_BYTES + 8) + BLOB_ID_BYTES, blob_check_of(bytes, lengths[i]));
    }
    assert_golden("ids.hex", all, sizeof(all));
}

static void ids_are_keyed(void **state)
{
    (void)state;
    struct blob_secret a = golden_secret();
    struct blob_secret b = golden_secret();
    b.bytes[100] ^= 1;
    uint8_t bytes[1000];
    random_fill(22, bytes, sizeof(bytes));
    struct blob_id x = blob_id_of(&a, bytes, sizeof(bytes));
    struct blob_id y = blob_id_of(&b, bytes, sizeof(bytes));
    assert_int_not_equal(blob_id_compare(&x, &y), 0);
    char hex[2 * BLOB_ID_BYTES + 1];
    x.bytes[0] = 0x0a;
    x.bytes[15] = 0xf1;
    blob_id_format(&x, hex);
    assert_int_equal(strlen(hex), 32);
    assert_memory_equal(hex, "0a", 2);
    assert_memory_equal(hex + 30, "f1", 2);
}

/* A record of random bytes, which are stored as they are. */
static int encode(uint64_t seed, uint32_t len, uint8_t *out)
{
    struct blob_secret secret = golden_secret();
    struct blob_compressor *c;
    assert_int_equal(blob_compressor_new(1, &c), 0);
    OWNED uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    random_fill(seed, bytes, len);
    struct blob_id id = blob_id_of(&secret, bytes, len);
    int n = blob_record_encode(c, &id, bytes, len, out);
    blob_compressor_free(c);
    return n;
}

static void golden_raw_record(void **state)
{
    (void)state;
    uint8_t out[200];
    int n = encode(31, 100, out);
    assert_int_equal(n, 140);
    assert_golden("record_raw.hex", out, (size_t)n);
}

/* zstd's bytes differ between its versions: a record made by one of them must be read by all. */
static void golden_zstd_record(void **state)
{
    (void)state;
    uint8_t content[4000];
    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)("bladefs keeps snapshots. "[i % 25] ^ (i / 1000));
    struct blob_secret secret = golden_secret();
    struct blob_id id = blob_id_of(&secret, content, sizeof(content));
    struct blob_compressor *c;
    OWNED uint8_t *out = malloc(BLOB_RECORD_MAX_BYTES);
    assert_non_null(out);
    assert_int_equal(blob_compressor_new(3, &c), 0);
    int n = blob_record_encode(c, &id, content, sizeof(content), out);
    blob_compressor_free(c);
    assert_true(n > BLOB_RECORD_HEADER_BYTES);
    if (golden_print("record_zstd.hex", out, (size_t)n))
        return;

    OWNED_BUF struct buf golden = BUF_EMPTY;
    assert_true(golden_read("record_zstd.hex", &golden));
    struct blob_record record;
    assert_int_equal(blob_record_decode(golden.bytes, golden.len_bytes, &record), golden.len_bytes);
    assert_int_equal(record.codec, BLOB_CODEC_ZSTD);
    assert_int_equal(record.raw_bytes, sizeof(content));
    assert_int_equal(blob_id_compare(&record.id, &id), 0);
    uint8_t raw[sizeof(content)];
    assert_int_equal(blob_expand(record.codec, record.payload, record.stored_bytes, raw, sizeof(raw)), 0);
    assert_memory_equal(raw, content, sizeof(content));
}

static void golden_pack(void **state)
{
    static const uint32_t lengths[] = {1, 50, 300};
    (void)state;
    uint8_t record[400];
    OWNED_BUF struct buf pack = BUF_EMPTY;
    OWNED_BUF struct buf footer = BUF_EMPTY;
    uint8_t *header = buf_room(&pack, PACK_HEADER_BYTES);
    assert_non_null(header);
    pack_header_encode(7, header);
    buf_grew(&pack, PACK_HEADER_BYTES);
    for (unsigned i = 0; i < 3; i++) {
        int n = encode(41 + i, lengths[i], record);
        struct pack_entry e = {.offset_bytes = (uint32_t)pack.len_bytes,
                               .stored_bytes = (uint32_t)n - BLOB_RECORD_HEADER_BYTES,
                               .raw_bytes = lengths[i]};
        memcpy(e.id.bytes, record + 24, BLOB_ID_BYTES);
        pack_footer_add(&footer, &e);
        buf_put(&pack, record, (size_t)n);
    }

    /* A scan finds what the footer says. */
    struct blob_secret secret = golden_secret();
    OWNED_BUF struct buf found = BUF_EMPTY;
    struct pack_scan scan;
    assert_int_equal(pack_scan(&secret, pack.bytes, pack.len_bytes, &found, &scan), 0);
    assert_int_equal(scan.records_end, pack.len_bytes);
    assert_int_equal(scan.damaged_bytes, 0);
    assert_int_equal(found.len_bytes, footer.len_bytes);
    assert_memory_equal(found.bytes, footer.bytes, footer.len_bytes);

    pack_footer_close(&footer, 7, (uint32_t)pack.len_bytes);
    buf_put(&pack, footer.bytes, footer.len_bytes);
    assert_int_equal(pack.error, 0);
    assert_golden("pack.hex", pack.bytes, pack.len_bytes);

    struct pack_trailer t;
    const uint8_t *trailer = pack.bytes + pack.len_bytes - PACK_TRAILER_BYTES;
    assert_int_equal(pack_header_check(pack.bytes, pack.len_bytes, 7), 0);
    assert_int_equal(pack_header_check(pack.bytes, pack.len_bytes, 8), -EBADMSG);
    assert_int_equal(pack_header_check(pack.bytes, PACK_HEADER_BYTES - 1, 7), -EBADMSG);
    assert_int_equal(pack_trailer_decode(trailer, pack.len_bytes, 8, &t), -EBADMSG);
    assert_int_equal(pack_trailer_decode(trailer, pack.len_bytes + 1, 7, &t), -EBADMSG);
    assert_int_equal(pack_trailer_decode(trailer, pack.len_bytes, 7, &t), 0);
    assert_int_equal(t.count, 3);
    uint8_t *entries = pack.bytes + t.records_end;
    assert_int_equal(pack_footer_check(entries, &t), 0);
    for (size_t i = 0; i + 16 < t.footer_bytes; i++) {
        entries[i] ^= 1;
        assert_true(pack_trailer_decode(trailer, pack.len_bytes, 7, &t) < 0 ||
                    pack_footer_check(entries, &t) < 0);
        entries[i] ^= 1;
    }
}

/* A footer with a good checksum and entries that lie: whoever can write STORE can make one. */
static void footers_that_lie(void **state)
{
    static const struct pack_entry lies[] = {
        {.offset_bytes = 31, .stored_bytes = 10, .raw_bytes = 10},
        {.offset_bytes = UINT32_MAX, .stored_bytes = 10, .raw_bytes = 10},
        {.offset_bytes = 32, .stored_bytes = 929, .raw_bytes = 929},
        {.offset_bytes = 32, .stored_bytes = 11, .raw_bytes = 10},
        {.offset_bytes = 32, .stored_bytes = 0, .raw_bytes = 10},
        {.offset_bytes = 32, .stored_bytes = 0, .raw_bytes = 0},
        {.offset_bytes = 32, .stored_bytes = 10, .raw_bytes = BLOB_CHUNK_MAX_BYTES + 1},
        {.offset_bytes = 990, .stored_bytes = 10, .raw_bytes = 10},
    };
    (void)state;
    const struct pack_entry truth = {.offset_bytes = 32, .stored_bytes = 928, .raw_bytes = 928};
    for (size_t i = 0; i <= sizeof(lies) / sizeof(*lies); i++) {
        bool lie = i < sizeof(lies) / sizeof(*lies);
        OWNED_BUF struct buf footer = BUF_EMPTY;
        pack_footer_add(&footer, lie ? &lies[i] : &truth);
        pack_footer_close(&footer, 1, 1000);
        struct pack_trailer t;
        const uint8_t *trailer = footer.bytes + footer.len_bytes - PACK_TRAILER_BYTES;
        assert_int_equal(pack_trailer_decode(trailer, 1000 + footer.len_bytes, 1, &t), 0);
        assert_int_equal(pack_footer_check(footer.bytes, &t), lie ? -EBADMSG : 0);
    }
}

static void damaged_records_are_refused(void **state)
{
    (void)state;
    uint8_t bytes[200];
    int n = encode(32, 100, bytes);
    struct blob_record record;
    for (int len = 0; len < n; len++)
        assert_int_equal(blob_record_decode(bytes, (size_t)len, &record), -ENODATA);
    for (int bit = 0; bit < n * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_true(blob_record_decode(bytes, (size_t)n, &record) < 0);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(blob_record_decode(bytes, sizeof(bytes), &record), n);
}

/* Fields that no writer makes, under a checksum that is right. */
static void impossible_records_are_refused(void **state)
{
    static const struct {
        int at;
        uint32_t value;
    } changes[] = {{12, 2}, {12, 0x100}, {16, 0},         {16, 99}, {16, BLOB_CHUNK_MAX_BYTES + 1},
                   {20, 0}, {20, 99},    {20, UINT32_MAX}};
    (void)state;
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        uint8_t bytes[200];
        int n = encode(33, 100, bytes);
        struct blob_record record;
        le32_to(bytes + changes[i].at, changes[i].value);
        le64_to(bytes + 4, blob_check_of(bytes + 12, (size_t)n - 12));
        assert_int_equal(blob_record_decode(bytes, (size_t)n, &record), -EBADMSG);
    }
}

static void payloads_that_lie(void **state)
{
    (void)state;
    OWNED uint8_t *content = calloc(1, 100000);
    OWNED uint8_t *record = malloc(BLOB_RECORD_MAX_BYTES);
    OWNED uint8_t *raw = malloc(100001);
    assert_true(content && record && raw);
    struct blob_compressor *c;
    struct blob_id id = {{0}};
    assert_int_equal(blob_compressor_new(1, &c), 0);
    int n = blob_record_encode(c, &id, content, 100000, record);
    blob_compressor_free(c);
    uint32_t stored = (uint32_t)n - BLOB_RECORD_HEADER_BYTES;
    const uint8_t *payload = record + BLOB_RECORD_HEADER_BYTES;
    assert_int_equal(blob_expand(BLOB_CODEC_ZSTD, payload, stored, raw, 100000), 0);
    assert_int_equal(blob_expand(BLOB_CODEC_ZSTD, payload, stored, raw, 99999), -EBADMSG);
    assert_int_equal(blob_expand(BLOB_CODEC_ZSTD, payload, stored, raw, 100001), -EBADMSG);
    assert_int_equal(blob_expand(BLOB_CODEC_ZSTD, payload, stored - 1, raw, 100000), -EBADMSG);
    assert_int_equal(blob_expand(BLOB_CODEC_ZSTD, payload + 1, stored - 1, raw, 100000), -EBADMSG);
    assert_int_equal(blob_expand(BLOB_CODEC_ZSTD, payload, 0, raw, 100000), -EBADMSG);
    assert_int_equal(blob_expand(BLOB_CODEC_RAW, payload, stored, raw, 100000), -EBADMSG);
    assert_int_equal(blob_expand((enum blob_codec)2, payload, stored, raw, stored), -EBADMSG);
    assert_int_equal(blob_expand(BLOB_CODEC_RAW, payload, stored, raw, stored), 0);
    assert_memory_equal(raw, payload, stored);
}

/* Raw where compression saves less than one byte in 32. */
static void little_gain_is_no_gain(void **state)
{
    (void)state;
    OWNED uint8_t *content = malloc(50000);
    OWNED uint8_t *out = malloc(BLOB_RECORD_MAX_BYTES);
    assert_true(content && out);
    struct blob_compressor *c;
    struct blob_id id = {{0}};
    assert_int_equal(blob_compressor_new(1, &c), 0);
    for (uint32_t zeros = 0; zeros <= 4000; zeros += 500) {
        random_fill(34, content, 50000);
        memset(content, 0, zeros);
        int n = blob_record_encode(c, &id, content, 50000, out);
        struct blob_record record;
        assert_int_equal(blob_record_decode(out, (size_t)n, &record), n);
        assert_int_equal(record.codec, zeros > 50000 / 32 + 100 ? BLOB_CODEC_ZSTD : BLOB_CODEC_RAW);
    }
    assert_int_equal(blob_record_encode(c, &id, content, 0, out), -EINVAL);
    assert_int_equal(blob_record_encode(c, &id, content, BLOB_CHUNK_MAX_BYTES + 1, out), -EINVAL);
    blob_compressor_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_ids),
        cmocka_unit_test(ids_are_keyed),
        cmocka_unit_test(golden_raw_record),
        cmocka_unit_test(golden_zstd_record),
        cmocka_unit_test(golden_pack),
        cmocka_unit_test(footers_that_lie),
        cmocka_unit_test(damaged_records_are_refused),
        cmocka_unit_test(impossible_records_are_refused),
        cmocka_unit_test(payloads_that_lie),
        cmocka_unit_test(little_gain_is_no_gain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
