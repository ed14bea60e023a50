#include "raw_peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

static int use_key(SSL *ssl, const EVP_MD *md, const unsigned char **identity, size_t *identity_bytes,
                   SSL_SESSION **session)
{
    struct raw_peer *peer = SSL_get_app_data(ssl);
    unsigned char code[] = {0x13, (unsigned char)peer->suite};
    (void)md;
    *session = SSL_SESSION_new();
    assert_non_null(*session);
    assert_true(SSL_SESSION_set1_master_key(*session, peer->secret, WIRE_KEY_SECRET_BYTES));
    assert_true(SSL_SESSION_set_cipher(*session, SSL_CIPHER_find(ssl, code)));
    assert_true(SSL_SESSION_set_protocol_version(*session, TLS1_3_VERSION));
    *identity = (const unsigned char *)peer->identity;
    *identity_bytes = strlen(peer->identity);
    return 1;
}

static void start(struct raw_peer *peer)
{
    peer->ssl = SSL_new(peer->ctx);
    assert_non_null(peer->ssl);
    SSL_set_app_data(peer->ssl, peer);
    SSL_set_bio(peer->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
}

void raw_client(struct raw_peer *peer, const char *identity, const unsigned char *secret, unsigned suite,
                int max_version)
{
    *peer = (struct raw_peer){.identity = identity, .secret = secret, .suite = suite};
    peer->ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(peer->ctx);
    assert_true(SSL_CTX_set_max_proto_version(peer->ctx, max_version));
    SSL_CTX_set_options(peer->ctx, SSL_OP_ALLOW_NO_DHE_KEX); /* it would do without forward secrecy */
    if (identity)
        SSL_CTX_set_psk_use_session_callback(peer->ctx, use_key);
    start(peer);
    SSL_set_connect_state(peer->ssl);
}

static void give_certificate(SSL_CTX *ctx)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    assert_non_null(key);
    assert_non_null(cert);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    assert_true(X509_set_pubkey(cert, key));
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
}

void raw_server(struct raw_peer *peer)
{
    *peer = (struct raw_peer){0};
    peer->ctx = SSL_CTX_new(TLS_server_method());
    assert_non_null(peer->ctx);
    give_certificate(peer->ctx);
    start(peer);
    SSL_set_accept_state(peer->ssl);
}

void raw_close(struct raw_peer *peer)
{
    SSL_free(peer->ssl);
    SSL_CTX_free(peer->ctx);
    ERR_clear_error();
}

int raw_settle(struct raw_peer *peer, struct wire_link *link, struct err *err)
{
    struct err ignored = {0};
    int first = 0;
    for (bool moved = true; moved;) {
        uint8_t bytes[4096];
        const uint8_t *out = NULL;
        SSL_do_handshake(peer->ssl);
        int n = BIO_read(SSL_get_wbio(peer->ssl), bytes, sizeof(bytes));
        if (n > 0) {
            int rc = wire_link_feed(link, bytes, (size_t)n, first ? &ignored : err);
            first = first ? first : rc;
        }
        size_t left = wire_link_output(link, &out);
        if (left > 0)
            assert_int_equal(BIO_write(SSL_get_rbio(peer->ssl), out, (int)left), left);
        wire_link_sent(link, left);
        moved = n > 0 || left > 0;
    }
    ERR_clear_error();
    return first;
}
