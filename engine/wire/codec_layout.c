/* What each message looks like: PROTOCOL.md as a table. Golden bytes in tests/golden/wire hold it still. */
#include "codec.h"

#include "base/names.h"
#include "blob/image.h"
#include "blob/record.h"

#define AT(member) .name = #member, .offset = offsetof(struct wire_message, member)
#define WIDTH(member) sizeof(((struct wire_message *)NULL)->member)
#define NUMBER(member, lowest, highest)                                                                      \
    {                                                                                                        \
        AT(member), .kind = WIRE_FIELD_NUMBER, .bytes = WIDTH(member), .min = (lowest), .max = (highest)     \
    }
#define ANY(member) NUMBER(member, 0, UINT64_MAX)
#define NOT_ZERO(member) NUMBER(member, 1, UINT64_MAX)
#define FLAG(member) NUMBER(member, 0, 1)
#define RAW(member)                                                                                          \
    {                                                                                                        \
        AT(member), .kind = WIRE_FIELD_RAW, .bytes = WIDTH(member)                                           \
    }
#define TEXT(member, most)                                                                                   \
    {                                                                                                        \
        AT(member), .kind = WIRE_FIELD_TEXT, .max = (most)                                                   \
    }
#define SENTENCE(member) TEXT(member, WIRE_SENTENCE_MAX_BYTES)
#define BYTES(member, most)                                                                                  \
    {                                                                                                        \
        AT(member), .kind = WIRE_FIELD_BYTES, .min = 1, .max = (most)                                        \
    }
#define LIST(member, record_bytes, check)                                                                    \
    {                                                                                                        \
        AT(member), .kind = WIRE_FIELD_LIST, .bytes = (record_bytes), .record_ok = (check)                   \
    }

#define HEARTBEAT_MAX_MS 3600000u /* an hour: longer is a mistake, and sums of it stay far from overflow */

/* A run of chunks is not empty and its end is a u32. */
static bool run_ok(uint32_t first, uint32_t count)
{
    return count > 0 && count <= UINT32_MAX - first;
}

static bool image_ok(const uint8_t *record)
{
    return le64_at(record) != 0;
}

static bool seed_ok(const uint8_t *record)
{
    uint32_t first = le32_at(record), count = le32_at(record + 4), image_first = le32_at(record + 16);
    return run_ok(first, count) && run_ok(image_first, count) && le64_at(record + 8) != 0 &&
           le32_at(record + 20) == 0;
}

static bool range_ok(const uint8_t *record)
{
    return run_ok(le32_at(record), le32_at(record + 4));
}

/* HELLO, WELCOME and REFUSED are the same in every version: they are read before one is agreed on. For that
 * reason a code of REFUSED may be one that this version does not know. */
static const struct wire_field hello[] = {
    NOT_ZERO(hello.version_min),
    NOT_ZERO(hello.version_max),
    ANY(hello.features),
    NUMBER(hello.role, WIRE_ROLE_CONTROL, WIRE_ROLE_BULK),
    ANY(hello.session),
    RAW(hello.boot_id),
    SENTENCE(hello.agent_version),
};
static const struct wire_field welcome[] = {
    NOT_ZERO(welcome.version),
    ANY(welcome.features),
    ANY(welcome.session),
    RAW(welcome.store_uuid),
    NUMBER(welcome.heartbeat_ms, 1, HEARTBEAT_MAX_MS),
    NUMBER(welcome.dead_ms, 1, HEARTBEAT_MAX_MS),
    TEXT(welcome.slot, NAME_MAX_BYTES),
};
static const struct wire_field refused[] = {
    NOT_ZERO(refused.code),
    SENTENCE(refused.sentence),
};

