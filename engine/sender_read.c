#include "sender_parts.h"

#include <string.h>

#include "base/log.h"
#include "chunk_path.h"

/* One is kept: there is mostly one a sender at a time. */
static struct batch *batch_new(struct sender_pool *pool)
{
    struct batch *b = pool->free ? STEAL(pool->free) : malloc(sizeof *b);
    if (b)
        b->bytes = b->count = 0;
    return b;
}

static void batch_free(struct sender_pool *pool, struct batch *b)
{
    pack_block_put(pool->blocks, b->block);
    free(pool->free);
    pool->free = b;
}

void sender_batches_free(struct sender_pool *pool)
{
    free(pool->free);
    pool->free = NULL;
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
    if (out->record_bytes <= BLOB_RECORD_HEADER_BYTES || out->record_bytes > PACK_BLOCK_BYTES)
        return damaged(s, chunk, "has an impossible length");
    return 0;
}

/*
 * How much of the pack is read from the record at `first` on: up to the last one of those that are wanted
 * soon, as long as at least half of it is wanted. They lie about in it as the capture's threads took turns.
 * Credit and room do not count: whoever wants the same chunks next finds the same block.
 */
static uint32_t window_bytes(struct sender *s, const struct blob_place *first)
{
    uint64_t wanted = 0, window = first->record_bytes; /* this one, should it have moved meanwhile */
    uint32_t left = AHEAD_CHUNKS, strangers = 0;
    for (size_t i = s->ranges_first; i < s->ranges_count; i++) {
        for (uint32_t k = 0; k < s->ranges[i].count; k++) {
            struct blob_chunk c;
            struct blob_place place;
            if (left-- == 0 || strangers == STRANGERS_MAX)
                return (uint32_t)window;
            blob_image_chunk(s->plan->target->image, s->ranges[i].first + k, &c);
            strangers++;
            if (blob_store_locate(s->pool->store, &c.id, &place) < 0 || place.pack != first->pack ||
                place.offset_bytes < first->offset_bytes)
                continue;
            uint64_t end = place.offset_bytes + (uint64_t)place.record_bytes - first->offset_bytes;
            if (end > PACK_BLOCK_BYTES)
                continue;
            strangers = 0;
            wanted += place.record_bytes;
            if (end > window && wanted * 2 >= end)
                window = end;
        }
    }
    return (uint32_t)window;
}

/* The block that the next chunk lies in: 1, 0 when all are in use, or -errno. A collection may have moved the
 * chunk since it was located: then it is located again. */
static int next_block(struct sender *s, struct blob_place *place, struct pack_block **out)
{
    for (;;) {
        *out = pack_blocks_find(s->pool->blocks, place->pack, place->offset_bytes, place->record_bytes);
        if (*out)
            return 1;
        int rc = pack_blocks_read(s->pool->blocks, place->pack, place->offset_bytes, window_bytes(s, place),
                                  out, &s->err);
        if (rc >= 0)
            return *out != NULL;
        uint64_t gone = place->pack;
        uint32_t chunk;
        if (rc != -ENOENT || !peek(s, &chunk))
            return rc;
        rc = locate(s, chunk, place);
        if (rc < 0)
            return rc;
        if (place->pack == gone)
            return damaged(s, chunk, "lies in a pack that is not there");
    }
}

static bool is_in(const struct pack_block *block, const struct blob_place *place)
{
    return place->pack == block->pack && place->offset_bytes >= block->offset_bytes &&
           place->offset_bytes + (uint64_t)place->record_bytes <=
               block->offset_bytes + (uint64_t)block->len_bytes;
}

