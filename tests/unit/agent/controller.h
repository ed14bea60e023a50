/* A controller of a few lines, for tests of the agent: it listens on loopback, blocks, and says what the test
 * tells it to. */
#ifndef TESTS_AGENT_CONTROLLER_H
#define TESTS_AGENT_CONTROLLER_H

#include "wire/link.h"

struct side { /* one connection */
    int fd;
    struct wire_link *link;
};

struct controller {
    int listener;
    char port[6];
    struct wire_key key;
    struct side control, bulk;
    uint64_t session;
};

void controller_open(struct controller *c);
void controller_close(struct controller *c);

/* Accepts a connection and does the handshake. False: it failed (a wrong key). */
bool controller_accept(struct controller *c, struct side *side);
void controller_hang_up(struct side *side);
/* Accepts control and bulk and welcomes both. `uuid_byte`: of the store. */
void controller_welcome(struct controller *c, uint8_t uuid_byte, uint32_t heartbeat_ms, uint32_t dead_ms);

void controller_send(struct side *side, const struct wire_message *m);
/* Waits for the next message of this type; others are skipped (pings are answered). False: the connection
 * ended, or nothing came for ten seconds. */
bool controller_expect(struct side *side, enum wire_type type, struct wire_message *out);

#endif
