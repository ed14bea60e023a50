/* The bounded queue of the instance's output. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "output_queue.h"

static void order_is_kept(void **state)
{
    (void)state;
    struct output_queue q = {0};
    OWNED_BUF struct buf out = BUF_EMPTY;
    assert_false(output_queue_take(&q, 1000, &out));
    output_queue_put(&q, "one\n", 4);
    output_queue_put(&q, "two\n", 4);
    assert_true(output_queue_take(&q, 6, &out));
    assert_memory_equal(out.bytes, "one\ntw", 6);
    assert_true(output_queue_take(&q, 1000, &out));
    assert_int_equal(out.len_bytes, 2);
    assert_false(output_queue_take(&q, 1000, &out));
    output_queue_free(&q);
}

static void the_oldest_go(void **state)
{
    (void)state;
    struct output_queue q = {0};
    OWNED_BUF struct buf out = BUF_EMPTY;
    char line[1000];
    uint64_t put = 0, taken = 0, dropped = 0;
    for (unsigned i = 0; i < 1000; i++) {
        memset(line, 'a' + (int)(i % 26), sizeof(line));
        output_queue_put(&q, line, sizeof(line));
        put += sizeof(line);
        assert_true(q.bytes.len_bytes <= OUTPUT_QUEUE_BYTES);
    }
    dropped = q.dropped_bytes;
    assert_true(dropped > 0);
    assert_true(output_queue_take(&q, 65536, &out));
    assert_memory_equal(out.bytes, "[bladed: ", 9);
    assert_true(out.len_bytes <= 65536);
    taken = out.len_bytes - (size_t)((uint8_t *)memchr(out.bytes, '\n', out.len_bytes) - out.bytes) - 1;
    while (output_queue_take(&q, 65536, &out))
        taken += out.len_bytes;
    assert_int_equal(taken + dropped, put);
    assert_int_equal(out.len_bytes, 0);

    static char much[OUTPUT_QUEUE_BYTES + 5];
    output_queue_put(&q, much, sizeof(much));
    assert_int_equal(q.dropped_bytes, 5);
    assert_int_equal(q.bytes.len_bytes, OUTPUT_QUEUE_BYTES);
    output_queue_free(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(order_is_kept), cmocka_unit_test(the_oldest_go)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
