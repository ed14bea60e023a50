#include "sender.h"

#include <string.h>

#include "sender_parts.h"

#define SEEDS_A_MESSAGE 8192
#define CREDIT_MAX_BYTES ((uint64_t)1 << 32)

static void pump(void *arg)
{
    sender_pool_pump(arg);
}

int sender_pool_new(struct loop *loop, struct blob_store *store, struct sender_pool **out, struct err *err)
{
    struct sender_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return err_set(err, ENOMEM, "no memory for the buffers of loads");
    int rc = pack_blocks_new(loop, store, pump, pool, &pool->blocks, err);
    if (rc < 0) {
        free(pool);
        return rc;
    }
    pool->loop = loop;
    pool->store = store;
    *out = pool;
    return 0;
}

bool sender_pool_idle(const struct sender_pool *pool)
{
    return pack_blocks_idle(pool->blocks);
}

/* The blocks must outlive the loop, so the loop is freed first. */
void sender_pool_free(struct sender_pool *pool)
{
    if (!pool)
        return;
    sender_batches_free(pool);
    pack_blocks_free(pool->blocks);
    free(pool);
}

/* ---- one sender ---- */

static bool has_room(const struct sender *s)
{
    return s->events.pending(s->events.arg) < SENDER_ROOM_BYTES;
}

static int send_piece(struct sender *s)
{
    const struct buf *frame = &s->plan->descriptor->frame;
    size_t n = frame->len_bytes - s->descriptor_off_bytes;
    if (n > WIRE_PIECE_MAX_BYTES)
        n = WIRE_PIECE_MAX_BYTES;
    const struct wire_message message = {
        .type = WIRE_DESCRIPTOR,
        .descriptor = {.load = s->load,
                       .piece = {.at = frame->bytes + s->descriptor_off_bytes, .len_bytes = (uint32_t)n}}};
    s->descriptor_off_bytes += n;
    return s->events.send(s->events.arg, &message);
}

static int send_seeds(struct sender *s)
{
    uint32_t n = s->plan->seeds_count - s->seeds_sent;
    if (n > SEEDS_A_MESSAGE)
        n = SEEDS_A_MESSAGE;
    size_t each = s->plan->seeds_count ? s->plan->seeds.len_bytes / s->plan->seeds_count : 0;
    s->seeds_done = s->seeds_sent + n == s->plan->seeds_count;
    const struct wire_message message = {
        .type = WIRE_SEEDS,
        .seeds = {.load = s->load,
                  .last = s->seeds_done,
                  .seeds = {.at = n ? s->plan->seeds.bytes + s->seeds_sent * each : NULL, .count = n}}};
    s->seeds_sent += n;
    return s->events.send(s->events.arg, &message);
}

/* One step: 1 when something moved, 0 when everything waits, -errno. */
static int turn(struct sender *s)
{
    if (!s->begun)
        return 0;
    int moved = sender_hand_on(s);
    if (moved < 0)
        return moved;
    if (!s->seeds_done) {
        if (!has_room(s))
            return moved;
        int rc =
            s->descriptor_off_bytes < s->plan->descriptor->frame.len_bytes ? send_piece(s) : send_seeds(s);
        return rc < 0 ? -EPIPE : 1;
    }
    int started = sender_read_next(s);
    return started < 0 ? started : moved | started;
}

/* Moves the first sender behind the others: the buffers go round. */
static struct sender *rotate(struct sender_pool *pool)
{
    struct sender *s = pool->senders;
    if (!s || !s->next)
        return s;
    pool->senders = s->next;
    struct sender **end = &pool->senders;
    while (*end)
        end = &(*end)->next;
    s->next = NULL;
    *end = s;
    return s;
}

