/*
 * The messages between controller and agent; PROTOCOL.md beside this folder says what each is for and when it
 * may come. A frame is a u32 length, a u16 type, u16 zero, and the fields in the order of the structs below,
 * little-endian. Encode and decode do no I/O. Strings, bytes and lists that come out of decode are views of
 * the frame.
 */
#ifndef WIRE_MESSAGE_H
#define WIRE_MESSAGE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

#define WIRE_VERSION 1u
#define WIRE_FRAME_HEADER_BYTES 8
#define WIRE_FRAME_MAX_BYTES ((1u << 20) + 4096u) /* header included; a longer one ends the connection */
#define WIRE_PIECE_MAX_BYTES (256u << 10)         /* of a descriptor or a log, in one message */
#define WIRE_SENTENCE_MAX_BYTES 511

enum wire_role { WIRE_ROLE_CONTROL = 1, WIRE_ROLE_BULK = 2 };

enum wire_type {
    /* both connections, in this order, before anything else */
    WIRE_HELLO = 1,   /* agent -> controller */
    WIRE_WELCOME = 2, /* controller -> agent */
    WIRE_REFUSED = 3, /* controller -> agent, then it closes */
    /* control */
    WIRE_PING = 16,     /* either -> the other */
    WIRE_PONG = 17,     /* the answer, with the ping's fields */
    WIRE_INFO = 18,     /* agent -> controller, after the welcome and once a minute */
    WIRE_HOLDINGS = 19, /* agent -> controller: after the welcome and whenever it changes */
    WIRE_REPORT = 20,   /* agent -> controller: after the holdings and whenever it changes */
    WIRE_PREPARE = 21,  /* controller -> agent: get ready for an image; the descriptor follows on bulk */
    WIRE_PROGRESS = 22, /* agent -> controller, a few times a second during a load */
    WIRE_PREPARED = 23, /* agent -> controller: the tree is complete, checked and on disk */
    WIRE_START = 24,    /* controller -> agent: make it the instance and start it */
    WIRE_STARTED = 25,  /* agent -> controller: it runs (or is loaded) and that survives a restart */
    WIRE_FAILED = 26,   /* agent -> controller: this load failed; what ran before runs (again) */
    WIRE_CANCEL = 27,   /* controller -> agent: of a load that was not told to start */
    WIRE_RUN = 28,      /* controller -> agent: start, stop, restart, unload */
    WIRE_RUN_DONE = 29, /* agent -> controller */
    WIRE_DROP = 30,     /* controller -> agent: an image that is no seed any more */
    /* bulk */
    WIRE_DESCRIPTOR = 64, /* controller -> agent: a piece of the zstd frame of a stripped image */
    WIRE_SEEDS = 65,      /* controller -> agent: which chunks held images have */
    WIRE_WANT = 66,       /* agent -> controller: chunks to send */
    WIRE_CHUNK = 67,      /* controller -> agent */
    WIRE_CREDIT = 68,     /* agent -> controller: that many bytes of chunks more may come */
    WIRE_LOG = 69,        /* agent -> controller: output of the instance */
};

struct wire_text {
    const char *at; /* a view, not NUL-terminated */
    uint16_t len_bytes;
};

struct wire_bytes {
    const uint8_t *at;
    uint32_t len_bytes;
};

/* Lists are u32 count and fixed records; read with wire_u64_at and the *_at functions. */
struct wire_list {
    const uint8_t *at;
    uint32_t count;
};

struct wire_hello {
    uint16_t version_min, version_max;
    uint64_t features; /* bits; none defined in version 1 */
    uint8_t role;      /* enum wire_role */
    uint64_t session;  /* bulk: what the control connection's welcome said; control: 0 */
    uint8_t boot_id[16];
    struct wire_text agent_version;
};

struct wire_welcome {
    uint16_t version;
    uint64_t features;
    uint64_t session;       /* control: names this session to the bulk connection */
    uint8_t store_uuid[16]; /* whose image numbers these are */
    uint32_t heartbeat_ms;  /* a side that has sent nothing this long sends a ping */
    uint32_t dead_ms;       /* a side that has heard nothing this long closes */
    struct wire_text slot;  /* the slot's name now */
};

enum wire_refusal {
    WIRE_REFUSED_VERSION = 1,
    WIRE_REFUSED_BUSY = 2,
    WIRE_REFUSED_SESSION = 3,
    WIRE_REFUSED_OTHER = 4
};

struct wire_refused {
    uint16_t code; /* enum wire_refusal */
    struct wire_text sentence;
};

struct wire_ping {
    uint64_t number;
    uint64_t sent_ms; /* the sender's CLOCK_BOOTTIME */
};

struct wire_info {
    uint32_t cores;
    uint64_t memory_bytes, memory_free_bytes, disk_bytes, disk_free_bytes, uptime_s;
    uint32_t restarts;        /* of the instance by the agent */
    struct wire_text machine; /* architecture, as uname -m */
    struct wire_text kernel;
    struct wire_text runtime; /* path and version of what starts instances */
};

/* `images`: u64 image numbers that are complete below the agent's directory; `partial`: begun (0: none). */
struct wire_holdings {
    uint64_t partial;
    struct wire_list images;
};

