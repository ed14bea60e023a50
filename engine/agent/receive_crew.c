/* The threads that put chunks in place: those that arrived first, so that the controller is kept going, then
 * what the tree or held images have. */
#include <string.h>

#include "receive_parts.h"
#include "tree_put.h"

#define BATCH_CHUNKS 32
#define BATCH_BYTES (1u << 20) /* of content in a job */
#define DIRS_AT_ONCE 16u
#define CREDIT_STEP_BYTES (RECEIVE_WINDOW_BYTES / 8)

enum job_kind { JOB_ARRIVED, JOB_LOCAL, JOB_CLONE, JOB_FINISH };

struct job {
    enum job_kind kind;
    unsigned count; /* chunks */
    uint32_t chunk[BATCH_CHUNKS];
    enum plan_source source[BATCH_CHUNKS];
    struct arrived *arrived; /* as many, linked */
    struct seed_clone clone;
    uint32_t dir_first, dir_end; /* of tree.dirs */
};

struct worker {
    struct receive *r;
    struct tree_put put;
    struct seed_reader self, seed; /* the tree itself, held images */
    struct seed_source own;        /* the tree itself as a source; borrows everything */
    uint8_t *raw;                  /* BLOB_CHUNK_MAX_BYTES: one chunk at a time stays in the caches */
    struct job job;
};

static struct blob_chunk chunk_of(const struct receive *r, uint32_t chunk)
{
    struct blob_chunk c;
    blob_image_chunk(r->image, chunk, &c);
    return c;
}

/* ---- what to do next; with the lock held ---- */

static bool take_arrived(struct receive *r, struct job *job)
{
    struct arrived **end = &job->arrived;
    uint32_t bytes = 0;
    while (r->first && job->count < BATCH_CHUNKS) {
        struct arrived *a = r->first;
        uint32_t raw_bytes = chunk_of(r, a->chunk).raw_bytes;
        if (bytes + raw_bytes > BATCH_BYTES)
            break;
        bytes += raw_bytes;
        r->first = a->next;
        if (!r->first)
            r->end = &r->first;
        a->next = NULL;
        *end = a;
        end = &a->next;
        job->chunk[job->count++] = a->chunk;
    }
    job->kind = JOB_ARRIVED;
    return job->count > 0;
}

static bool take_clone(struct receive *r, struct job *job)
{
    if (r->next_clone >= r->clones.len_bytes / sizeof(struct seed_clone))
        return false;
    memcpy(&job->clone, r->clones.bytes + r->next_clone * sizeof(struct seed_clone), sizeof(job->clone));
    job->kind = JOB_CLONE;
    r->next_clone++;
    r->cloning++;
    return true;
}

static bool take_local(struct receive *r, struct job *job)
{
    uint32_t chunks = blob_image_chunks(r->image), bytes = 0;
    if (r->cloning > 0) /* they may fill the same places */
        return false;
    for (; r->next_local < chunks && job->count < BATCH_CHUNKS; r->next_local++) {
        enum plan_source source = r->plan.source[r->next_local];
        if (source != PLAN_CLAIMED && source != PLAN_SEEDED)
            continue;
        uint32_t raw_bytes = chunk_of(r, r->next_local).raw_bytes;
        if (bytes + raw_bytes > BATCH_BYTES)
            break;
        bytes += raw_bytes;
        job->source[job->count] = source;
        job->chunk[job->count++] = r->next_local;
    }
    job->kind = JOB_LOCAL;
    return job->count > 0;
}

static bool take_dirs(struct receive *r, struct job *job)
{
    if (r->next_dir >= r->tree.dir_count)
        return false;
    job->kind = JOB_FINISH;
    job->dir_first = r->next_dir;
    r->next_dir += DIRS_AT_ONCE;
    if (r->next_dir > r->tree.dir_count)
        r->next_dir = r->tree.dir_count;
    job->dir_end = r->next_dir;
    r->finishing++;
    return true;
}

/* Waits for a job; false: there will be none. After a break what has arrived is still written: the next
 * attempt goes on from it. */
static bool take(struct receive *r, struct job *job)
{
    HOLD_LOCK(&r->lock);
    for (;;) {
        job->count = 0;
        job->arrived = NULL;
        if (r->failed.code)
            return false;
        if (r->cancelled || r->phase == RECEIVE_CLOSING)
            return take_arrived(r, job);
        if (r->phase == RECEIVE_CONTENT && (take_arrived(r, job) || take_clone(r, job) || take_local(r, job)))
            return true;
        if (r->phase == RECEIVE_FINISHING && take_dirs(r, job))
            return true;
        r->waiting++;
        pthread_cond_wait(&r->wake, &r->lock);
        r->waiting--;
    }
}