static const struct wire_field ping[] = {
    ANY(ping.number),
    ANY(ping.sent_ms),
};
static const struct wire_field info[] = {
    ANY(info.cores),           ANY(info.memory_bytes), ANY(info.memory_free_bytes), ANY(info.disk_bytes),
    ANY(info.disk_free_bytes), ANY(info.uptime_s),     ANY(info.restarts),          SENTENCE(info.machine),
    SENTENCE(info.kernel),     SENTENCE(info.runtime),
};
static const struct wire_field holdings[] = {
    ANY(holdings.partial),
    LIST(holdings.images, 8, image_ok),
};
static const struct wire_field report[] = {
    ANY(report.image),         NUMBER(report.phase, WIRE_PHASE_EMPTY, WIRE_PHASE_FAILED),
    ANY(report.since_ns),      TEXT(report.snapshot, RUNNING_NAME_MAX_BYTES),
    SENTENCE(report.sentence),
};
static const struct wire_field prepare[] = {
    NOT_ZERO(prepare.load),
    NOT_ZERO(prepare.image),
    NUMBER(prepare.descriptor_raw_bytes, 0, BLOB_IMAGE_MAX_BYTES),
    NUMBER(prepare.descriptor_bytes, 0, BLOB_IMAGE_MAX_BYTES),
    TEXT(prepare.snapshot, RUNNING_NAME_MAX_BYTES),
};
static const struct wire_field progress[] = {
    NOT_ZERO(progress.load),
    ANY(progress.done_bytes),
    ANY(progress.total_bytes),
};
static const struct wire_field load[] = {
    NOT_ZERO(load.load),
};
static const struct wire_field failed[] = {
    NOT_ZERO(failed.load),
    ANY(failed.code),
    SENTENCE(failed.sentence),
};
static const struct wire_field run[] = {
    ANY(run.request),
    NUMBER(run.verb, WIRE_RUN_START, WIRE_RUN_UNLOAD),
};
static const struct wire_field run_done[] = {
    ANY(run_done.request),
    ANY(run_done.code),
    SENTENCE(run_done.sentence),
};
static const struct wire_field drop[] = {
    NOT_ZERO(drop.image),
};

static const struct wire_field descriptor[] = {
    NOT_ZERO(descriptor.load),
    BYTES(descriptor.piece, WIRE_PIECE_MAX_BYTES),
};
static const struct wire_field seeds[] = {
    NOT_ZERO(seeds.load),
    FLAG(seeds.last),
    LIST(seeds.seeds, 24, seed_ok),
};
static const struct wire_field want[] = {
    NOT_ZERO(want.load),
    FLAG(want.last),
    LIST(want.ranges, 8, range_ok),
};
static const struct wire_field chunk[] = {
    NOT_ZERO(chunk.load),
    ANY(chunk.chunk),
    NUMBER(chunk.codec, BLOB_CODEC_RAW, BLOB_CODEC_ZSTD),
    BYTES(chunk.payload, BLOB_STORED_MAX_BYTES),
};
static const struct wire_field credit[] = {
    NOT_ZERO(credit.load),
    ANY(credit.bytes),
};
static const struct wire_field log_output[] = {
    BYTES(log.output, WIRE_PIECE_MAX_BYTES),
};

#define LAYOUT(type, list) [WIRE_##type] = {#type, list, sizeof(list) / sizeof((list)[0])}
static const struct wire_layout layouts[] = {
    LAYOUT(HELLO, hello),
    LAYOUT(WELCOME, welcome),
    LAYOUT(REFUSED, refused),
    LAYOUT(PING, ping),
    LAYOUT(PONG, ping),
    LAYOUT(INFO, info),
    LAYOUT(HOLDINGS, holdings),
    LAYOUT(REPORT, report),
    LAYOUT(PREPARE, prepare),
    LAYOUT(PROGRESS, progress),
    LAYOUT(PREPARED, load),
    LAYOUT(START, load),
    LAYOUT(STARTED, load),
    LAYOUT(FAILED, failed),
    LAYOUT(CANCEL, load),
    LAYOUT(RUN, run),
    LAYOUT(RUN_DONE, run_done),
    LAYOUT(DROP, drop),
    LAYOUT(DESCRIPTOR, descriptor),
    LAYOUT(SEEDS, seeds),
    LAYOUT(WANT, want),
    LAYOUT(CHUNK, chunk),
    LAYOUT(CREDIT, credit),
    LAYOUT(LOG, log_output),
};

const struct wire_layout *wire_layout_of(unsigned type)
{
    if (type >= sizeof(layouts) / sizeof(layouts[0]) || !layouts[type].name)
        return NULL;
    return &layouts[type];
}

const char *wire_type_name(enum wire_type type)
{
    const struct wire_layout *layout = wire_layout_of(type);
    return layout ? layout->name : "unknown";
}
