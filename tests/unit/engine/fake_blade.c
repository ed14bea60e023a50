#include "fake_blade.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/fdio.h"
#include "blob/record.h"

#define LONG_MS 5000
#define PORTION_BYTES (300u << 10)

static bool flush(struct fake_end *end)
{
    const uint8_t *bytes;
    size_t n = wire_link_output(end->link, &bytes);
    while (n > 0) {
        ssize_t done = send(end->fd, bytes, n, MSG_NOSIGNAL);
        if (done <= 0)
            return false;
        wire_link_sent(end->link, (size_t)done);
        n = wire_link_output(end->link, &bytes);
    }
    return true;
}

/* Bytes from the socket into the link: false when there are none in time, or no more at all. */
static bool pull(struct fake_end *end, int timeout_ms)
{
    uint8_t bytes[16384];
    struct pollfd p = {.fd = end->fd, .events = POLLIN};
    struct err err = {0};
    if (poll(&p, 1, timeout_ms) <= 0)
        return false;
    ssize_t n = recv(end->fd, bytes, sizeof bytes, 0);
    if (n <= 0 || wire_link_feed(end->link, bytes, (size_t)n, &err) < 0)
        return false;
    return flush(end);
}

bool fake_next(struct fake_blade *b, struct fake_end *end, int timeout_ms)
{
    int64_t until_ms = clock_boot_ms() + timeout_ms;
    struct err err = {0};
    for (;;) {
        int rc = wire_link_next(end->link, &end->message, &err);
        if (rc < 0)
            return false;
        if (rc > 0 && end->message.type == WIRE_PONG)
            continue;
        if (rc > 0 && end->message.type == WIRE_PING) {
            struct wire_message pong = {.type = WIRE_PONG, .ping = end->message.ping};
            if (!b->deaf)
                fake_send(end, &pong);
            continue;
        }
        if (rc > 0)
            return true;
        int64_t left_ms = until_ms - clock_boot_ms();
        if (left_ms < 0 || !pull(end, (int)left_ms))
            return false;
    }
}

void fake_expect(struct fake_blade *b, struct fake_end *end, enum wire_type type)
{
    if (!fake_next(b, end, LONG_MS))
        fail_msg("%s did not come", wire_type_name(type));
    if (end->message.type != type)
        fail_msg("%s came, not %s", wire_type_name(end->message.type), wire_type_name(type));
}

void fake_send(struct fake_end *end, const struct wire_message *message)
{
    struct err err = {0};
    if (wire_link_send(end->link, message, &err) < 0)
        fail_msg("%s: %s", wire_type_name(message->type), err.message);
    flush(end);
}

