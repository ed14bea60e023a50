/* What sessions.c and session_messages.c share. */
#ifndef ENGINE_SESSION_PARTS_H
#define ENGINE_SESSION_PARTS_H

#include "fleet_parts.h"
#include "peer.h"

#define HEARTBEAT_MS 1000
#define DEAD_MS 5000
#define HANDSHAKE_MS 10000
#define CHALLENGE_MS 1000
#define UNAUTHENTICATED_MAX 256

/* The greeting. */
void session_hello(struct fleet *fleet, struct peer *peer, const struct wire_hello *hello);
void session_welcome(struct fleet *fleet,
                     struct peer *peer); /* of a control connection that takes its slot */
void session_refuse(struct peer *peer, enum wire_refusal code, const char *sentence);
/* The connection that stands has answered: the one that waits is refused. */
void session_challenge_answered(struct fleet *fleet, struct slot *slot);

/* When both connections are up and the blade has reported: it is in. */
void session_come_in(struct fleet *fleet, struct slot *slot);

/* A message of a connection whose greeting is over. */
void session_message(struct fleet *fleet, struct peer *peer, const struct wire_message *message);

#endif
