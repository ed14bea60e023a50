/* Peers that are none of ours, or that somebody on the way has had a hand in. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#include "pair.h"
#include "raw_peer.h"

/* The example of PROTOCOL.md: the bytes 0 to 31, and their fingerprint. */
#define IDENTITY "b-17#630dcd29"
#define SHA256_SUITE 1 /* TLS_AES_128_GCM_SHA256 */
#define SHA384_SUITE 2 /* TLS_AES_256_GCM_SHA384 */

static struct wire_key example(void)
{
    struct wire_key key = {.id = "b-17"};
    for (unsigned i = 0; i < sizeof(key.secret); i++)
        key.secret[i] = (unsigned char)i;
    return key;
}

/* A controller that knows the example's key, and nobody yet. */
static struct keyring ring;
static struct wire_link *controller(void)
{
    struct err err = {0};
    struct wire_link *link = NULL;
    ring = (struct keyring){.current = example(), .count = 1};
    assert_int_equal(wire_link_new_controller(ring_find, &ring, &link, &err), 0);
    return link;
}

static void write_raw(struct raw_peer *peer, const void *bytes, size_t len_bytes)
{
    assert_int_equal(SSL_write(peer->ssl, bytes, (int)len_bytes), len_bytes);
}

static int ticket_came(SSL *ssl, SSL_SESSION *session)
{
    (void)session;
    *(unsigned *)SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)) += 1;
    return 0;
}