/* ---- writing ---- */

/* Writes a checked chunk wherever it is still missing. */
static int spread(struct worker *w, uint32_t chunk, const uint8_t *raw, uint32_t raw_bytes, struct err *err)
{
    struct receive *r = w->r;
    int result = 0;
    for (uint32_t p = r->plan.places.first[chunk]; result == 0 && p < r->plan.places.first[chunk + 1]; p++) {
        struct blob_extent extent;
        if (r->plan.done[p])
            continue;
        blob_image_extent(r->image, r->plan.places.place[p].extent, &extent);
        const struct tree_piece piece = {.inode = r->plan.places.place[p].inode,
                                         .len_bytes = raw_bytes,
                                         .offset_bytes = extent.offset_bytes,
                                         .bytes = raw};
        result = tree_put_piece(&w->put, &piece, err);
    }
    return result;
}

static int write_arrived(struct worker *w, struct err *err)
{
    uint8_t *raw = w->raw;
    for (const struct arrived *a = w->job.arrived; a; a = a->next) {
        struct blob_chunk c = chunk_of(w->r, a->chunk);
        int result = blob_expand(a->codec, a->payload, a->len_bytes, raw, c.raw_bytes);
        if (result < 0 || blob_check_of(raw, c.raw_bytes) != c.check)
            return err_set(err, EBADMSG, "chunk %u came damaged from the controller", a->chunk);
        result = spread(w, a->chunk, raw, c.raw_bytes, err);
        if (result < 0)
            return result;
    }
    return 0;
}

static void settle_arrived(struct worker *w)
{
    struct receive *r = w->r;
    uint64_t used = 0, grant = 0;
    for (const struct arrived *a = w->job.arrived; a; a = a->next)
        used += a->len_bytes;
    {
        HOLD_LOCK(&r->lock);
        for (unsigned i = 0; i < w->job.count; i++)
            plan_chunk_done(&r->plan, w->job.chunk[i]);
        r->owed_bytes += used;
        if (r->owed_bytes >= CREDIT_STEP_BYTES && r->plan.left > 0) {
            grant = r->owed_bytes;
            r->credit_bytes += grant;
            r->owed_bytes = 0;
        }
        if (r->plan.left == 0)
            pthread_cond_signal(&r->turned);
    }
    if (grant) {
        struct wire_message m = {.type = WIRE_CREDIT, .credit = {.load = r->load, .bytes = grant}};
        r->events.send(r->events.arg, &m);
    }
}

static void free_arrived(struct arrived *a)
{
    while (a) {
        struct arrived *next = a->next;
        free(a);
        a = next;
    }
}

/* ---- what is here already ---- */

/* Looks in the tree for what an earlier attempt wrote; marks the places that are right. True: all are. */
static bool check_claim(struct worker *w, uint32_t chunk, uint8_t *raw)
{
    struct receive *r = w->r;
    struct blob_chunk c = chunk_of(r, chunk);
    bool all = true;
    for (uint32_t p = r->plan.places.first[chunk]; p < r->plan.places.first[chunk + 1]; p++) {
        struct blob_extent extent;
        if (r->plan.done[p])
            continue;
        blob_image_extent(r->image, r->plan.places.place[p].extent, &extent);
        int result = seed_read_file(&w->self, &w->own, r->plan.places.place[p].inode, extent.offset_bytes,
                                    raw, c.raw_bytes);
        if (result == 0 && blob_check_of(raw, c.raw_bytes) == c.check) {
            HOLD_LOCK(&r->lock);
            plan_place_done(&r->plan, p, c.raw_bytes);
        } else {
            all = false;
        }
    }
    return all;
}

static bool read_seed(struct worker *w, uint32_t chunk, uint8_t *raw)
{
    struct receive *r = w->r;
    struct blob_chunk c = chunk_of(r, chunk);
    const struct plan_seed *seed = &r->plan.seed[chunk];
    return seed_read(&w->seed, &r->source[seed->image], seed->chunk, raw, c.raw_bytes) == 0 &&
           blob_check_of(raw, c.raw_bytes) == c.check;
}

static enum plan_source not_found(struct receive *r, uint32_t chunk)
{
    HOLD_LOCK(&r->lock);
    return plan_not_found(&r->plan, chunk);
}

