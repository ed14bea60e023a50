/* A blade for tests: an agent's two connections, driven step by step from the test's own thread. */
#ifndef TEST_FAKE_BLADE_H
#define TEST_FAKE_BLADE_H

#include "blob/image.h"
#include "wire/link.h"

struct fake_end {
    int fd;
    struct wire_link *link;
    struct wire_message message; /* the last one */
};

struct fake_blade {
    struct fake_end control, bulk;
    int port;
    struct wire_key key;
    uint64_t session;
    uint64_t load;               /* of the last PREPARE */
    struct wire_prepare prepare; /* the last; without its texts */
    char snapshot[128];
    uint64_t got_chunks, got_bytes; /* since the last PREPARE */
    uint32_t seeded_chunks;
    bool deaf; /* answers no ping */
};

/* One connection and its greeting: 0, or the message type that came instead of WELCOME, or -1: closed. */
int fake_dial(struct fake_blade *b, struct fake_end *end, enum wire_role role);
/* Both connections, INFO, HOLDINGS and a REPORT. */
void fake_connect(struct fake_blade *b, int port, const struct wire_key *key, const uint64_t *holdings,
                  uint32_t count, enum wire_phase phase, uint64_t image, const char *snapshot);
void fake_drop(struct fake_blade *b);
void fake_end_close(struct fake_end *end);

void fake_send(struct fake_end *end, const struct wire_message *message);
void fake_send_load(struct fake_blade *b, enum wire_type type);
void fake_report(struct fake_blade *b, enum wire_phase phase, uint64_t image, const char *snapshot,
                 const char *sentence);
void fake_holdings(struct fake_blade *b, const uint64_t *images, uint32_t count);

/* The next message of an end, pings answered meanwhile; false: none within `timeout_ms`, or closed. */
bool fake_next(struct fake_blade *b, struct fake_end *end, int timeout_ms);
/* It must be of that type. */
void fake_expect(struct fake_blade *b, struct fake_end *end, enum wire_type type);

/* Takes PREPARE, the descriptor and the seeds; the image is the caller's. */
struct blob_image *fake_take_descriptor(struct fake_blade *b);
/* Wants the chunks in [first, first + count), gives credit in small portions, checks what comes. */
void fake_take_chunks(struct fake_blade *b, const struct blob_image *image, uint32_t first, uint32_t count);

#endif