enum wire_phase {
    WIRE_PHASE_EMPTY = 0, /* nothing is loaded */
    WIRE_PHASE_STARTING = 1,
    WIRE_PHASE_RUNNING = 2,
    WIRE_PHASE_LOADED = 3,  /* there is nothing to start in it */
    WIRE_PHASE_STOPPED = 4, /* asked for, or exit 0 */
    WIRE_PHASE_FAILED = 5,
};

struct wire_report {
    uint64_t image;            /* 0: none */
    uint8_t phase;             /* enum wire_phase */
    int64_t since_ns;          /* wall clock of the agent */
    struct wire_text snapshot; /* "<name>@<n>" as PREPARE said */
    struct wire_text sentence; /* of FAILED, else empty */
};

struct wire_prepare {
    uint64_t load; /* names this load in all that follows; never 0, never used twice on a connection */
    uint64_t image;
    uint64_t descriptor_raw_bytes, descriptor_bytes; /* expanded; as sent */
    struct wire_text snapshot;                       /* "<name>@<n>" */
};

struct wire_progress {
    uint64_t load;
    uint64_t done_bytes, total_bytes; /* of content in place */
};

struct wire_load { /* PREPARED, START, STARTED, CANCEL */
    uint64_t load;
};

struct wire_failed {
    uint64_t load;
    uint16_t code; /* EIO, ENOSPC, EDQUOT, EROFS: Linux numbers; anything else is read as EIO */
    struct wire_text sentence;
};

enum wire_verb { WIRE_RUN_START = 1, WIRE_RUN_STOP = 2, WIRE_RUN_RESTART = 3, WIRE_RUN_UNLOAD = 4 };

struct wire_run {
    uint64_t request;
    uint8_t verb; /* enum wire_verb */
};

struct wire_run_done {
    uint64_t request;
    uint16_t code; /* 0: done */
    struct wire_text sentence;
};

struct wire_drop {
    uint64_t image;
};

struct wire_descriptor {
    uint64_t load;
    struct wire_bytes piece; /* in order; WIRE_PIECE_MAX_BYTES at most */
};

/* A run of chunks of the new image that equals a run of chunks of a held one. 24 bytes: u32, u32, u64, u32,
 * u32 zero. */
struct wire_seed {
    uint32_t first, count;
    uint64_t image;
    uint32_t image_first;
};

struct wire_seeds {
    uint64_t load;
    bool last; /* the agent waits for the last before it wants */
    struct wire_list seeds;
};

/* A run of chunks. 8 bytes: u32, u32. */
struct wire_range {
    uint32_t first, count;
};

struct wire_want {
    uint64_t load;
    bool last; /* of the first answer; wants may still come for seeds that turned out bad */
    struct wire_list ranges;
};

struct wire_chunk {
    uint64_t load;
    uint32_t chunk;
    uint8_t codec; /* enum blob_codec */
    struct wire_bytes payload;
};

struct wire_credit {
    uint64_t load;
    uint64_t bytes; /* of payload, further ones; PREPARE begins at 0 */
};

struct wire_log {
    struct wire_bytes output;
};

struct wire_message {
    enum wire_type type;
    union {
        struct wire_hello hello;
        struct wire_welcome welcome;
        struct wire_refused refused;
        struct wire_ping ping; /* PING, PONG */
        struct wire_info info;
        struct wire_holdings holdings;
        struct wire_report report;
        struct wire_prepare prepare;
        struct wire_progress progress;
        struct wire_load load; /* PREPARED, START, STARTED, CANCEL */
        struct wire_failed failed;
        struct wire_run run;
        struct wire_run_done run_done;
        struct wire_drop drop;
        struct wire_descriptor descriptor;
        struct wire_seeds seeds;
        struct wire_want want;
        struct wire_chunk chunk;
        struct wire_credit credit;
        struct wire_log log;
    };
};

static inline struct wire_text wire_text(const char *s);

/* Appends one frame. -EMSGSIZE when a part is too long for its field, -ENOMEM. */
int wire_encode(const struct wire_message *message, struct buf *out) MUST_CHECK;

/*
 * Reads the frame at the front of `bytes`. Returns its length, 0 when it is not all there yet, -EBADMSG when
 * it can be no frame of this version (an unknown type, a length that does not fit, a value out of its enum),
 * with the reason.
 */
int wire_decode(const uint8_t *bytes, size_t len_bytes, struct wire_message *out, struct err *err) MUST_CHECK;

/* `i` below the list's count. */
uint64_t wire_u64_at(const struct wire_list *list, uint32_t i);
struct wire_seed wire_seed_at(const struct wire_list *list, uint32_t i);
struct wire_range wire_range_at(const struct wire_list *list, uint32_t i);
/* For who sends: appends a record to what a list will view. */
void wire_put_seed(struct buf *out, const struct wire_seed *seed);
void wire_put_range(struct buf *out, const struct wire_range *range);

/* Copies into a NUL-terminated field, cutting at its size; control characters become '?'. */
void wire_text_copy(const struct wire_text *text, char *out, size_t out_bytes);

const char *wire_type_name(enum wire_type type);

static inline struct wire_text wire_text(const char *s)
{
    size_t n = s ? __builtin_strlen(s) : 0;
    return (struct wire_text){.at = s, .len_bytes = (uint16_t)(n > UINT16_MAX ? UINT16_MAX : n)};
}

#endif
