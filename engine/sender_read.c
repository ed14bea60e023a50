#include "sender_parts.h"

#include <string.h>

#include "base/log.h"
#include "chunk_path.h"

static void batch_free(struct batch *b)
{
    struct sender_pool *pool = b->pool;
    blob_store_pack_put(pool->store, b->pack);
    b->owner = NULL;
    b->next = pool->free;
    pool->free = b;
    pool->busy--;
}

static void batch_submit(struct batch *b)
{
    loop_read_fixed(b->pool->loop, &b->op, b->fd, b->bytes + b->got_bytes, b->len_bytes - b->got_bytes,
                    b->offset_bytes + b->got_bytes, b->index);
}

static void batch_done(struct loop_op *op, int result)
{
    struct batch *b = (struct batch *)op; /* its first member */
    if (result > 0)
        b->got_bytes += (uint32_t)result;
    if (b->owner && (result == -EINTR || result == -EAGAIN || (result > 0 && b->got_bytes < b->len_bytes))) {
        batch_submit(b);
        return;
    }
    b->result = result < 0 ? result : 0;
    b->done = true;
    struct sender_pool *pool = b->pool;
    if (!b->owner)
        batch_free(b);
    sender_pool_pump(pool);
}

/* The chunk that comes next, or false. */
static bool peek(const struct sender *s, uint32_t *chunk)
{
    if (s->ranges_first == s->ranges_count)
        return false;
    *chunk = s->ranges[s->ranges_first].first;
    return true;
}

static void advance(struct sender *s)
{
    struct wire_range *range = &s->ranges[s->ranges_first];
    range->first++;
    if (--range->count == 0)
        s->ranges_first++;
    if (s->ranges_first == s->ranges_count)
        s->ranges_first = s->ranges_count = 0;
}

static int damaged(struct sender *s, uint32_t chunk, const char *what)
{
    char path[256], hex[2 * BLOB_ID_BYTES + 1];
    struct blob_chunk c;
    blob_image_chunk(s->plan->target->image, chunk, &c);
    blob_id_format(&c.id, hex);
    chunk_path(s->plan->target->image, chunk, path, sizeof path);
    log_error("chunk %s of %s %s", hex, path[0] ? path : "an image", what);
    return err_set(&s->err, EIO,
                   "the controller's store has lost a piece of %s: chunk %s %s; write that file again and "
                   "load again",
                   path[0] ? path : "the image", hex, what);
}

static int locate(struct sender *s, uint32_t chunk, struct blob_place *out)
{
    struct blob_chunk c;
    blob_image_chunk(s->plan->target->image, chunk, &c);
    int rc = blob_store_locate(s->pool->store, &c.id, out);
    if (rc < 0)
        return damaged(s, chunk, "is not in the store");
    if (out->record_bytes <= BLOB_RECORD_HEADER_BYTES || out->record_bytes > SENDER_BATCH_BYTES)
        return damaged(s, chunk, "has an impossible length");
    return 0;
}

/* Gathers neighbours in the pack behind the first. */
static int gather(struct sender *s, struct batch *b, uint64_t room_bytes)
{
    uint32_t chunk;
    struct blob_place place;
    b->count = b->len_bytes = b->payload_bytes = 0;
    while (b->count < BATCH_CHUNKS && peek(s, &chunk)) {
        int rc = locate(s, chunk, &place);
        if (rc < 0)
            return rc;
        uint32_t payload = place.record_bytes - BLOB_RECORD_HEADER_BYTES;
        if (b->payload_bytes + (uint64_t)payload > s->credit_bytes)
            break;
        if (b->count > 0 && (place.pack != b->pack || place.offset_bytes != b->offset_bytes + b->len_bytes ||
                             b->len_bytes + (uint64_t)place.record_bytes > room_bytes))
            break;
        if (b->count == 0) {
            b->pack = place.pack;
            b->offset_bytes = place.offset_bytes;
        }
        b->chunks[b->count++] = (struct batch_chunk){
            .chunk = chunk, .offset_bytes = b->len_bytes, .record_bytes = place.record_bytes};
        b->len_bytes += place.record_bytes;
        b->payload_bytes += payload;
        advance(s);
    }
    return 0;
}

int sender_read_next(struct sender *s)
{
    struct sender_pool *pool = s->pool;
    uint64_t waiting = s->events.pending(s->events.arg) + s->reading_bytes;
    if (!pool->free || s->ranges_first == s->ranges_count || waiting >= SENDER_ROOM_BYTES)
        return 0;
    uint64_t room = SENDER_ROOM_BYTES - waiting;
    if (room > SENDER_BATCH_BYTES)
        room = SENDER_BATCH_BYTES;

    struct batch *b = pool->free;
    int rc = gather(s, b, room);
    if (rc < 0)
        return rc;
    if (b->count == 0)
        return 0; /* no credit */
    b->fd = blob_store_pack_get(pool->store, b->pack, &s->err);
    if (b->fd < 0)
        return b->fd;
    pool->free = b->next;
    pool->busy++;
    s->credit_bytes -= b->payload_bytes;
    s->reading_bytes += b->len_bytes;
    b->owner = s;
    b->next = NULL;
    *s->last = b;
    s->last = &b->next;
    b->got_bytes = 0;
    b->done = false;
    b->op.done = batch_done;
    batch_submit(b);
    return 1;
}

static int hand_on_chunk(struct sender *s, const struct batch *b, const struct batch_chunk *at)
{
    struct blob_chunk want;
    struct blob_record record;
    blob_image_chunk(s->plan->target->image, at->chunk, &want);
    int rc = blob_record_decode(b->bytes + at->offset_bytes, at->record_bytes, &record);
    if (rc < 0 || blob_id_compare(&record.id, &want.id) != 0 || record.raw_bytes != want.raw_bytes) {
        blob_store_set_aside(s->pool->store, &want.id);
        return damaged(s, at->chunk, "is damaged and was set aside");
    }
    const struct wire_message message = {
        .type = WIRE_CHUNK,
        .chunk = {.load = s->load,
                  .chunk = at->chunk,
                  .codec = (uint8_t)record.codec,
                  .payload = {.at = record.payload, .len_bytes = record.stored_bytes}}};
    rc = s->events.send(s->events.arg, &message);
    if (rc < 0)
        return -EPIPE;
    s->sent_bytes += record.stored_bytes;
    return 0;
}

int sender_hand_on(struct sender *s)
{
    int moved = 0;
    while (s->first && s->first->done) {
        struct batch *b = s->first;
        int rc = 0;
        if (b->result < 0 || b->got_bytes < b->len_bytes) {
            rc = b->result < 0 ? err_sys(&s->err, EIO, "the controller cannot read pack %llu of its store",
                                         (unsigned long long)b->pack)
                               : damaged(s, b->chunks[0].chunk, "lies beyond the end of its pack");
        }
        for (uint32_t i = 0; i < b->count && rc == 0; i++)
            rc = hand_on_chunk(s, b, &b->chunks[i]);
        s->first = b->next;
        if (!s->first)
            s->last = &s->first;
        s->reading_bytes -= b->len_bytes;
        batch_free(b);
        if (rc < 0)
            return rc;
        moved = 1;
    }
    return moved;
}

void sender_let_go(struct sender *s)
{
    while (s->first) {
        struct batch *b = s->first;
        s->first = b->next;
        b->owner = NULL;
        if (b->done)
            batch_free(b);
        else
            loop_cancel(b->pool->loop, &b->op);
    }
    s->last = &s->first;
}