int fake_dial(struct fake_blade *b, struct fake_end *end, enum wire_role role)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)b->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *end = (struct fake_end){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    int one = 1;
    setsockopt(end->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    assert_int_equal(connect(end->fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(wire_link_new_agent(&b->key, &end->link, NULL), 0);
    flush(end);
    while (!wire_link_is_up(end->link)) {
        if (!pull(end, LONG_MS))
            return -1;
    }
    struct wire_message hello = {.type = WIRE_HELLO,
                                 .hello = {.version_min = 1,
                                           .version_max = WIRE_VERSION,
                                           .role = (uint8_t)role,
                                           .session = role == WIRE_ROLE_BULK ? b->session : 0,
                                           .agent_version = wire_text("test")}};
    fake_send(end, &hello);
    if (!fake_next(b, end, LONG_MS))
        return -1;
    if (end->message.type != WIRE_WELCOME)
        return end->message.type;
    b->session = end->message.welcome.session;
    return 0;
}

void fake_end_close(struct fake_end *end)
{
    if (!end->link)
        return;
    wire_link_free(end->link);
    close(end->fd);
    *end = (struct fake_end){.fd = -1};
}

void fake_drop(struct fake_blade *b)
{
    fake_end_close(&b->control);
    fake_end_close(&b->bulk);
}

void fake_holdings(struct fake_blade *b, const uint64_t *images, uint32_t count)
{
    OWNED_BUF struct buf list = BUF_EMPTY;
    for (uint32_t i = 0; i < count; i++)
        buf_put_u64(&list, images[i]);
    struct wire_message m = {.type = WIRE_HOLDINGS, .holdings.images = {.at = list.bytes, .count = count}};
    fake_send(&b->control, &m);
}

void fake_report(struct fake_blade *b, enum wire_phase phase, uint64_t image, const char *snapshot,
                 const char *sentence)
{
    struct wire_message m = {.type = WIRE_REPORT,
                             .report = {.image = image,
                                        .phase = (uint8_t)phase,
                                        .snapshot = wire_text(snapshot),
                                        .sentence = wire_text(sentence)}};
    fake_send(&b->control, &m);
}

void fake_connect(struct fake_blade *b, int port, const struct wire_key *key, const uint64_t *holdings,
                  uint32_t count, enum wire_phase phase, uint64_t image, const char *snapshot)
{
    *b = (struct fake_blade){.port = port, .key = *key};
    assert_int_equal(fake_dial(b, &b->control, WIRE_ROLE_CONTROL), 0);
    assert_int_equal(fake_dial(b, &b->bulk, WIRE_ROLE_BULK), 0);
    struct wire_message info = {.type = WIRE_INFO,
                                .info = {.cores = 4,
                                         .memory_bytes = 1 << 30,
                                         .machine = wire_text("x86_64"),
                                         .kernel = wire_text("6.1\x1b[0m"),
                                         .runtime = wire_text("none")}};
    fake_send(&b->control, &info);
    fake_holdings(b, holdings, count);
    fake_report(b, phase, image, snapshot, "");
}

void fake_send_load(struct fake_blade *b, enum wire_type type)
{
    struct wire_message m = {.type = type};
    if (type == WIRE_PROGRESS)
        m.progress.load = b->load;
    else
        m.load.load = b->load;
    fake_send(&b->control, &m);
}

static void take_prepare(struct fake_blade *b)
{
    fake_expect(b, &b->control, WIRE_PREPARE);
    b->prepare = b->control.message.prepare;
    wire_text_copy(&b->prepare.snapshot, b->snapshot, sizeof b->snapshot);
    b->prepare.snapshot = (struct wire_text){0};
    b->load = b->prepare.load;
    b->got_chunks = b->got_bytes = b->seeded_chunks = 0;
}

struct blob_image *fake_take_descriptor(struct fake_blade *b)
{
    OWNED_BUF struct buf frame = BUF_EMPTY;
    struct buf raw = BUF_EMPTY;
    take_prepare(b);
    if (b->prepare.descriptor_bytes == 0)
        return NULL;
    assert_false(fake_next(b, &b->bulk, 50)); /* bulk is silent until the blade has spoken */
    fake_send_load(b, WIRE_PROGRESS);
    while (frame.len_bytes < b->prepare.descriptor_bytes) {
        fake_expect(b, &b->bulk, WIRE_DESCRIPTOR);
        assert_int_equal(b->bulk.message.descriptor.load, b->load);
        buf_put(&frame, b->bulk.message.descriptor.piece.at, b->bulk.message.descriptor.piece.len_bytes);
    }
    assert_int_equal(frame.len_bytes, b->prepare.descriptor_bytes);
    uint8_t *room = buf_room(&raw, b->prepare.descriptor_raw_bytes);
    assert_non_null(room);
    assert_int_equal(ZSTD_decompress(room, b->prepare.descriptor_raw_bytes, frame.bytes, frame.len_bytes),
                     b->prepare.descriptor_raw_bytes);
    buf_grew(&raw, b->prepare.descriptor_raw_bytes);
    do {
        fake_expect(b, &b->bulk, WIRE_SEEDS);
        for (uint32_t i = 0; i < b->bulk.message.seeds.seeds.count; i++)
            b->seeded_chunks += wire_seed_at(&b->bulk.message.seeds.seeds, i).count;
    } while (!b->bulk.message.seeds.last);

    struct blob_image *image = NULL;
    struct err err = {0};
    if (blob_image_parse(&raw, &image, &err) < 0)
        fail_msg("%s", err.message);
    assert_false(blob_image_has_ids(image));
    return image;
}

static void check_chunk(struct fake_blade *b, const struct blob_image *image, uint32_t expected)
{
    static uint8_t raw[BLOB_CHUNK_MAX_BYTES];
    const struct wire_chunk *c = &b->bulk.message.chunk;
    struct blob_chunk want;
    assert_int_equal(c->load, b->load);
    assert_int_equal(c->chunk, expected);
    blob_image_chunk(image, c->chunk, &want);
    assert_int_equal(
        blob_expand((enum blob_codec)c->codec, c->payload.at, c->payload.len_bytes, raw, want.raw_bytes), 0);
    assert_int_equal(blob_check_of(raw, want.raw_bytes), want.check);
    b->got_chunks++;
    b->got_bytes += c->payload.len_bytes;
}

void fake_take_chunks(struct fake_blade *b, const struct blob_image *image, uint32_t first, uint32_t count)
{
    OWNED_BUF struct buf ranges = BUF_EMPTY;
    wire_put_range(&ranges, &(struct wire_range){.first = first, .count = count});
    struct wire_message want = {
        .type = WIRE_WANT,
        .want = {.load = b->load, .last = true, .ranges = {.at = ranges.bytes, .count = count ? 1 : 0}}};
    fake_send(&b->bulk, &want);
    uint64_t credit = 0;
    for (uint32_t i = first; i < first + count; i++) {
        while (credit < b->got_bytes + BLOB_STORED_MAX_BYTES) {
            struct wire_message more = {.type = WIRE_CREDIT,
                                        .credit = {.load = b->load, .bytes = PORTION_BYTES}};
            fake_send(&b->bulk, &more);
            credit += PORTION_BYTES;
        }
        fake_expect(b, &b->bulk, WIRE_CHUNK);
        check_chunk(b, image, i);
        assert_true(b->got_bytes <= credit);
    }
}
