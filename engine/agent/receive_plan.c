#include "receive_plan.h"

#include <string.h>
#include <sys/stat.h>

/* How many extents the files have in all; 0 and -EBADMSG when they cannot all be different ones. */
static int count_extents(const struct blob_image *image, uint32_t *out, struct err *err)
{
    const uint8_t *bytes;
    size_t most = blob_image_bytes(image, &bytes); /* an extent takes more than a byte */
    uint64_t total = 0;
    for (uint32_t i = 0; i < blob_image_inodes(image); i++) {
        struct blob_inode in;
        blob_image_inode(image, i, &in);
        total += S_ISREG(in.mode) ? in.extents : 0;
    }
    if (total > most || total >= UINT32_MAX) {
        err_set(err, EBADMSG, "the image is damaged: files share their extents");
        return -EBADMSG;
    }
    *out = (uint32_t)total;
    return 0;
}

static void fill_places(struct plan_places *p, const struct blob_image *image, uint32_t *at)
{
    for (uint32_t i = 0; i < blob_image_inodes(image); i++) {
        struct blob_inode in;
        blob_image_inode(image, i, &in);
        for (uint32_t e = in.extents_first; S_ISREG(in.mode) && e < in.extents_first + in.extents; e++) {
            struct blob_extent extent;
            blob_image_extent(image, e, &extent);
            if (p->place)
                p->place[at[extent.chunk]++] = (struct plan_place){.inode = i, .extent = e};
            else
                p->first[extent.chunk + 1]++;
        }
    }
}

/* Counts each chunk's places and makes room for them; `at`: where the next place of a chunk goes. */
static uint32_t *lay_out(struct plan_places *p, const struct blob_image *image)
{
    uint32_t chunks = blob_image_chunks(image);
    uint32_t *at = calloc((size_t)chunks + 1, sizeof(*at));
    p->first = calloc((size_t)chunks + 1, sizeof(*p->first));
    if (!at || !p->first) {
        free(at);
        return NULL;
    }
    fill_places(p, image, NULL);
    for (uint32_t c = 0; c < chunks; c++)
        p->first[c + 1] += p->first[c];
    memcpy(at, p->first, ((size_t)chunks + 1) * sizeof(*at));
    p->place = calloc((size_t)p->count + 1, sizeof(*p->place));
    if (!p->place) {
        free(at);
        return NULL;
    }
    return at;
}

int plan_places_init(struct plan_places *places, const struct blob_image *image, struct err *err)
{
    struct plan_places p = {0};
    int r = count_extents(image, &p.count, err);
    if (r < 0)
        return r;
    uint32_t *at = lay_out(&p, image);
    if (!at) {
        plan_places_fini(&p);
        err_set(err, ENOMEM, "no memory for the chunks of an image");
        return -ENOMEM;
    }
    fill_places(&p, image, at);
    free(at);
    *places = p;
    return 0;
}

void plan_places_fini(struct plan_places *places)
{
    free(places->first);
    free(places->place);
    *places = (struct plan_places){0};
}

int plan_init(struct plan *plan, const struct blob_image *image, struct err *err)
{
    uint32_t chunks = blob_image_chunks(image);
    struct plan p = {.image = image, .total_bytes = blob_image_content_bytes(image)};
    int r = plan_places_init(&p.places, image, err);
    if (r < 0)
        return r;
    p.source = calloc((size_t)chunks + 1, 1);
    p.seeded = calloc((size_t)chunks + 1, 1);
    p.seed = calloc((size_t)chunks + 1, sizeof(*p.seed));
    p.done = calloc((size_t)p.places.count + 1, 1);
    if (!p.source || !p.seeded || !p.seed || !p.done) {
        plan_fini(&p);
        return err_set(err, ENOMEM, "no memory for the chunks of an image");
    }
    for (uint32_t c = 0; c < chunks; c++) {
        if (p.places.first[c] == p.places.first[c + 1])
            p.source[c] = PLAN_IN_PLACE; /* no file has it */
        else
            p.left++;
    }
    *plan = p;
    return 0;
}

void plan_fini(struct plan *plan)
{
    plan_places_fini(&plan->places);
    free(plan->source);
    free(plan->seeded);
    free(plan->seed);
    free(plan->done);
    *plan = (struct plan){0};
}

void plan_keep(struct plan *plan, const struct tree *tree)
{
    for (uint32_t c = 0; c < blob_image_chunks(plan->image); c++) {
        struct blob_chunk chunk;
        uint32_t left = 0;
        blob_image_chunk(plan->image, c, &chunk);
        for (uint32_t p = plan->places.first[c]; p < plan->places.first[c + 1]; p++) {
            if (tree_is_kept(tree, plan->places.place[p].inode))
                plan_place_done(plan, p, chunk.raw_bytes);
            else
                left++;
        }
        if (left == 0)
            plan_chunk_done(plan, c);
    }
}

