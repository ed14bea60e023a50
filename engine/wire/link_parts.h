/* What a link is made of: between link.c (frames), link_bio.c (the bytes below TLS) and tls.c (keys). */
#ifndef WIRE_LINK_PARTS_H
#define WIRE_LINK_PARTS_H

#include <openssl/ssl.h>

#include "link_queue.h"
#include "wire/link.h"

#define LINK_HANDSHAKE_MAX_BYTES 16384 /* from the peer, before the link is up; a real one needs 500 */
#define LINK_RECORD_BYTES 16384        /* of plaintext in one TLS record, RFC 8446 5.1 */
#define LINK_REKEY_BYTES (64u << 20)   /* sent under one key; AES-GCM bears 2^24.5 records, RFC 8446 5.5 */

#define LINK_FINGERPRINT_HEX 8
#define LINK_IDENTITY_BYTES (WIRE_KEY_ID_BYTES + 1 + LINK_FINGERPRINT_HEX) /* "<id>#<fingerprint>" */

enum link_key_fault { LINK_KEY_GOOD, LINK_KEY_NONE, LINK_KEY_UNKNOWN_ID, LINK_KEY_WRONG };

struct wire_link {
    SSL_CTX *ctx;
    SSL *ssl;
    BIO_METHOD *bio_method;
    bool up;
    bool dead;   /* something failed: nothing more is done */
    bool closed; /* the peer said that it sends no more (close_notify) */

    /* below TLS */
    const uint8_t *fed; /* what wire_link_feed was given and TLS has not taken: only during the call */
    size_t fed_bytes;
    size_t early_bytes; /* taken before the link was up */
    bool flooded;       /* ... and they were too many */
    bool no_memory;
    struct link_queue out; /* ciphertext for the peer */

    /* above */
    struct link_queue in; /* plaintext from the peer: frames */
    size_t taken_bytes;   /* of its front: the frame that wire_link_next gave last */
    struct buf scratch;   /* the frame being encoded */
    uint64_t key_bytes;   /* sent under the present key */

    /* the agent's */
    struct wire_key key;
    char identity[LINK_IDENTITY_BYTES + 1];

    /* the controller's */
    wire_find_key find;
    void *find_arg;
    enum link_key_fault key_fault;
    char claimed[WIRE_KEY_ID_BYTES + 1];
    char peer[WIRE_KEY_ID_BYTES + 1];
    int peer_key;
};

/* link_bio.c: a BIO that reads from `fed` and writes to `out`. */
int link_bio_attach(struct wire_link *link) MUST_CHECK;

/* tls.c: the context and the connection, for one end. `link->find` or `link->key` is set. 0 or -ENOMEM. */
int link_tls_new(struct wire_link *link) MUST_CHECK;
/* After the handshake: whether it really was made with a key, and not otherwise. */
bool link_tls_keyed(const struct wire_link *link);
/* tls_fault.c: what went wrong in the last call of OpenSSL, as -EPROTO (or -ENOMEM) and a sentence. */
int link_tls_fault(struct wire_link *link, struct err *err) MUST_CHECK;

#endif