static int work_local(struct worker *w, struct err *err)
{
    struct receive *r = w->r;
    OWNED_BUF struct buf wants = BUF_EMPTY;
    uint32_t want_count = 0;
    uint8_t *raw = w->raw;
    for (unsigned i = 0; i < w->job.count; i++) {
        uint32_t chunk = w->job.chunk[i], raw_bytes = chunk_of(r, chunk).raw_bytes;
        enum plan_source source = w->job.source[i];
        if (source == PLAN_CLAIMED && !check_claim(w, chunk, raw))
            source = not_found(r, chunk);
        if (source == PLAN_SEEDED) {
            if (read_seed(w, chunk, raw)) {
                int result = spread(w, chunk, raw, raw_bytes, err);
                if (result < 0)
                    return result;
            } else {
                source = not_found(r, chunk);
            }
        }
        w->job.source[i] = source;
        if (source == PLAN_WANTED) {
            struct wire_range range = {.first = chunk, .count = 1};
            wire_put_range(&wants, &range);
            want_count++;
        }
    }
    if (wants.error)
        return err_set(err, ENOMEM, "no memory for the list of chunks");
    {
        HOLD_LOCK(&r->lock);
        for (unsigned i = 0; i < w->job.count; i++)
            if (w->job.source[i] != PLAN_WANTED)
                plan_chunk_done(&r->plan, w->job.chunk[i]);
        if (r->plan.left == 0)
            pthread_cond_signal(&r->turned);
    }
    if (want_count > 0)
        receive_want(r, &(struct wire_list){.at = wants.bytes, .count = want_count}, true);
    return 0;
}

static void mark_cloned(struct receive *r, uint32_t inode)
{
    struct blob_inode in;
    blob_image_inode(r->image, inode, &in);
    for (uint32_t e = in.extents_first; e < in.extents_first + in.extents; e++) {
        struct blob_extent extent;
        blob_image_extent(r->image, e, &extent);
        for (uint32_t p = r->plan.places.first[extent.chunk]; p < r->plan.places.first[extent.chunk + 1]; p++)
            if (r->plan.places.place[p].inode == inode && r->plan.places.place[p].extent == e)
                plan_place_done(&r->plan, p, chunk_of(r, extent.chunk).raw_bytes);
    }
}

/* A file that cannot be cloned after all is left to the copying of chunks. */
static void work_clone(struct worker *w)
{
    struct receive *r = w->r;
    int result = seed_clone_file(&w->seed, r->source, &r->tree, &w->job.clone, w->raw);
    HOLD_LOCK(&r->lock);
    if (result == 0)
        mark_cloned(r, w->job.clone.inode);
    r->cloning--;
    pthread_cond_broadcast(&r->wake);
}

static int work_finish(struct worker *w, struct err *err)
{
    struct receive *r = w->r;
    int result = 0;
    for (uint32_t d = w->job.dir_first; result == 0 && d < w->job.dir_end; d++)
        result = tree_finish_files(&r->tree, r->tree.dirs[d], err);
    HOLD_LOCK(&r->lock);
    r->finishing--;
    pthread_cond_signal(&r->turned);
    return result;
}

static int work(struct worker *w, struct err *err)
{
    switch (w->job.kind) {
    case JOB_ARRIVED: {
        int result = write_arrived(w, err);
        if (result == 0)
            settle_arrived(w);
        free_arrived(w->job.arrived);
        return result;
    }
    case JOB_LOCAL:
        return work_local(w, err);
    case JOB_CLONE:
        work_clone(w);
        return 0;
    case JOB_FINISH:
        return work_finish(w, err);
    }
    return 0;
}

static int worker_new(struct receive *r, struct worker **out, struct err *err)
{
    struct worker *w = calloc(1, sizeof(*w));
    uint8_t *raw = malloc(BLOB_CHUNK_MAX_BYTES);
    if (!w || !raw) {
        free(w);
        free(raw);
        return err_set(err, ENOMEM, "no memory to write a tree");
    }
    tree_put_open(&w->put, &r->tree);
    w->r = r;
    w->raw = raw;
    w->self.fd = w->seed.fd = -1;
    w->own = (struct seed_source){.image = r->image, .stack = {r->tree_fd}, .depth = 1, .tree = r->tree};
    *out = w;
    return 0;
}

static void worker_free(struct worker *w)
{
    seed_reader_close(&w->self);
    seed_reader_close(&w->seed);
    tree_put_close(&w->put);
    free(w->raw);
    free(w);
}

void *receive_crew_main(void *arg)
{
    struct receive *r = arg;
    struct err err = {0};
    struct worker *w = NULL;
    int result = worker_new(r, &w, &err);
    while (w && result == 0 && take(r, &w->job))
        result = work(w, &err);
    if (w)
        worker_free(w);
    if (result < 0) {
        HOLD_LOCK(&r->lock);
        receive_fail(r, &err);
    }
    return NULL;
}