void plan_claim(struct plan *plan, const uint8_t *have, size_t have_bytes)
{
    uint32_t chunks = blob_image_chunks(plan->image);
    for (uint32_t c = 0; c < chunks && c / 8 < have_bytes; c++)
        if (have[c / 8] >> (c % 8) & 1 && plan->source[c] != PLAN_IN_PLACE)
            plan->source[c] = PLAN_CLAIMED;
}

int plan_have(const struct plan *plan, struct buf *out)
{
    uint32_t chunks = blob_image_chunks(plan->image);
    size_t len = (size_t)chunks / 8 + 1;
    uint8_t *map = buf_room(out, len);
    if (!map)
        return -ENOMEM;
    memset(map, 0, len);
    for (uint32_t c = 0; c < chunks; c++)
        if (plan->source[c] == PLAN_IN_PLACE || plan->source[c] == PLAN_CLAIMED)
            map[c / 8] |= (uint8_t)(1u << (c % 8));
    buf_grew(out, len);
    return 0;
}

static int seed_image_index(struct plan *plan, uint64_t image)
{
    for (unsigned i = 0; i < plan->seed_image_count; i++)
        if (plan->seed_images[i] == image)
            return (int)i;
    if (plan->seed_image_count == PLAN_SEED_IMAGES_MAX)
        return -1;
    plan->seed_images[plan->seed_image_count] = image;
    return (int)plan->seed_image_count++;
}

int plan_add_seed(struct plan *plan, const struct wire_seed *seed, uint32_t held_chunks, struct err *err)
{
    uint32_t chunks = blob_image_chunks(plan->image);
    if (seed->first > chunks || seed->count > chunks - seed->first)
        return err_set(err, EBADMSG, "the controller named seeds out of range");
    if (seed->image_first > held_chunks || seed->count > held_chunks - seed->image_first)
        return 0; /* not what is held here: it will be wanted */
    int index = seed_image_index(plan, seed->image);
    for (uint32_t k = 0; index >= 0 && k < seed->count; k++) {
        uint32_t c = seed->first + k;
        if (plan->seeded[c])
            continue;
        plan->seeded[c] = 1;
        plan->seed[c] = (struct plan_seed){.image = (uint16_t)index, .chunk = seed->image_first + k};
        if (plan->source[c] == PLAN_WANTED)
            plan->source[c] = PLAN_SEEDED;
    }
    return 0;
}

int64_t plan_wants(const struct plan *plan, struct buf *out)
{
    uint32_t chunks = blob_image_chunks(plan->image);
    int64_t ranges = 0;
    for (uint32_t c = 0; c < chunks;) {
        struct wire_range range = {.first = c};
        while (c < chunks && plan->source[c] == PLAN_WANTED)
            c++;
        range.count = c - range.first;
        if (range.count == 0) {
            c++;
            continue;
        }
        wire_put_range(out, &range);
        ranges++;
    }
    return out->error ? out->error : ranges;
}

uint64_t plan_missing_bytes(const struct plan *plan, enum plan_source source)
{
    uint64_t total = 0;
    for (uint32_t c = 0; c < blob_image_chunks(plan->image); c++) {
        struct blob_chunk chunk;
        if (plan->source[c] != source)
            continue;
        blob_image_chunk(plan->image, c, &chunk);
        for (uint32_t p = plan->places.first[c]; p < plan->places.first[c + 1]; p++)
            total += plan->done[p] ? 0 : chunk.raw_bytes;
    }
    return total;
}

int plan_arrived(struct plan *plan, uint64_t chunk, struct err *err)
{
    if (chunk >= blob_image_chunks(plan->image))
        return err_set(err, EBADMSG, "the controller sent chunk %llu of an image of %u",
                       (unsigned long long)chunk, blob_image_chunks(plan->image));
    if (plan->source[chunk] != PLAN_WANTED)
        return err_set(err, EBADMSG, "the controller sent chunk %llu, which was not wanted",
                       (unsigned long long)chunk);
    plan->source[chunk] = PLAN_ARRIVED;
    return 0;
}

enum plan_source plan_not_found(struct plan *plan, uint32_t chunk)
{
    enum plan_source now = plan->source[chunk];
    enum plan_source then = now == PLAN_CLAIMED && plan->seeded[chunk] ? PLAN_SEEDED : PLAN_WANTED;
    plan->source[chunk] = (uint8_t)then;
    return then;
}

void plan_place_done(struct plan *plan, uint32_t place, uint32_t raw_bytes)
{
    if (plan->done[place])
        return;
    plan->done[place] = 1;
    plan->done_bytes += raw_bytes;
}

void plan_chunk_done(struct plan *plan, uint32_t chunk)
{
    if (plan->source[chunk] == PLAN_IN_PLACE)
        return;
    struct blob_chunk c;
    blob_image_chunk(plan->image, chunk, &c);
    for (uint32_t p = plan->places.first[chunk]; p < plan->places.first[chunk + 1]; p++)
        plan_place_done(plan, p, c.raw_bytes);
    plan->source[chunk] = PLAN_IN_PLACE;
    plan->left--;
}
