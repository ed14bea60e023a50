/*
 * One end of a connection, without the connection: TLS 1.3 with a pre-shared key (RFC 8446, external PSK with
 * (EC)DHE, OpenSSL 3) and the framing of messages. Bytes from the peer go in, messages come out; messages go
 * in, bytes for the peer come out. No I/O, no clock, no thread: whoever owns the socket drives it, from one
 * thread.
 *
 * Nothing is parsed before the handshake is done. After any negative result the link is dead: close it.
 */
#ifndef WIRE_LINK_H
#define WIRE_LINK_H

#include "wire/key.h"
#include "wire/message.h"

struct wire_link;

/*
 * Controller: asks for the key of the identity that a peer claims. Fills up to two candidate keys (the
 * current one first, then the one before while it is valid) and returns how many, or -ENOENT. Must not block
 * for long.
 */
typedef int (*wire_find_key)(void *arg, const char *id, struct wire_key keys[2]);

int wire_link_new_controller(wire_find_key find, void *arg, struct wire_link **out,
                             struct err *err) MUST_CHECK;
int wire_link_new_agent(const struct wire_key *key, struct wire_link **out, struct err *err) MUST_CHECK;
void wire_link_free(struct wire_link *link); /* wipes keys */

/*
 * Bytes that came from the peer: all are taken. -EPROTO: the handshake failed or the stream was tampered
 * with, with a sentence that says which side and why (a wrong key is told from a closed connection). Output
 * may be waiting even then (an alert).
 */
int wire_link_feed(struct wire_link *link, const void *bytes, size_t len_bytes, struct err *err) MUST_CHECK;

/*
 * The next whole message: 1, or 0 when there is none yet, or -EBADMSG. Its views live until the next call of
 * wire_link_next or _feed. The peer's buffered plaintext is bounded by what was fed plus one frame.
 */
int wire_link_next(struct wire_link *link, struct wire_message *message, struct err *err) MUST_CHECK;

/* Encodes and encrypts one message behind the waiting output. Before the handshake is done: -ENOTCONN. */
int wire_link_send(struct wire_link *link, const struct wire_message *message, struct err *err) MUST_CHECK;

/* What waits to go to the peer: a view until the next call on this link other than wire_link_output. */
size_t wire_link_output(struct wire_link *link, const uint8_t **bytes);
void wire_link_sent(struct wire_link *link, size_t n_bytes); /* the first `n_bytes` of it went out */
/* Takes all that waits to go over into `bytes`, whose content is dropped and whose memory the link goes on
 * with: what the kernel is to read does not move then, and nothing is copied. */
void wire_link_take(struct wire_link *link, struct buf *bytes);

bool wire_link_is_up(const struct wire_link *link); /* the handshake is done */
/* Controller: the identity whose key was used (valid when up), and which candidate: 0 current, 1 the one
 * before. */
const char *wire_link_peer(const struct wire_link *link);
int wire_link_peer_key(const struct wire_link *link);
/* Controller, after a failed handshake: the identity that was claimed, or "" . Not to be trusted. */
const char *wire_link_claimed(const struct wire_link *link);

#endif
