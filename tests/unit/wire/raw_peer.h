/* The other end as somebody else would write it: plain OpenSSL over memory, right or wrong in chosen ways. */
#ifndef TEST_WIRE_RAW_PEER_H
#define TEST_WIRE_RAW_PEER_H

#include <openssl/ssl.h>

#include "wire/link.h"

struct raw_peer {
    SSL_CTX *ctx;
    SSL *ssl;
    const char *identity; /* a client's: NULL, no key is offered */
    const unsigned char *secret;
    unsigned suite; /* the second byte of its code */
};

/* A TLS client that offers `identity` with `secret` (32 bytes) for the suite 0x13<suite>. `max_version` 0:
 * any. */
void raw_client(struct raw_peer *peer, const char *identity, const unsigned char *secret, unsigned suite,
                int max_version);
/* A TLS server with a certificate of its own making, that knows no key. */
void raw_server(struct raw_peer *peer);
void raw_close(struct raw_peer *peer);

/* Carries both ways until nothing moves; the first failure of the link, or 0. */
int raw_settle(struct raw_peer *peer, struct wire_link *link, struct err *err);

#endif