static unsigned tickets_of(struct raw_peer *peer, struct wire_link *link)
{
    unsigned tickets = 0;
    char byte;
    struct err err = {0};
    SSL_CTX_set_app_data(peer->ctx, &tickets);
    SSL_CTX_set_session_cache_mode(peer->ctx, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(peer->ctx, ticket_came);
    assert_int_equal(raw_settle(peer, link, &err), 0);
    assert_true(SSL_read(peer->ssl, &byte, 1) <= 0); /* looks at what came behind the handshake */
    return tickets;
}

/* From another implementation, by PROTOCOL.md: it gets in, with forward secrecy, without tickets. */
static void another_agent(void **state)
{
    (void)state;
    struct wire_key key = example();
    struct wire_link *link = controller();
    struct raw_peer peer;
    struct err err = {0};
    struct wire_message got, ping = {.type = WIRE_PING, .ping = {1, 2}};
    OWNED_BUF struct buf frame = BUF_EMPTY;
    EVP_PKEY *ephemeral = NULL;
    raw_client(&peer, IDENTITY, key.secret, SHA256_SUITE, 0);
    assert_int_equal(tickets_of(&peer, link), 0);
    assert_true(wire_link_is_up(link));
    assert_true(SSL_is_init_finished(peer.ssl));
    assert_string_equal(wire_link_peer(link), "b-17");
    assert_string_equal(SSL_get_cipher(peer.ssl), "TLS_AES_128_GCM_SHA256");
    assert_int_equal(SSL_get_peer_tmp_key(peer.ssl, &ephemeral), 1);
    EVP_PKEY_free(ephemeral);
    /* A message, a key update that asks for another, a goodbye: the message counts. */
    assert_int_equal(wire_encode(&ping, &frame), 0);
    assert_true(SSL_key_update(peer.ssl, SSL_KEY_UPDATE_REQUESTED));
    write_raw(&peer, frame.bytes, frame.len_bytes);
    SSL_shutdown(peer.ssl);
    assert_int_equal(raw_settle(&peer, link, &err), 0);
    assert_int_equal(wire_link_next(link, &got, &err), 1);
    assert_int_equal(got.ping.sent_ms, 2);
    assert_int_equal(wire_link_next(link, &got, &err), 0);
    raw_close(&peer);
    wire_link_free(link);
}

static void expect_kept_out(struct raw_peer *peer, const char *says)
{
    struct wire_link *link = controller();
    struct err err = {0};
    struct wire_message got;
    assert_int_equal(raw_settle(peer, link, &err), -EPROTO);
    if (!strstr(err.message, says))
        fail_msg("'%s' does not say '%s'", err.message, says);
    assert_false(wire_link_is_up(link));
    assert_false(SSL_is_init_finished(peer->ssl));
    assert_string_equal(wire_link_peer(link), "");
    assert_int_equal(wire_link_next(link, &got, &err), -EBADMSG);
    wire_link_free(link);
    raw_close(peer);
}

static void without_a_key(void **state)
{
    (void)state;
    struct raw_peer peer;
    raw_client(&peer, NULL, NULL, 0, 0);
    expect_kept_out(&peer, "offers no slot's key");
    raw_client(&peer, NULL, NULL, 0, TLS1_2_VERSION);
    expect_kept_out(&peer, "offers no slot's key tried to connect (unsupported protocol)");
}

static void with_another_key(void **state)
{
    (void)state;
    static const char long_id[] = "b-17b-17b-17b-17b-17b-17\n\x1b[31mb-17b-17#630dcd29";
    struct wire_key key = example(), other = {0};
    struct raw_peer peer;
    raw_client(&peer, IDENTITY, other.secret, SHA256_SUITE, 0);
    expect_kept_out(&peer, "names its key, but does not have it");
    raw_client(&peer, "b-17#00000000", key.secret, SHA256_SUITE, 0);
    expect_kept_out(&peer, "is not this slot's");
    raw_client(&peer, "b-18#630dcd29", key.secret, SHA256_SUITE, 0);
    expect_kept_out(&peer, "'b-18', which no slot has");
    raw_client(&peer, "b-17", key.secret, SHA256_SUITE, 0);
    expect_kept_out(&peer, "which no slot has");
    raw_client(&peer, "b-17#630dcd290", key.secret, SHA256_SUITE, 0);
    expect_kept_out(&peer, "which no slot has");
    raw_client(&peer, "#630dcd29", key.secret, SHA256_SUITE, 0);
    expect_kept_out(&peer, "'', which no slot has");
    raw_client(&peer, "b-\n7#630dcd29", key.secret, SHA256_SUITE, 0);
    expect_kept_out(&peer, "'b-?7', which no slot has");
    raw_client(&peer, long_id, key.secret, SHA256_SUITE, 0);
    expect_kept_out(&peer, "'b-17b-17b-17b-17b-17b-17', which no slot has");
    raw_client(&peer, IDENTITY, key.secret, SHA384_SUITE, 0);
    expect_kept_out(&peer, "b-17");
}

/* A server that proves who it is by anything but the key is nobody. */
static void a_false_controller(void **state)
{
    (void)state;
    struct wire_key key = example();
    struct wire_link *link = NULL;
    struct raw_peer peer;
    struct err err = {0};
    assert_int_equal(wire_link_new_agent(&key, &link, &err), 0);
    raw_server(&peer);
    assert_int_equal(raw_settle(&peer, link, &err), -EPROTO);
    assert_non_null(strstr(err.message, "no bladefs controller"));
    assert_false(wire_link_is_up(link));
    raw_close(&peer);
    wire_link_free(link);
}

static void other_protocols(void **state)
{
    (void)state;
    static const char *const words[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-OpenSSH_9.2p1\r\n",
                                        "\x16\x03\x01\xff\xff", "\x17\x03\x03", "\xff\xff\xff\xff\xff\xff"};
    struct wire_key key = example();
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        char bytes[64] = {0};
        struct wire_link *link = controller();
        struct err err = {0};
        memcpy(bytes, words[i], strlen(words[i]));
        assert_int_equal(wire_link_feed(link, bytes, sizeof(bytes), &err), -EPROTO);
        assert_non_null(strstr(err.message, "offers no slot's key"));
        assert_int_equal(ring.lookups, 0);
        wire_link_free(link);
        assert_int_equal(wire_link_new_agent(&key, &link, &err), 0);
        assert_int_equal(wire_link_feed(link, bytes, sizeof(bytes), &err), -EPROTO);
        assert_non_null(strstr(err.message, "no bladefs controller"));
        wire_link_free(link);
    }
}

/* Words without end that are never wrong: the first bytes of a long ClientHello, in many small records. */
static void a_flood(void **state)
{
    (void)state;
    struct wire_link *link = controller();
    struct err err = {0};
    uint8_t record[5 + 256] = {0x16, 3, 1, 1, 0, 1, 0, 0xff, 0xff, 3, 3};
    size_t fed_bytes = 0;
    int rc = 0;
    while (rc == 0 && fed_bytes < (64u << 10)) {
        rc = wire_link_feed(link, record, sizeof(record), &err);
        fed_bytes += sizeof(record);
        memset(record + 5, 0, 256);
    }
    assert_int_equal(rc, -EPROTO);
    assert_non_null(strstr(err.message, "more than 16384 bytes"));
    assert_in_range(fed_bytes, 16 << 10, 17 << 10);
    wire_link_free(link);
}

static void open_example(struct pair *pair)
{
    struct wire_key key = example();
    struct err err = {0};
    pair_open(pair, &key, &key, NULL);
    assert_int_equal(settle(pair, 0, &err), 0);
}

/* What a PING is on its way: the bytes of one record. */
static size_t record_of_ping(struct wire_link *from, uint8_t *out, size_t room)
{
    struct wire_message ping = {.type = WIRE_PING, .ping = {1, 2}};
    struct err err = {0};
    const uint8_t *bytes = NULL;
    assert_int_equal(wire_link_send(from, &ping, &err), 0);
    size_t n = wire_link_output(from, &bytes);
    assert_in_range(n, 1, room);
    memcpy(out, bytes, n);
    wire_link_sent(from, n);
    return n;
}