/* Takes the wanted chunks that lie in the block, as far as credit and room go. */
static int gather(struct sender *s, struct batch *b, uint64_t room_bytes)
{
    uint32_t chunk;
    struct blob_place place;
    while (b->count < BATCH_CHUNKS && peek(s, &chunk)) {
        int rc = locate(s, chunk, &place);
        if (rc < 0)
            return rc;
        uint32_t payload = place.record_bytes - BLOB_RECORD_HEADER_BYTES;
        if (payload > s->credit_bytes || !is_in(b->block, &place) ||
            (b->count > 0 && b->bytes + (uint64_t)place.record_bytes > room_bytes))
            break;
        b->chunks[b->count++] =
            (struct batch_chunk){.chunk = chunk,
                                 .offset_bytes = place.offset_bytes - b->block->offset_bytes,
                                 .record_bytes = place.record_bytes};
        b->bytes += place.record_bytes;
        s->credit_bytes -= payload;
        advance(s);
    }
    return 0;
}

/* Whether there is credit and room for the next chunk, which lies at `place`: 1, 0, or -errno. */
static int may_go_on(struct sender *s, struct blob_place *place, uint64_t *room_bytes)
{
    uint32_t chunk;
    uint64_t waiting = s->events.pending(s->events.arg) + s->reading_bytes;
    if (waiting >= SENDER_ROOM_BYTES || !peek(s, &chunk))
        return 0;
    int rc = locate(s, chunk, place);
    if (rc < 0)
        return rc;
    *room_bytes = SENDER_ROOM_BYTES - waiting;
    return place->record_bytes - BLOB_RECORD_HEADER_BYTES <= s->credit_bytes;
}

int sender_read_next(struct sender *s)
{
    struct blob_place place = {0};
    uint64_t room_bytes = 0;
    struct pack_block *block = NULL;
    int rc = may_go_on(s, &place, &room_bytes);
    if (rc <= 0)
        return rc;
    rc = next_block(s, &place, &block);
    if (rc <= 0)
        return rc;
    struct batch *b = batch_new(s->pool);
    if (!b) {
        pack_block_put(s->pool->blocks, block);
        return err_set(&s->err, ENOMEM, "no memory to send an image");
    }
    b->next = NULL;
    b->block = block;
    rc = gather(s, b, room_bytes);
    s->reading_bytes += b->bytes;
    *s->last = b;
    s->last = &b->next;
    return rc < 0 ? rc : 1;
}

static int decode(const struct batch *b, const struct batch_chunk *at, struct blob_record *out)
{
    const uint8_t *bytes = b->block->bytes + at->offset_bytes;
    return at->offset_bytes + at->record_bytes <= b->block->good_bytes
               ? blob_record_view(bytes, at->record_bytes, out)
               : blob_record_decode(bytes, at->record_bytes, out);
}

static int hand_on_chunk(struct sender *s, const struct batch *b, const struct batch_chunk *at)
{
    struct blob_chunk want;
    struct blob_record record;
    blob_image_chunk(s->plan->target->image, at->chunk, &want);
    int rc = decode(b, at, &record);
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

static int hand_on_batch(struct sender *s, const struct batch *b)
{
    int rc = 0;
    if (b->count == 0) /* what was wanted of it has moved */
        return 0;
    if (b->block->result == -ENODATA)
        return damaged(s, b->chunks[0].chunk, "lies beyond the end of its pack");
    if (b->block->result < 0)
        return err_sys(&s->err, EIO, "the controller cannot read pack %llu of its store",
                       (unsigned long long)b->block->pack);
    for (uint32_t i = 0; i < b->count && rc == 0; i++)
        rc = hand_on_chunk(s, b, &b->chunks[i]);
    return rc;
}

int sender_hand_on(struct sender *s)
{
    int moved = 0;
    while (s->first && s->first->block->ready) {
        struct batch *b = s->first;
        int rc = hand_on_batch(s, b);
        s->first = b->next;
        if (!s->first)
            s->last = &s->first;
        s->reading_bytes -= b->bytes;
        batch_free(s->pool, b);
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
        batch_free(s->pool, b);
    }
    s->last = &s->first;
}
