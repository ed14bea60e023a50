/*
 * TLS 1.3 (RFC 8446) with an external pre-shared key and nothing else: no certificates, no tickets, no early
 * data, one ciphersuite, always with an ephemeral (EC)DH exchange (psk_dhe_ke, OpenSSL's default), so that a
 * key that leaks later opens no old recording. SSL_CTX_set_psk_find_session_callback(3).
 */
#include "link_parts.h"

#include <string.h>

#include <openssl/evp.h>

/* An external key is bound to a hash (RFC 8446 4.2.11): SHA-256, and so to this one suite. */
#define SUITE "TLS_AES_128_GCM_SHA256"
#define GROUPS "X25519:P-256"
static const unsigned char suite_code[] = {0x13, 0x01}; /* RFC 8446 B.4 */

/*
 * What tells the keys of one slot apart: the first hex digits of SHA-256 of the secret. It goes over in
 * clear; of 256 random bits nobody guesses more for knowing 32 of their hash.
 */
static bool fingerprint(const struct wire_key *key, char out[LINK_FINGERPRINT_HEX + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned int hash_bytes = 0;
    if (!EVP_Digest(key->secret, sizeof(key->secret), hash, &hash_bytes, EVP_sha256(), NULL))
        return false;
    for (int i = 0; i < LINK_FINGERPRINT_HEX; i++)
        out[i] = digits[hash[i / 2] >> (i % 2 ? 0 : 4) & 15];
    out[LINK_FINGERPRINT_HEX] = 0;
    return true;
}

/* The key as OpenSSL wants it: a session that never was. NULL: no memory. */
static SSL_SESSION *session_of(SSL *ssl, const struct wire_key *key)
{
    const SSL_CIPHER *suite = SSL_CIPHER_find(ssl, suite_code);
    SSL_SESSION *session = SSL_SESSION_new();
    if (session && suite && SSL_SESSION_set1_master_key(session, key->secret, sizeof(key->secret)) &&
        SSL_SESSION_set_cipher(session, suite) && SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION))
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

/* The agent's: which key to offer. `md`: after a HelloRetryRequest, the hash that it must be for. */
static int use_key(SSL *ssl, const EVP_MD *md, const unsigned char **identity, size_t *identity_bytes,
                   SSL_SESSION **session)
{
    struct wire_link *link = SSL_get_app_data(ssl);
    *session = NULL;
    if (md && !EVP_MD_is_a(md, "SHA256"))
        return 0;
    *session = session_of(ssl, &link->key);
    if (!*session)
        return 0;
    *identity = (const unsigned char *)link->identity;
    *identity_bytes = strlen(link->identity);
    return 1;
}

static void note_claimed(struct wire_link *link, const unsigned char *identity, size_t identity_bytes)
{
    size_t n = 0;
    for (; n < identity_bytes && n < WIRE_KEY_ID_BYTES && identity[n] != '#'; n++) {
        unsigned char c = identity[n];
        bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
        link->claimed[n] = (char)(good ? c : '?');
    }
    link->claimed[n] = 0;
}

/* The place of the candidate with the fingerprint, or -1. */
static int pick(const struct wire_key *keys, int count, const unsigned char *wanted)
{
    for (int i = 0; i < count; i++) {
        char have[LINK_FINGERPRINT_HEX + 1];
        if (fingerprint(&keys[i], have) && memcmp(have, wanted, LINK_FINGERPRINT_HEX) == 0)
            return i;
    }
    return -1;
}

/* Finds the key of the claimed identity: its session, or NULL with the fault noted. */
static SSL_SESSION *find_session(struct wire_link *link, SSL *ssl, const unsigned char *identity,
                                 size_t identity_bytes)
{
    note_claimed(link, identity, identity_bytes);
    link->key_fault = LINK_KEY_UNKNOWN_ID;
    size_t id_len = strlen(link->claimed);
    if (identity_bytes != id_len + 1 + LINK_FINGERPRINT_HEX || identity[id_len] != '#' ||
        memcmp(identity, link->claimed, id_len) != 0)
        return NULL;
    struct wire_key keys[2] = {0};
    int count = link->find(link->find_arg, link->claimed, keys);
    SSL_SESSION *session = NULL;
    if (count > 0) {
        int chosen = pick(keys, count > 2 ? 2 : count, identity + id_len + 1);
        link->key_fault = chosen < 0 ? LINK_KEY_WRONG : LINK_KEY_GOOD;
        if (chosen >= 0) {
            link->peer_key = chosen;
            session = session_of(ssl, &keys[chosen]);
        }
    }
    OPENSSL_cleanse(keys, sizeof(keys));
    return session;
}

/*
 * The controller's. Without a session OpenSSL goes on to look for a certificate, has none, and ends the
 * handshake with a handshake_failure: the same as for a peer that offers no key at all.
 */
static int find_key(SSL *ssl, const unsigned char *identity, size_t identity_bytes, SSL_SESSION **session)
{
    struct wire_link *link = SSL_get_app_data(ssl);
    *session = NULL;
    if (link->key_fault == LINK_KEY_GOOD || link->key_fault == LINK_KEY_NONE)
        *session = find_session(link, ssl, identity, identity_bytes);
    return 1;
}

/* Should the other end show a certificate in place of knowing the key: none is ever good. */
static int refuse_certificate(X509_STORE_CTX *store, void *arg)
{
    (void)arg;
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

static SSL_CTX *context_new(bool controller)
{
    SSL_CTX *ctx = SSL_CTX_new(controller ? TLS_server_method() : TLS_client_method());
    if (!ctx)
        return NULL;
    SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_MIDDLEBOX_COMPAT | SSL_OP_ALLOW_NO_DHE_KEX);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_clear_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_quiet_shutdown(ctx, 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, refuse_certificate, NULL);
    if (controller) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
        SSL_CTX_set_psk_find_session_callback(ctx, find_key);
    } else {
        SSL_CTX_set_psk_use_session_callback(ctx, use_key);
    }
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) &&
        SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) && SSL_CTX_set_ciphersuites(ctx, SUITE) &&
        SSL_CTX_set1_groups_list(ctx, GROUPS) && SSL_CTX_set_num_tickets(ctx, 0) &&
        SSL_CTX_set_max_early_data(ctx, 0) && SSL_CTX_set_recv_max_early_data(ctx, 0))
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

int link_tls_new(struct wire_link *link)
{
    bool controller = link->find != NULL;
    if (!controller) {
        char print[LINK_FINGERPRINT_HEX + 1];
        if (!fingerprint(&link->key, print))
            return -ENOMEM;
        snprintf(link->identity, sizeof(link->identity), "%s#%s", link->key.id, print);
    }
    link->ctx = context_new(controller);
    link->ssl = link->ctx ? SSL_new(link->ctx) : NULL;
    if (!link->ssl)
        return -ENOMEM;
    if (!SSL_set_app_data(link->ssl, link))
        return -ENOMEM;
    if (controller)
        SSL_set_accept_state(link->ssl);
    else
        SSL_set_connect_state(link->ssl);
    return link_bio_attach(link);
}

bool link_tls_keyed(const struct wire_link *link)
{
    bool found = !link->find || link->key_fault == LINK_KEY_GOOD;
    return found && SSL_session_reused(link->ssl) && SSL_version(link->ssl) == TLS1_3_VERSION;
}
