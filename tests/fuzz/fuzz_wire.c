/* Frames from anybody: what decode takes is safe to read, and encodes to the same bytes again. */
#include <string.h>

#include "fuzz.h"
#include "wire/message.h"

/* Every byte of a view is looked at, so that a sanitizer sees one that points elsewhere. */
static unsigned sum_of(const void *bytes, size_t len_bytes)
{
    unsigned sum = 0;
    for (size_t i = 0; i < len_bytes; i++)
        sum += ((const uint8_t *)bytes)[i];
    return sum;
}

static unsigned read_text(const struct wire_text *text)
{
    char out[64];
    wire_text_copy(text, out, sizeof(out));
    return (unsigned)strlen(out) + sum_of(text->at, text->len_bytes);
}

static unsigned read_views(const struct wire_message *m)
{
    unsigned sum = 0;
    switch (m->type) {
    case WIRE_HELLO:
        return read_text(&m->hello.agent_version);
    case WIRE_WELCOME:
        return read_text(&m->welcome.slot);
    case WIRE_REFUSED:
        return read_text(&m->refused.sentence);
    case WIRE_INFO:
        return read_text(&m->info.machine) + read_text(&m->info.kernel) + read_text(&m->info.runtime);
    case WIRE_REPORT:
        return read_text(&m->report.snapshot) + read_text(&m->report.sentence);
    case WIRE_PREPARE:
        return read_text(&m->prepare.snapshot);
    case WIRE_FAILED:
        return read_text(&m->failed.sentence);
    case WIRE_RUN_DONE:
        return read_text(&m->run_done.sentence);
    case WIRE_DESCRIPTOR:
        return sum_of(m->descriptor.piece.at, m->descriptor.piece.len_bytes);
    case WIRE_CHUNK:
        return sum_of(m->chunk.payload.at, m->chunk.payload.len_bytes);
    case WIRE_LOG:
        return sum_of(m->log.output.at, m->log.output.len_bytes);
    case WIRE_HOLDINGS:
        for (uint32_t i = 0; i < m->holdings.images.count; i++)
            sum += wire_u64_at(&m->holdings.images, i) == 0;
        return sum;
    case WIRE_SEEDS:
        for (uint32_t i = 0; i < m->seeds.seeds.count; i++)
            sum += wire_seed_at(&m->seeds.seeds, i).count == 0;
        return sum;
    case WIRE_WANT:
        for (uint32_t i = 0; i < m->want.ranges.count; i++)
            sum += wire_range_at(&m->want.ranges, i).count == 0;
        return sum;
    default:
        return 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    size_t at = 0;
    for (;;) {
        struct wire_message message;
        struct err err = {0};
        int n = wire_decode(data + at, len_bytes - at, &message, &err);
        if (n <= 0) {
            MUST(n == 0 || (n == -EBADMSG && err.message[0]));
            return 0;
        }
        OWNED_BUF struct buf again = BUF_EMPTY;
        volatile unsigned seen = read_views(&message);
        (void)seen;
        MUST(wire_encode(&message, &again) == 0);
        MUST(again.len_bytes == (size_t)n && memcmp(again.bytes, data + at, again.len_bytes) == 0);
        at += (size_t)n;
    }
}
