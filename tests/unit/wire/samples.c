#include "samples.h"

#include <string.h>

#include "base/names.h"
#include "codec.h"

#define U64(v)                                                                                               \
    (uint8_t)(v), (uint8_t)((uint64_t)(v) >> 8), (uint8_t)((uint64_t)(v) >> 16),                             \
        (uint8_t)((uint64_t)(v) >> 24), (uint8_t)((uint64_t)(v) >> 32), (uint8_t)((uint64_t)(v) >> 40),      \
        (uint8_t)((uint64_t)(v) >> 48), (uint8_t)((uint64_t)(v) >> 56)
#define U32(v) (uint8_t)(v), (uint8_t)((v) >> 8), (uint8_t)((v) >> 16), (uint8_t)((v) >> 24)

static const uint8_t images[] = {U64(3), U64(0x0102030405060708)};
static const uint8_t seeds[] = {U32(0),  U32(10), U64(3), U32(5), U32(0),
                                U32(12), U32(1),  U64(4), U32(0), U32(0)};
static const uint8_t ranges[] = {U32(10), U32(2), U32(0xfffffffe), U32(1)};
static const uint8_t payload[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff};

static struct wire_message of_session(unsigned i)
{
    switch (i) {
    case 0:
        return (struct wire_message){
            .type = WIRE_HELLO,
            .hello = {.version_min = 1,
                      .version_max = 2,
                      .features = 0x8000000000000001,
                      .role = WIRE_ROLE_BULK,
                      .session = 0x1122334455667788,
                      .boot_id = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                      .agent_version = wire_text("0.1.0")},
        };
    case 1:
        return (struct wire_message){
            .type = WIRE_WELCOME,
            .welcome = {.version = 1,
                        .features = 0,
                        .session = 0x1122334455667788,
                        .store_uuid = {15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0},
                        .heartbeat_ms = 1000,
                        .dead_ms = 5000,
                        .slot = wire_text("rack-1.blade_7")},
        };
    case 2:
        return (struct wire_message){.type = WIRE_REFUSED,
                                     .refused = {WIRE_REFUSED_BUSY, wire_text("the slot is taken")}};
    case 3:
        return (struct wire_message){.type = WIRE_PING, .ping = {1, 123456789}};
    case 4:
        return (struct wire_message){.type = WIRE_PONG, .ping = {UINT64_MAX, 123456790}};
    case 5:
        return (struct wire_message){
            .type = WIRE_INFO,
            .info = {.cores = 64,
                     .memory_bytes = 1ull << 37,
                     .memory_free_bytes = 1ull << 36,
                     .disk_bytes = 1ull << 40,
                     .disk_free_bytes = 1ull << 39,
                     .uptime_s = 86400,
                     .restarts = 3,
                     .machine = wire_text("x86_64"),
                     .kernel = wire_text("6.1.0-18-amd64"),
                     .runtime = wire_text("/usr/bin/runc 1.1.5")},
        };
    case 6:
        return (struct wire_message){.type = WIRE_HOLDINGS, .holdings = {9, {images, 2}}};
    default:
        return (struct wire_message){
            .type = WIRE_REPORT,
            .report = {.image = 3,
                       .phase = WIRE_PHASE_FAILED,
                       .since_ns = -1,
                       .snapshot = wire_text("web@12"),
                       .sentence = wire_text("the program ended with code 1")},
        };
    }
}

static struct wire_message of_load(unsigned i)
{
    switch (i) {
    case 0:
        return (struct wire_message){.type = WIRE_PREPARE,
                                     .prepare = {.load = 7,
                                                 .image = 9,
                                                 .descriptor_raw_bytes = 65536,
                                                 .descriptor_bytes = 4096,
                                                 .snapshot = wire_text("web@13")}};
    case 1:
        return (struct wire_message){.type = WIRE_PROGRESS, .progress = {7, 1000, 1ull << 33}};
    case 2:
        return (struct wire_message){.type = WIRE_PREPARED, .load = {7}};
    case 3:
        return (struct wire_message){.type = WIRE_START, .load = {7}};
    case 4:
        return (struct wire_message){.type = WIRE_STARTED, .load = {7}};
    case 5:
        return (struct wire_message){.type = WIRE_FAILED,
                                     .failed = {7, ENOSPC, wire_text("the disk is full")}};
    case 6:
        return (struct wire_message){.type = WIRE_CANCEL, .load = {7}};
    case 7:
        return (struct wire_message){.type = WIRE_RUN, .run = {21, WIRE_RUN_RESTART}};
    case 8:
        return (struct wire_message){.type = WIRE_RUN_DONE, .run_done = {21, 0, {NULL, 0}}};
    default:
        return (struct wire_message){.type = WIRE_DROP, .drop = {3}};
    }
}