static void every_byte_tampered(void **state)
{
    (void)state;
    uint8_t record[128];
    size_t n = 6;
    for (size_t i = 5; i < n; i++) { /* behind the header, whose lengths would only make the link wait */
        struct pair pair;
        struct err err = {0};
        struct wire_message got, ping = {.type = WIRE_PING};
        open_example(&pair);
        n = record_of_ping(pair.agent, record, sizeof(record));
        record[i] ^= 1;
        assert_int_equal(wire_link_feed(pair.controller, record, n, &err), -EPROTO);
        assert_non_null(strstr(err.message, "damaged or tampered with"));
        assert_int_equal(wire_link_next(pair.controller, &got, &err), -EBADMSG);
        assert_int_equal(wire_link_send(pair.controller, &ping, &err), -ENOTCONN);
        pair_close(&pair);
    }
}

static void replayed_and_reflected(void **state)
{
    (void)state;
    struct pair pair;
    struct err err = {0};
    uint8_t record[128];
    open_example(&pair);
    size_t n = record_of_ping(pair.agent, record, sizeof(record));
    assert_int_equal(wire_link_feed(pair.controller, record, n, &err), 0);
    assert_int_equal(wire_link_feed(pair.controller, record, n, &err), -EPROTO);
    n = record_of_ping(pair.agent, record, sizeof(record));
    assert_int_equal(wire_link_feed(pair.agent, record, n, &err), -EPROTO);
    pair_close(&pair);
}

/* Whatever byte of the first words is changed: the controller lets nobody in. */
static void every_byte_of_the_hello_tampered(void **state)
{
    (void)state;
    size_t n = 1;
    for (size_t i = 0; i < n; i++) {
        struct wire_key key = example();
        struct pair pair;
        struct err err = {0};
        const uint8_t *bytes = NULL;
        uint8_t hello[1024];
        pair_open(&pair, &key, &key, NULL);
        n = wire_link_output(pair.agent, &bytes);
        assert_in_range(n, 100, sizeof(hello));
        memcpy(hello, bytes, n);
        wire_link_sent(pair.agent, n);
        hello[i] ^= 0x10;
        if (wire_link_feed(pair.controller, hello, n, &err) == 0)
            (void)!settle(&pair, 0, &err);
        assert_false(wire_link_is_up(pair.controller) && i != 1 &&
                     i != 2); /* 1, 2: of the record's version */
        pair_close(&pair);
    }
}

/* Frames from a peer that has the key and is hostile all the same. */
static void bad_frames(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[8];
        const char *says;
    } rows[] = {
        {{0x01, 0x10, 0x10, 0, 67, 0, 0, 0}, "1052673 bytes long"},
        {{0xff, 0xff, 0xff, 0xff, 67, 0, 0, 0}, "4294967295 bytes long"},
        {{0x07, 0, 0, 0, 16, 0, 0, 0}, "7 bytes long"},
        {{0x08, 0, 0, 0, 4, 0, 0, 0}, "unknown type 4"},
        {{0x18, 0, 0, 0, 16, 0, 1, 0}, "reserved"},
        {{0x08, 0, 0, 0, 16, 0, 0, 0}, "PING message is malformed"},
    };
    struct wire_key key = example();
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct wire_link *link = controller();
        struct raw_peer peer;
        struct err err = {0};
        struct wire_message got;
        raw_client(&peer, IDENTITY, key.secret, SHA256_SUITE, 0);
        assert_int_equal(raw_settle(&peer, link, &err), 0);
        write_raw(&peer, rows[i].bytes, sizeof(rows[i].bytes));
        assert_int_equal(raw_settle(&peer, link, &err), 0);
        assert_int_equal(wire_link_next(link, &got, &err), -EBADMSG);
        assert_non_null(strstr(err.message, rows[i].says));
        assert_int_equal(wire_link_next(link, &got, &err), -EBADMSG);
        assert_int_equal(wire_link_feed(link, "x", 1, &err), -EPROTO);
        raw_close(&peer);
        wire_link_free(link);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_agent),
        cmocka_unit_test(without_a_key),
        cmocka_unit_test(with_another_key),
        cmocka_unit_test(a_false_controller),
        cmocka_unit_test(other_protocols),
        cmocka_unit_test(a_flood),
        cmocka_unit_test(every_byte_tampered),
        cmocka_unit_test(replayed_and_reflected),
        cmocka_unit_test(every_byte_of_the_hello_tampered),
        cmocka_unit_test(bad_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
