#include "plan.h"

#include <string.h>
#include <zstd.h>

#include "seeds.h"
#include "wire/message.h"

#define DESCRIPTOR_LEVEL 3
#define SEED_IMAGES_MAX 8 /* the ones that are looked into: a blade keeps few */
/* Descriptors that are kept, ready to be sent: a rack is loaded with few images at a time. */
#define DESCRIPTORS_MAX 8
#define DESCRIPTORS_MAX_BYTES (32u << 20) /* but the last one always */

struct planner {
    struct work_queue *queue;
    struct runnings *runnings;
    /* The worker's: the last used first. */
    struct descriptor *kept[DESCRIPTORS_MAX];
    size_t kept_count;
};

static void descriptor_put(struct descriptor *d)
{
    if (!d || atomic_fetch_sub(&d->refs, 1) != 1)
        return;
    buf_free(&d->frame);
    free(d);
}

int planner_new(struct loop *loop, struct runnings *runnings, struct planner **out, struct err *err)
{
    struct planner *planner = calloc(1, sizeof *planner);
    if (!planner)
        return err_set(err, ENOMEM, "no memory to plan loads");
    planner->runnings = runnings;
    int rc = work_queue_new(loop, "plan", &planner->queue, err);
    if (rc < 0) {
        free(planner);
        return rc;
    }
    *out = planner;
    return 0;
}

void planner_free(struct planner *planner)
{
    if (!planner)
        return;
    work_queue_free(planner->queue);
    while (planner->kept_count > 0)
        descriptor_put(planner->kept[--planner->kept_count]);
    free(planner);
}

bool holdings_have(const uint64_t *holdings, uint32_t count, uint64_t image)
{
    for (uint32_t i = 0; i < count; i++) {
        if (holdings[i] == image)
            return true;
    }
    return false;
}

/* ---- held images ---- */

struct held {
    struct shared_image *images[SEED_IMAGES_MAX];
    struct seeds_table tables[SEED_IMAGES_MAX];
    size_t count;
};

/* An image that cannot be had is no seed, that is all. */
static void held_get(struct runnings *runnings, const uint64_t *holdings, uint32_t count, uint64_t target,
                     struct held *out)
{
    out->count = 0;
    for (uint32_t i = count; i > 0 && out->count < SEED_IMAGES_MAX; i--) {
        struct shared_image *image = NULL;
        if (holdings[i - 1] == target || runnings_image_get(runnings, holdings[i - 1], &image, NULL) < 0)
            continue;
        out->images[out->count] = image;
        out->tables[out->count] = seeds_table_of(image->number, image->image);
        out->count++;
    }
}

static void held_put(struct runnings *runnings, struct held *held)
{
    for (size_t i = 0; i < held->count; i++)
        runnings_image_put(runnings, held->images[i]);
}

static int find_seeds(struct runnings *runnings, const struct shared_image *target, const uint64_t *holdings,
                      uint32_t count, struct buf *out, struct seeds_result *result)
{
    struct held held;
    held_get(runnings, holdings, count, target->number, &held);
    struct seeds_table table = seeds_table_of(target->number, target->image);
    int rc = seeds_find(&table, held.tables, held.count, out, result);
    held_put(runnings, &held);
    return rc;
}

/* ---- plans ---- */

/* NULL: no memory. */
static struct descriptor *descriptor_make(const struct shared_image *target)
{
    OWNED_BUF struct buf raw = BUF_EMPTY;
    struct descriptor *d = calloc(1, sizeof *d);
    if (!d || blob_image_strip(target->image, &raw) < 0) {
        free(d);
        return NULL;
    }
    size_t bound = ZSTD_compressBound(raw.len_bytes);
    uint8_t *room = buf_room(&d->frame, bound);
    size_t n = room ? ZSTD_compress(room, bound, raw.bytes, raw.len_bytes, DESCRIPTOR_LEVEL) : 0;
    if (!room || ZSTD_isError(n)) {
        buf_free(&d->frame);
        free(d);
        return NULL;
    }
    buf_grew(&d->frame, n);
    uint8_t *fits = realloc(d->frame.bytes, n); /* the bound is far above what is needed */
    if (fits) {
        d->frame.bytes = fits;
        d->frame.cap_bytes = n;
    }
    atomic_init(&d->refs, 1);
    d->image = target->number;
    d->raw_bytes = raw.len_bytes;
    return d;
}