static struct wire_message of_bulk(unsigned i)
{
    switch (i) {
    case 0:
        return (struct wire_message){.type = WIRE_DESCRIPTOR, .descriptor = {7, {payload, sizeof(payload)}}};
    case 1:
        return (struct wire_message){.type = WIRE_SEEDS, .seeds = {7, true, {seeds, 2}}};
    case 2:
        return (struct wire_message){.type = WIRE_WANT, .want = {7, false, {ranges, 2}}};
    case 3:
        return (struct wire_message){.type = WIRE_CHUNK, .chunk = {7, 10, 1, {payload, sizeof(payload)}}};
    case 4:
        return (struct wire_message){.type = WIRE_CREDIT, .credit = {7, 4u << 20}};
    default:
        return (struct wire_message){.type = WIRE_LOG, .log = {{payload, 1}}};
    }
}

struct wire_message sample(unsigned i)
{
    if (i < 8)
        return of_session(i);
    return i < 18 ? of_load(i - 8) : of_bulk(i - 18);
}

/* ---- extremes ---- */

/* A record that every list takes: a run of one, and a number that is not zero. */
static void put_record(struct buf *store, unsigned bytes)
{
    static const uint8_t seed[] = {U32(1), U32(1), U64(1), U32(1), U32(0)};
    buf_put(store, seed, bytes);
}

/* All before a list, encoded; the fields there have a fixed width. */
static uint32_t list_most(const struct wire_layout *layout)
{
    uint32_t before = WIRE_FRAME_HEADER_BYTES + sizeof(uint32_t);
    for (unsigned i = 0; i + 1 < layout->count; i++)
        before += layout->fields[i].bytes;
    return (WIRE_FRAME_MAX_BYTES - before) / layout->fields[layout->count - 1].bytes;
}

static void set_number(const struct wire_field *f, uint8_t *at, bool most)
{
    uint64_t v = most ? f->max : f->min; /* the machine is little-endian: the low bytes come first */
    memcpy(at, &v, f->bytes);
}

static void set_field(const struct wire_layout *layout, const struct wire_field *f, uint8_t *at, bool most,
                      struct buf *store)
{
    size_t n = most ? f->max : f->min;
    switch (f->kind) {
    case WIRE_FIELD_NUMBER:
        set_number(f, at, most);
        break;
    case WIRE_FIELD_RAW:
        memset(at, most ? 0xff : 0, f->bytes);
        break;
    case WIRE_FIELD_TEXT: {
        struct wire_text text = {(const char *)store->bytes, (uint16_t)n};
        memcpy(at, &text, sizeof(text));
        break;
    }
    case WIRE_FIELD_BYTES: {
        struct wire_bytes bytes = {store->bytes, (uint32_t)n};
        memcpy(at, &bytes, sizeof(bytes));
        break;
    }
    case WIRE_FIELD_LIST: {
        uint32_t count = most ? list_most(layout) : 0;
        store->len_bytes = 0;
        for (uint32_t i = 0; i < count; i++)
            put_record(store, f->bytes);
        struct wire_list list = {store->bytes, count};
        memcpy(at, &list, sizeof(list));
        break;
    }
    }
}

struct wire_message sample_extreme(enum wire_type type, bool most, struct buf *store)
{
    const struct wire_layout *layout = wire_layout_of(type);
    struct wire_message message = {.type = type};
    store->len_bytes = 0;
    uint8_t *room = buf_room(store, WIRE_FRAME_MAX_BYTES); /* nothing moves after this */
    if (room)
        memset(room, 'x', WIRE_FRAME_MAX_BYTES);
    for (unsigned i = 0; room && i < layout->count; i++)
        set_field(layout, &layout->fields[i], (uint8_t *)&message + layout->fields[i].offset, most, store);
    return message;
}
