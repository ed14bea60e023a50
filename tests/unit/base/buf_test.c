#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/buf.h"

static void what_is_put_is_read_back(void **state)
{
    (void)state;
    OWNED_BUF struct buf b = BUF_EMPTY;
    buf_put_u8(&b, 0xfe);
    buf_put_u16(&b, 0xfedc);
    buf_put_u32(&b, 0xfedcba98);
    buf_put_u64(&b, 0xfedcba9876543210);
    buf_put_str16(&b, "name", 4);
    buf_printf(&b, "%s %d", "x", -1);
    assert_int_equal(b.error, 0);
    static const uint8_t golden[] = {0xfe, 0xdc, 0xfe, 0x98, 0xba, 0xdc, 0xfe, 0x10, 0x32,
                                     0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 4,    0,    'n',
                                     'a',  'm',  'e',  'x',  ' ',  '-',  '1'};
    assert_int_equal(b.len_bytes, sizeof(golden));
    assert_memory_equal(b.bytes, golden, sizeof(golden));

    struct rd r = rd_over(b.bytes, b.len_bytes);
    size_t len;
    assert_int_equal(rd_u8(&r), 0xfe);
    assert_int_equal(rd_u16(&r), 0xfedc);
    assert_int_equal(rd_u32(&r), 0xfedcba98);
    assert_true(rd_u64(&r) == 0xfedcba9876543210);
    assert_memory_equal(rd_str16(&r, &len), "name", 4);
    assert_int_equal(len, 4);
    assert_int_equal(rd_end(&r), -EBADMSG); /* four bytes are left */
    assert_non_null(rd_bytes(&r, 4));
    assert_int_equal(rd_end(&r), 0);
}

static void a_reader_never_passes_the_end(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {9, 0, 'x'};
    struct rd r = rd_over(bytes, sizeof(bytes));
    size_t len = 7;
    assert_null(rd_str16(&r, &len));
    assert_int_equal(len, 0);
    assert_int_equal(rd_u8(&r), 0); /* it stays failed */
    assert_int_equal(rd_end(&r), -EBADMSG);

    r = rd_over(bytes, 3);
    assert_int_equal(rd_u32(&r), 0);
    assert_int_equal(rd_end(&r), -EBADMSG);
    r = rd_over(bytes, 3);
    assert_null(rd_bytes(&r, SIZE_MAX));
}

static void dropping_keeps_the_rest(void **state)
{
    (void)state;
    OWNED_BUF struct buf b = BUF_EMPTY;
    buf_put(&b, "abcdef", 6);
    buf_drop(&b, 2);
    assert_int_equal(b.len_bytes, 4);
    assert_memory_equal(b.bytes, "cdef", 4);
    buf_drop(&b, 100);
    assert_int_equal(b.len_bytes, 0);
}

static void too_much_is_an_error_that_stays(void **state)
{
    (void)state;
    OWNED_BUF struct buf b = BUF_EMPTY;
    static char big[70000];
    buf_put_str16(&b, big, sizeof(big));
    assert_int_equal(b.error, -EMSGSIZE);
    assert_null(buf_room(&b, SIZE_MAX / 2));
    buf_put_u8(&b, 1);
    assert_int_equal(b.len_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_read_back),
        cmocka_unit_test(a_reader_never_passes_the_end),
        cmocka_unit_test(dropping_keeps_the_rest),
        cmocka_unit_test(too_much_is_an_error_that_stays),
    };
    return cmocka_run_group_tests_name("base/buf", tests, NULL, NULL);
}
