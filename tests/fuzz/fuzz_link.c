/*
 * Links under foreign bytes. The first byte says how: 0 a controller's link, 1 an agent's, fed with the rest
 * as it is; else two links with the same key, and the rest are steps: messages sent, pieces carried over,
 * bits flipped on the way. Whatever happens, a message that comes out is the one that went in.
 */
#include <string.h>

#include "fuzz.h"
#include "wire/link.h"

#define MESSAGES_MAX 64
#define OUTPUT_BYTES 70000 /* of the longest message: more than four records of TLS */

static struct wire_key the_key(void)
{
    struct wire_key key = {.id = "b-17"};
    for (unsigned i = 0; i < sizeof(key.secret); i++)
        key.secret[i] = (unsigned char)i;
    return key;
}

static int find_key(void *arg, const char *id, struct wire_key keys[2])
{
    (void)arg;
    keys[0] = the_key();
    return strcmp(id, keys[0].id) == 0 ? 1 : -ENOENT;
}

static struct wire_link *link_of(bool agent)
{
    struct wire_key key = the_key();
    struct wire_link *link = NULL;
    int rc = agent ? wire_link_new_agent(&key, &link, NULL)
                   : wire_link_new_controller(find_key, NULL, &link, NULL);
    MUST(rc == 0);
    return link;
}

/* Two bytes say how long the next piece is. */
static void feed_raw(struct wire_link *link, const uint8_t *data, size_t len_bytes)
{
    struct wire_message message;
    struct err err = {0};
    while (len_bytes > 2) {
        size_t n = (size_t)data[0] | (size_t)data[1] << 8;
        data += 2;
        len_bytes -= 2;
        n = n < len_bytes ? n : len_bytes;
        int rc = wire_link_feed(link, data, n, &err);
        MUST(rc == 0 || (rc == -EPROTO && err.message[0]));
        MUST(!wire_link_is_up(link)); /* nobody guesses the key */
        MUST(wire_link_next(link, &message, &err) <= 0);
        data += n;
        len_bytes -= n;
    }
}

struct way {
    struct wire_link *from, *to;
    uint64_t sent, got;
    bool dead;
};

static uint8_t output[OUTPUT_BYTES];

/* Message number `number` of a way: small ones and long ones. */
static struct wire_message message_of(uint64_t number)
{
    if (number % 3)
        return (struct wire_message){.type = WIRE_PING, .ping = {number, ~number}};
    return (struct wire_message){.type = WIRE_LOG,
                                 .log = {{output, 1 + (uint32_t)(number * 6151 % OUTPUT_BYTES)}}};
}

static void send_next(struct way *way)
{
    struct wire_message message = message_of(way->sent);
    struct err err = {0};
    bool up = wire_link_is_up(way->from);
    int rc = wire_link_send(way->from, &message, &err);
    MUST(up ? rc == 0 : rc == -ENOTCONN);
    way->sent += rc == 0;
}

static void take_all(struct way *way)
{
    struct wire_message got;
    struct err err = {0};
    while (wire_link_next(way->to, &got, &err) == 1) {
        struct wire_message want = message_of(way->got);
        MUST(way->got < way->sent && got.type == want.type);
        if (got.type == WIRE_PING)
            MUST(memcmp(&got.ping, &want.ping, sizeof(got.ping)) == 0);
        else
            MUST(got.log.output.len_bytes == want.log.output.len_bytes &&
                 memcmp(got.log.output.at, output, got.log.output.len_bytes) == 0);
        way->got++;
    }
}

/* `flip`: 0, or which bit of the piece is turned (from 1). */
static void carry(struct way *way, size_t most_bytes, size_t flip)
{
    const uint8_t *bytes = NULL;
    struct err err = {0};
    size_t n = wire_link_output(way->from, &bytes);
    n = n < most_bytes ? n : most_bytes;
    if (n == 0 || way->dead)
        return;
    uint8_t *piece = malloc(n);
    MUST(piece != NULL);
    memcpy(piece, bytes, n);
    wire_link_sent(way->from, n);
    if (flip)
        piece[flip / 8 % n] ^= (uint8_t)(1u << flip % 8);
    way->dead = wire_link_feed(way->to, piece, n, &err) < 0;
    free(piece);
    if (!way->dead)
        take_all(way);
}

static void settle(struct way ways[2])
{
    for (int i = 0; i < 8; i++)
        carry(&ways[i % 2], SIZE_MAX, 0);
}

static void run_pair(const uint8_t *data, size_t len_bytes)
{
    struct wire_link *agent = link_of(true), *controller = link_of(false);
    struct way ways[2] = {{.from = agent, .to = controller}, {.from = controller, .to = agent}};
    bool tampered = false;
    for (; len_bytes >= 3; data += 3, len_bytes -= 3) {
        struct way *way = &ways[data[0] & 1];
        size_t number = (size_t)data[1] | (size_t)data[2] << 8;
        switch (data[0] >> 1 & 7) {
        case 0:
        case 1:
            if (way->sent < MESSAGES_MAX && !ways[0].dead && !ways[1].dead)
                send_next(way);
            break;
        case 2:
            tampered = true;
            carry(way, 1 + number, 1 + number);
            break;
        case 3:
            carry(way, SIZE_MAX, 0);
            break;
        default:
            carry(way, 1 + number, 0);
            break;
        }
    }
    if (!tampered) {
        settle(ways);
        MUST(wire_link_is_up(agent) && wire_link_is_up(controller));
        MUST(ways[0].got == ways[0].sent && ways[1].got == ways[1].sent);
    }
    wire_link_free(agent);
    wire_link_free(controller);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    if (len_bytes < 1)
        return 0;
    if (data[0] > 1) {
        run_pair(data + 1, len_bytes - 1);
        return 0;
    }
    struct wire_link *link = link_of(data[0] == 1);
    feed_raw(link, data + 1, len_bytes - 1);
    wire_link_free(link);
    return 0;
}