static struct descriptor *descriptor_find(struct planner *planner, uint64_t image)
{
    for (size_t i = 0; i < planner->kept_count; i++) {
        struct descriptor *d = planner->kept[i];
        if (d->image != image)
            continue;
        memmove(&planner->kept[1], &planner->kept[0], i * sizeof(struct descriptor *));
        planner->kept[0] = d;
        return d;
    }
    return NULL;
}

/* Takes it over. */
static void descriptor_keep(struct planner *planner, struct descriptor *d)
{
    size_t bytes = d->frame.len_bytes, stay = 0;
    while (stay < planner->kept_count && stay + 1 < DESCRIPTORS_MAX) {
        bytes += planner->kept[stay]->frame.len_bytes;
        if (bytes > DESCRIPTORS_MAX_BYTES)
            break;
        stay++;
    }
    while (planner->kept_count > stay)
        descriptor_put(planner->kept[--planner->kept_count]);
    memmove(&planner->kept[1], &planner->kept[0], stay * sizeof(struct descriptor *));
    planner->kept[0] = d;
    planner->kept_count = stay + 1;
}

static int descriptor_get(struct planner *planner, const struct shared_image *target, struct descriptor **out,
                          struct err *err)
{
    struct descriptor *d = descriptor_find(planner, target->number);
    if (!d) {
        d = descriptor_make(target);
        if (!d)
            return err_set(err, ENOMEM, "no memory for the image's description");
        descriptor_keep(planner, d);
    }
    atomic_fetch_add(&d->refs, 1);
    *out = d;
    return 0;
}

static int plan_make(struct plan *plan)
{
    struct runnings *runnings = plan->planner->runnings;
    int rc = runnings_image_get(runnings, plan->image, &plan->target, &plan->err);
    if (rc < 0)
        return rc;
    plan->content_bytes = blob_image_content_bytes(plan->target->image);
    rc = descriptor_get(plan->planner, plan->target, &plan->descriptor, &plan->err);
    if (rc < 0)
        return rc;
    struct seeds_result found;
    rc = find_seeds(runnings, plan->target, plan->holdings, plan->holdings_count, &plan->seeds, &found);
    if (rc < 0)
        return err_set(&plan->err, -rc, "no memory to compare images");
    plan->seeds_count = found.seeds;
    return 0;
}

static void plan_run(struct work *work)
{
    struct plan *plan = (struct plan *)work;
    plan->result = plan_make(plan);
}

void plan_submit(struct plan *plan)
{
    plan->work.run = plan_run;
    work_submit(plan->planner->queue, &plan->work);
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    if (plan->target)
        runnings_image_put(plan->planner->runnings, plan->target);
    descriptor_put(plan->descriptor);
    buf_free(&plan->seeds);
    free(plan);
}

/* ---- estimates ---- */

static bool same_holdings(const struct estimate_row *a, const struct estimate_row *b)
{
    return a->holdings_count == b->holdings_count &&
           memcmp(a->holdings, b->holdings, a->holdings_count * sizeof a->holdings[0]) == 0;
}

static int estimate_row(struct estimate *e, const struct shared_image *target, size_t i)
{
    struct estimate_row *row = &e->rows[i];
    row->holds = holdings_have(row->holdings, row->holdings_count, e->image);
    row->missing_bytes = 0;
    if (row->holds)
        return 0;
    for (size_t k = 0; k < i; k++) { /* a rack of new blades: all hold the same */
        if (same_holdings(row, &e->rows[k])) {
            row->missing_bytes = e->rows[k].missing_bytes;
            return 0;
        }
    }
    struct seeds_result found;
    int rc = find_seeds(e->planner->runnings, target, row->holdings, row->holdings_count, NULL, &found);
    if (rc < 0)
        return err_set(&e->err, -rc, "no memory to compare images");
    row->missing_bytes = found.missing_bytes;
    return 0;
}

static void estimate_run(struct work *work)
{
    struct estimate *e = (struct estimate *)work;
    struct shared_image *target = NULL;
    e->result = runnings_image_get(e->planner->runnings, e->image, &target, &e->err);
    if (e->result < 0)
        return;
    for (size_t i = 0; i < e->count && e->result == 0; i++)
        e->result = estimate_row(e, target, i);
    runnings_image_put(e->planner->runnings, target);
}

void estimate_submit(struct estimate *estimate)
{
    estimate->work.run = estimate_run;
    work_submit(estimate->planner->queue, &estimate->work);
}
