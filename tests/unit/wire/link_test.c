/* A link's life: the handshake, what ends it, and messages through it. */
#include "pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct wire_key key_new(const char *id)
{
    struct wire_key key;
    struct err err = {0};
    assert_int_equal(wire_key_make(id, &key, &err), 0);
    return key;
}

static void ping_through(struct wire_link *from, struct wire_link *to, uint64_t number)
{
    struct err err = {0};
    struct wire_message sent = {.type = WIRE_PING, .ping = {.number = number, .sent_ms = 7}}, got;
    assert_int_equal(wire_link_send(from, &sent, &err), 0);
    assert_true(carry(from, to, 0, &err) >= 0);
    assert_int_equal(wire_link_next(to, &got, &err), 1);
    assert_int_equal(got.type, WIRE_PING);
    assert_int_equal(got.ping.number, number);
    assert_int_equal(wire_link_next(to, &got, &err), 0);
}

static void expect_up(struct pair *pair, const char *id, int which)
{
    assert_true(wire_link_is_up(pair->agent));
    assert_true(wire_link_is_up(pair->controller));
    assert_string_equal(wire_link_peer(pair->controller), id);
    assert_int_equal(wire_link_peer_key(pair->controller), which);
    ping_through(pair->agent, pair->controller, 1);
    ping_through(pair->controller, pair->agent, 2);
}

static void shakes_hands(void **state)
{
    (void)state;
    struct wire_key key = key_new(NULL);
    struct pair pair;
    struct err err = {0};
    pair_open(&pair, &key, &key, NULL);
    assert_false(wire_link_is_up(pair.agent));
    assert_int_equal(settle(&pair, 0, &err), 0);
    expect_up(&pair, key.id, 0);
    assert_int_equal(pair.ring.lookups, 1);
    pair_close(&pair);
}

static void shakes_hands_byte_by_byte(void **state)
{
    (void)state;
    struct wire_key key = key_new(NULL);
    struct pair pair;
    struct err err = {0};
    pair_open(&pair, &key, &key, NULL);
    assert_int_equal(settle(&pair, 1, &err), 0);
    expect_up(&pair, key.id, 0);
    pair_close(&pair);
}

static void picks_the_key_before(void **state)
{
    (void)state;
    struct wire_key before = key_new("b-17"), current = key_new("b-17");
    struct pair pair;
    struct err err = {0};
    pair_open(&pair, &before, &current, &before);
    assert_int_equal(settle(&pair, 0, &err), 0);
    expect_up(&pair, "b-17", 1);
    pair_close(&pair);
    pair_open(&pair, &current, &current, &before);
    assert_int_equal(settle(&pair, 0, &err), 0);
    expect_up(&pair, "b-17", 0);
    pair_close(&pair);
}

/* Both ends fail; both sentences are as they should be. */
static void expect_refusal(const struct wire_key *agent, const struct wire_key *ring,
                           const char *controller_says)
{
    struct pair pair;
    struct err err = {0};
    pair_open(&pair, agent, ring, NULL);
    assert_int_equal(carry(pair.agent, pair.controller, 0, &err), -EPROTO);
    assert_non_null(strstr(err.message, controller_says));
    assert_non_null(strstr(err.message, agent->id));
    assert_string_equal(wire_link_claimed(pair.controller), agent->id);
    assert_false(wire_link_is_up(pair.controller));
    assert_int_equal(carry(pair.controller, pair.agent, 0, &err), -EPROTO);
    assert_non_null(strstr(err.message, "the controller refused the key of slot id"));
    assert_non_null(strstr(err.message, agent->id));
    assert_false(wire_link_is_up(pair.agent));
    assert_int_equal(wire_link_feed(pair.agent, "x", 1, &err), -EPROTO); /* dead, and stays so */
    pair_close(&pair);
}

static void refuses_a_wrong_secret(void **state)
{
    (void)state;
    struct wire_key mine = key_new("b-1"), theirs = key_new("b-1");
    expect_refusal(&mine, &theirs, "is not this slot's");
}

static void refuses_an_unknown_id(void **state)
{
    (void)state;
    struct wire_key mine = key_new("b-1"), theirs = key_new("b-2");
    expect_refusal(&mine, &theirs, "which no slot has");
    expect_refusal(&mine, NULL, "which no slot has");
}

static void refuses_to_send_too_early_or_too_much(void **state)
{
    (void)state;
    struct wire_key key = key_new(NULL);
    struct pair pair;
    struct err err = {0};
    static char many[WIRE_SENTENCE_MAX_BYTES + 1];
    struct wire_message ping = {.type = WIRE_PING},
                        failed = {.type = WIRE_FAILED, .failed = {1, EIO, {many, sizeof(many)}}};
    pair_open(&pair, &key, &key, NULL);
    assert_int_equal(wire_link_send(pair.agent, &ping, &err), -ENOTCONN);
    assert_int_equal(wire_link_send(pair.controller, &ping, &err), -ENOTCONN);
    assert_non_null(strstr(err.message, "not up yet"));
    assert_int_equal(settle(&pair, 0, &err), 0);
    assert_int_equal(wire_link_send(pair.agent, &failed, &err), -EMSGSIZE);
    expect_up(&pair, key.id, 0); /* nothing of it went out */
    pair_close(&pair);
}

/* Everything in one feed: the end of the handshake and the first messages behind it. */
static void takes_messages_behind_the_handshake(void **state)
{
    (void)state;
    struct wire_key key = key_new(NULL);
    struct pair pair;
    struct err err = {0};
    struct wire_message got, ping = {.type = WIRE_PING};
    static uint8_t output[200000];
    struct wire_message log = {.type = WIRE_LOG, .log = {{output, sizeof(output)}}};
    pair_open(&pair, &key, &key, NULL);
    assert_int_equal(carry(pair.agent, pair.controller, 0, &err), 0);
    assert_int_equal(carry(pair.controller, pair.agent, 0, &err), 0);
    assert_true(wire_link_is_up(pair.agent));
    assert_false(wire_link_is_up(pair.controller));
    assert_int_equal(wire_link_send(pair.agent, &ping, &err), 0);
    assert_int_equal(wire_link_send(pair.agent, &log, &err), 0); /* more than a handshake may have */
    assert_int_equal(carry(pair.agent, pair.controller, 0, &err), 0);
    assert_true(wire_link_is_up(pair.controller));
    assert_int_equal(wire_link_next(pair.controller, &got, &err), 1);
    assert_int_equal(got.type, WIRE_PING);
    assert_int_equal(wire_link_next(pair.controller, &got, &err), 1);
    assert_int_equal(got.log.output.len_bytes, sizeof(output));
    pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shakes_hands),
        cmocka_unit_test(shakes_hands_byte_by_byte),
        cmocka_unit_test(picks_the_key_before),
        cmocka_unit_test(refuses_a_wrong_secret),
        cmocka_unit_test(refuses_an_unknown_id),
        cmocka_unit_test(refuses_to_send_too_early_or_too_much),
        cmocka_unit_test(takes_messages_behind_the_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