/* One turn for each: 1 when something moved; a dead sender is reported once and ends the round. */
static int round_of_turns(struct sender_pool *pool)
{
    int moved = 0;
    unsigned count = 0;
    for (struct sender *s = pool->senders; s; s = s->next)
        count++;
    for (unsigned i = 0; i < count; i++) {
        struct sender *s = rotate(pool);
        if (!s)
            break;
        if (s->dead)
            continue;
        int rc = turn(s);
        if (rc < 0) {
            s->dead = true;
            if (rc != -EPIPE) /* a closed connection is told by its owner */
                s->events.failed(s->events.arg, &s->err);
            return 1;
        }
        moved |= rc;
    }
    return moved;
}

static void sender_free(struct sender *s)
{
    sender_let_go(s);
    for (struct sender **at = &s->pool->senders; *at; at = &(*at)->next) {
        if (*at == s) {
            *at = s->next;
            break;
        }
    }
    free(s->ranges);
    free(s);
}

static void sweep(struct sender_pool *pool)
{
    struct sender *next;
    for (struct sender *s = pool->senders; s; s = next) {
        next = s->next;
        if (s->stopped)
            sender_free(s);
    }
}

void sender_pool_pump(struct sender_pool *pool)
{
    pool->again = true;
    if (pool->pumping) /* from further down: the round above goes on */
        return;
    pool->pumping = true;
    while (pool->again) {
        pool->again = false;
        while (round_of_turns(pool))
            ;
    }
    sweep(pool);
    pool->pumping = false;
}

int sender_new(struct sender_pool *pool, uint64_t load, const struct plan *plan,
               const struct sender_events *events, struct sender **out)
{
    struct sender *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->pool = pool;
    s->events = *events;
    s->load = load;
    s->plan = plan;
    s->last = &s->first;
    s->next = pool->senders;
    pool->senders = s;
    *out = s;
    return 0;
}

void sender_stop(struct sender *s)
{
    if (!s)
        return;
    s->dead = s->stopped = true;
    if (!s->pool->pumping) /* else one of its own calls may be further up: see sweep */
        sender_free(s);
}

void sender_begin(struct sender *s)
{
    s->begun = true;
    sender_pool_pump(s->pool);
}

static int ranges_room(struct sender *s, size_t more)
{
    if (s->ranges_first > 0) {
        memmove(s->ranges, s->ranges + s->ranges_first,
                (s->ranges_count - s->ranges_first) * sizeof *s->ranges);
        s->ranges_count -= s->ranges_first;
        s->ranges_first = 0;
    }
    if (s->ranges_count + more <= s->ranges_cap)
        return 0;
    size_t cap = (s->ranges_count + more) * 2;
    struct wire_range *ranges = realloc(s->ranges, cap * sizeof *ranges);
    if (!ranges)
        return -ENOMEM;
    s->ranges = ranges;
    s->ranges_cap = cap;
    return 0;
}

int sender_want(struct sender *s, const struct wire_want *want, struct err *err)
{
    uint32_t chunks = blob_image_chunks(s->plan->target->image);
    /* Nobody needs more ranges at a time than there are chunks. */
    if (s->ranges_count - s->ranges_first + (uint64_t)want->ranges.count > (uint64_t)chunks + 1)
        return err_set(err, EBADMSG, "it wants more ranges than the image has chunks");
    int rc = ranges_room(s, want->ranges.count);
    if (rc < 0)
        return err_set(err, -rc, "no memory for what it wants");
    for (uint32_t i = 0; i < want->ranges.count; i++) {
        struct wire_range range = wire_range_at(&want->ranges, i);
        if (range.count == 0 || range.first >= chunks || range.count > chunks - range.first)
            return err_set(err, EBADMSG, "it wants chunks that the image does not have");
        s->ranges[s->ranges_count++] = range;
    }
    sender_pool_pump(s->pool);
    return 0;
}

int sender_credit(struct sender *s, uint64_t bytes, struct err *err)
{
    if (bytes > CREDIT_MAX_BYTES || s->credit_bytes + bytes > CREDIT_MAX_BYTES)
        return err_set(err, EBADMSG, "it gives more credit than anybody can use");
    s->credit_bytes += bytes;
    sender_pool_pump(s->pool);
    return 0;
}

uint64_t sender_sent_bytes(const struct sender *s)
{
    return s->sent_bytes;
}
