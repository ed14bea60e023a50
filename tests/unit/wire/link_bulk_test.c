/* Many bytes through a link: all of them arrive, in any pieces, and none is kept longer than needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "link_parts.h"
#include "pair.h"

#define TOTAL_BYTES (100u << 20)
#define AHEAD_BYTES (1u << 20) /* queued before it is carried over */

/* A cheap generator with a fixed seed (xorshift64, Marsaglia 2003): every run is the same. */
static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

struct flow {
    struct pair pair;
    uint8_t *content; /* twice the largest payload: a payload begins anywhere in the first half */
    uint64_t send_random, check_random, split_random;
    uint32_t sent, checked;
};

static struct wire_message chunk_of(const struct flow *flow, uint64_t *random, uint32_t number)
{
    uint64_t r = random_next(random);
    uint32_t most = r % 4 ? 262144 : 600; /* large ones, and among them small ones */
    return (struct wire_message){
        .type = WIRE_CHUNK,
        .chunk = {.load = 1,
                  .chunk = number,
                  .payload = {flow->content + (r >> 8) % 262144, 1 + (uint32_t)(r >> 32) % most}},
    };
}

static void open_flow(struct flow *flow)
{
    struct wire_key key;
    struct err err = {0};
    *flow = (struct flow){.send_random = 42, .check_random = 42, .split_random = 7};
    uint64_t random = 3;
    flow->content = malloc(2 * 262144);
    assert_non_null(flow->content);
    for (size_t i = 0; i < 2 * 262144; i += 8) {
        uint64_t r = random_next(&random);
        memcpy(flow->content + i, &r, sizeof(r));
    }
    assert_int_equal(wire_key_make(NULL, &key, &err), 0);
    pair_open(&flow->pair, &key, &key, NULL);
    assert_int_equal(settle(&flow->pair, 0, &err), 0);
}

static void close_flow(struct flow *flow)
{
    pair_close(&flow->pair);
    free(flow->content);
}

static void check_arrived(struct flow *flow)
{
    struct wire_message got;
    struct err err = {0};
    int rc;
    while ((rc = wire_link_next(flow->pair.agent, &got, &err)) == 1) {
        struct wire_message want = chunk_of(flow, &flow->check_random, flow->checked);
        assert_int_equal(got.type, WIRE_CHUNK);
        assert_int_equal(got.chunk.chunk, flow->checked);
        assert_int_equal(got.chunk.payload.len_bytes, want.chunk.payload.len_bytes);
        assert_memory_equal(got.chunk.payload.at, want.chunk.payload.at, want.chunk.payload.len_bytes);
        flow->checked++;
    }
    assert_int_equal(rc, 0);
}

/* Feeds what waits in pieces of 1 to `most_bytes`, looking for messages after each. */
static void carry_split(struct flow *flow, size_t most_bytes)
{
    const uint8_t *bytes = NULL;
    struct err err = {0};
    size_t left = 0;
    while ((left = wire_link_output(flow->pair.controller, &bytes)) > 0) {
        size_t n = 1 + random_next(&flow->split_random) % most_bytes;
        n = n < left ? n : left;
        assert_int_equal(wire_link_feed(flow->pair.agent, bytes, n, &err), 0);
        wire_link_sent(flow->pair.controller, n);
        check_arrived(flow);
    }
}

static void run_flow(struct flow *flow, uint64_t total_bytes, size_t most_bytes)
{
    struct err err = {0};
    const uint8_t *bytes = NULL;
    for (uint64_t sent_bytes = 0; sent_bytes < total_bytes;) {
        struct wire_message chunk = chunk_of(flow, &flow->send_random, flow->sent++);
        assert_int_equal(wire_link_send(flow->pair.controller, &chunk, &err), 0);
        sent_bytes += chunk.chunk.payload.len_bytes;
        if (wire_link_output(flow->pair.controller, &bytes) >= AHEAD_BYTES)
            carry_split(flow, most_bytes);
    }
    carry_split(flow, most_bytes);
    assert_int_equal(flow->checked, flow->sent);
}

static void hundred_megabytes(void **state)
{
    (void)state;
    struct flow flow;
    struct timespec begin, end;
    open_flow(&flow);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    run_flow(&flow, TOTAL_BYTES, 65536);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    print_message("100 MiB through both ends and compared: %ld ms of CPU\n",
                  (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000);
    /* A new key was taken on the way; what is left behind is small. */
    assert_true(flow.pair.controller->key_bytes < LINK_REKEY_BYTES);
    assert_true(flow.pair.controller->out.buf.cap_bytes <= 1u << 20);
    assert_true(flow.pair.agent->in.buf.cap_bytes <= 1u << 20);
    assert_int_equal(link_queue_len(&flow.pair.agent->in), 0);
    close_flow(&flow);
}

static void small_pieces(void **state)
{
    (void)state;
    struct flow flow;
    open_flow(&flow);
    run_flow(&flow, 4u << 20, 100);
    close_flow(&flow);
}

/* The message that was given out stays until the next call; the longest frame passes. */
static void longest_frame(void **state)
{
    (void)state;
    struct flow flow;
    struct err err = {0};
    OWNED_BUF struct buf ranges = BUF_EMPTY;
    open_flow(&flow);
    for (uint32_t i = 0; i < (WIRE_FRAME_MAX_BYTES - 21) / 8; i++)
        wire_put_range(&ranges, &(struct wire_range){i, 1});
    struct wire_message want = {.type = WIRE_WANT, .want = {1, true, {ranges.bytes, 0}}}, got;
    want.want.ranges.count = (uint32_t)(ranges.len_bytes / 8);
    for (int i = 0; i < 3; i++)
        assert_int_equal(wire_link_send(flow.pair.agent, &want, &err), 0);
    assert_int_equal(carry(flow.pair.agent, flow.pair.controller, 10007, &err), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(wire_link_next(flow.pair.controller, &got, &err), 1);
        assert_int_equal(got.want.ranges.count, want.want.ranges.count);
        assert_memory_equal(got.want.ranges.at, ranges.bytes, ranges.len_bytes);
    }
    assert_int_equal(wire_link_next(flow.pair.controller, &got, &err), 0);
    close_flow(&flow);
}

/* A queue that is never quite empty does not grow for ever, and its bytes stay in order. */
static void queue_that_never_empties(void **state)
{
    (void)state;
    struct link_queue queue = {0};
    uint64_t put = 0, eaten = 0;
    for (int round = 0; round < 100000; round++) {
        for (int i = 0; i < 13; i++, put++) {
            uint8_t *room = link_queue_room(&queue, sizeof(put));
            assert_non_null(room);
            memcpy(room, &put, sizeof(put));
            buf_grew(&queue.buf, sizeof(put));
        }
        for (; eaten + 5 < put; eaten++) {
            assert_memory_equal(link_queue_front(&queue), &eaten, sizeof(eaten));
            link_queue_eat(&queue, sizeof(eaten));
        }
        assert_int_equal(link_queue_len(&queue), 5 * sizeof(put));
    }
    assert_true(queue.buf.cap_bytes <= 4096);
    buf_free(&queue.buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hundred_megabytes),
        cmocka_unit_test(small_pieces),
        cmocka_unit_test(longest_frame),
        cmocka_unit_test(queue_that_never_empties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
