#include "seeds.h"

#include <string.h>

#include "wire/message.h"

/* Open addressing over the ids of all held chunks; a place is 1 + the chunk's number, counted through all
 * images. */
struct places {
    uint32_t *at;
    size_t mask;
};

struct match {
    size_t image;
    uint32_t chunk;
};

static void image_chunk(const void *of, uint32_t i, struct blob_chunk *out)
{
    blob_image_chunk(of, i, out);
}

struct seeds_table seeds_table_of(uint64_t number, const struct blob_image *image)
{
    return (struct seeds_table){
        .number = number, .count = blob_image_chunks(image), .chunk = image_chunk, .of = image};
}

/* Ids are hashes already: some of their bits will do. */
static size_t slot_of(const struct blob_id *id)
{
    return (size_t)le64_at(id->bytes);
}

static struct match match_at(const struct seeds_table *held, uint32_t place)
{
    struct match m = {.image = 0, .chunk = place - 1};
    while (m.chunk >= held[m.image].count)
        m.chunk -= held[m.image++].count;
    return m;
}

static bool same(const struct seeds_table *held, struct match m, const struct blob_chunk *want)
{
    struct blob_chunk c;
    held[m.image].chunk(held[m.image].of, m.chunk, &c);
    return blob_id_compare(&c.id, &want->id) == 0 && c.raw_bytes == want->raw_bytes;
}

static int places_fill(struct places *p, const struct seeds_table *held, size_t held_count)
{
    uint64_t total = 0;
    for (size_t k = 0; k < held_count; k++)
        total += held[k].count;
    if (total >= UINT32_MAX / 2)
        return -ENOMEM;
    size_t cap = 16;
    while (cap < total * 2)
        cap *= 2;
    p->at = calloc(cap, sizeof *p->at);
    if (!p->at)
        return -ENOMEM;
    p->mask = cap - 1;
    uint32_t place = 0;
    for (size_t k = 0; k < held_count; k++) {
        for (uint32_t i = 0; i < held[k].count; i++) {
            struct blob_chunk c;
            held[k].chunk(held[k].of, i, &c);
            place++;
            size_t s = slot_of(&c.id) & p->mask;
            while (p->at[s] && !same(held, match_at(held, p->at[s]), &c))
                s = (s + 1) & p->mask;
            if (!p->at[s]) /* the first image that has it will do */
                p->at[s] = place;
        }
    }
    return 0;
}

static bool places_find(const struct places *p, const struct seeds_table *held, const struct blob_chunk *want,
                        struct match *out)
{
    for (size_t s = slot_of(&want->id) & p->mask; p->at[s]; s = (s + 1) & p->mask) {
        *out = match_at(held, p->at[s]);
        if (same(held, *out, want))
            return true;
    }
    return false;
}

static void run_end(const struct wire_seed *run, struct buf *out, struct seeds_result *result)
{
    if (run->count == 0)
        return;
    if (out)
        wire_put_seed(out, run);
    result->seeds++;
}

static void walk(const struct seeds_table *target, const struct places *p, const struct seeds_table *held,
                 struct buf *out, struct seeds_result *result)
{
    struct wire_seed run = {.count = 0};
    struct match m = {0};
    for (uint32_t i = 0; i < target->count; i++) {
        struct blob_chunk want;
        target->chunk(target->of, i, &want);
        struct match next = {.image = m.image, .chunk = m.chunk + 1};
        if (run.count > 0 && next.chunk < held[next.image].count && same(held, next, &want)) {
            m = next;
            run.count++;
            continue;
        }
        run_end(&run, out, result);
        run.count = 0;
        if (places_find(p, held, &want, &m)) {
            run = (struct wire_seed){
                .first = i, .count = 1, .image = held[m.image].number, .image_first = m.chunk};
        } else {
            result->missing_chunks++;
            result->missing_bytes += want.raw_bytes;
        }
    }
    run_end(&run, out, result);
}

int seeds_find(const struct seeds_table *target, const struct seeds_table *held, size_t held_count,
               struct buf *out, struct seeds_result *result)
{
    struct places places = {0};
    struct seeds_result found = {0};
    int rc = places_fill(&places, held, held_count);
    if (rc == 0) {
        walk(target, &places, held, out, &found);
        if (out && out->error)
            rc = out->error;
    }
    free(places.at);
    if (rc == 0)
        *result = found;
    return rc;
}
