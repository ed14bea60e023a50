/*
 * The agent's way to the controller: two connections (control, then bulk under the session that control's
 * welcome named), each TLS over TCP through the loop's ring. It dials for ever: the host is resolved anew
 * each time, the pause between tries grows from 0.1 to 2 s, with jitter; each distinct reason is logged once.
 *
 * All on the loop's thread but the resolving, which has one of its own.
 */
#ifndef AGENT_CONNECTION_H
#define AGENT_CONNECTION_H

#include "base/err.h"
#include "base/loop.h"
#include "wire/key.h"
#include "wire/message.h"

struct connection;

struct connection_options {
    const char *host, *port; /* borrowed */
    const struct wire_key *key;
    const char *key_file; /* for sentences */
};

struct connection_events {
    /* Both connections are welcome. The views live as long as the call. */
    void (*up)(void *arg, const struct wire_welcome *welcome);
    /* One of them failed or was closed; both are gone. Only after up. */
    void (*down)(void *arg);
    void (*message)(void *arg, enum wire_role role, const struct wire_message *message);
    /* All messages that one read of the bulk connection brought were given to `message`. */
    void (*taken)(void *arg);
    /* What waited on the bulk connection has gone out. */
    void (*drained)(void *arg);
    void *arg;
};

int connection_new(struct loop *loop, const struct connection_options *options,
                   const struct connection_events *events, struct connection **out,
                   struct err *err) MUST_CHECK;
void connection_start(struct connection *connection);
/* Ends both connections and dials no more. */
void connection_stop(struct connection *connection);
/* After connection_stop and loop_free: nothing is under way then. Does not wait for a resolving that hangs.
 */
void connection_free(struct connection *connection);

bool connection_is_up(const struct connection *connection);
/* Sends on the connection that the message's type belongs to; dropped without a word while there is none. */
void connection_send(struct connection *connection, const struct wire_message *message);
/* Bytes that wait to go out on the bulk connection. */
size_t connection_bulk_waiting(const struct connection *connection);
/* Ends the connections, for what is said in `why`; they are dialled again. */
void connection_fail(struct connection *connection, const char *why);

#endif
