/*
 * The threads that read files: they find the holes, cut what lies between them, and store it. A file is one
 * thread's from its beginning to its end, so cuts cannot depend on how many there are.
 */
#include <fcntl.h>
#include <string.h>

#include "base/fdio.h"
#include "blob/cut.h"
#include "capture_parts.h"

#define BUFFER_BYTES (4 * (size_t)BLOB_CHUNK_MAX_BYTES)
/* Handing a job over costs as much as reading a small file: they go from hand to hand together. */
#define HELD_MAX 32
#define TAKEN_MAX 16
#define TAKEN_BYTES                                                                                          \
    (256u << 10) /* and one more: no thread has much more to do than another one at the end                  \
                  */

struct reader {
    struct capture_pool *pool;
    struct blob_compressor *compressor;
    uint8_t *bytes; /* BUFFER_BYTES */
};

static int put_piece(struct reader *r, struct capture_job *job, uint64_t offset_bytes, const uint8_t *raw,
                     uint32_t raw_bytes)
{
    struct capture_piece *pieces = array_room(job->pieces, job->count, &job->cap, sizeof(*pieces));
    if (!pieces)
        return capture_no_memory(&job->err);
    job->pieces = pieces;
    struct capture_piece *piece = &pieces[job->count];
    piece->offset_bytes = offset_bytes;
    piece->chunk.raw_bytes = raw_bytes;
    piece->chunk.check = blob_check_of(raw, raw_bytes);
    int added = blob_store_put(r->pool->store, r->compressor, raw, raw_bytes, &piece->chunk.id, &job->err);
    if (added < 0)
        return added;
    if (added > 0) {
        job->new_chunks++;
        job->new_raw_bytes += raw_bytes;
        job->new_stored_bytes += (uint64_t)added;
    }
    job->count++;
    return 0;
}

/* One run of data. Returns where it really ended: before `end` when the file was made shorter meanwhile. */
static int64_t read_run(struct reader *r, struct capture_job *job, uint64_t start, uint64_t end)
{
    size_t at = 0, have = 0; /* in the buffer */
    uint64_t next = start;   /* in the file */
    for (;;) {
        if (have - at < BLOB_CHUNK_MAX_BYTES && next < end) {
            memmove(r->bytes, r->bytes + at, have - at);
            have -= at;
            at = 0;
            size_t want = BUFFER_BYTES - have;
            if (want > end - next)
                want = (size_t)(end - next);
            ssize_t n = fd_read_at(job->fd, r->bytes + have, want, next);
            if (n < 0)
                return err_sys(&job->err, (int)-n, "reading failed");
            have += (size_t)n;
            next += (uint64_t)n;
            if ((size_t)n < want)
                end = next;
        }
        if (at == have)
            return (int64_t)end;
        if (atomic_load(r->pool->cancelled))
            return err_set(&job->err, ECANCELED, "The capture was cancelled.");
        size_t len = blob_cut(r->bytes + at, have - at);
        int failed = put_piece(r, job, next - (have - at), r->bytes + at, (uint32_t)len);
        if (failed < 0)
            return failed;
        at += len;
    }
}

/* The next run of data at or after `from`: false when there is none. lseek(2), SEEK_DATA. */
static bool next_run(int fd, uint64_t from, uint64_t size_bytes, uint64_t *start, uint64_t *end)
{
    off_t data = lseek(fd, (off_t)from, SEEK_DATA);
    if (data < 0 && errno != ENXIO) { /* no such thing on this file system */
        *start = from;
        *end = size_bytes;
        return true;
    }
    if (data < 0 || (uint64_t)data >= size_bytes)
        return false;
    off_t hole = lseek(fd, data, SEEK_HOLE);
    if (hole <= data)
        return false; /* made shorter meanwhile */
    *start = (uint64_t)data;
    *end = (uint64_t)hole < size_bytes ? (uint64_t)hole : size_bytes;
    return true;
}

static void read_file(struct reader *r, struct capture_job *job)
{
    uint64_t at = 0, start, end;
    if (job->no_holes && read_run(r, job, 0, job->size_bytes) >= 0)
        at = job->size_bytes;
    while (!job->err.code && at < job->size_bytes && next_run(job->fd, at, job->size_bytes, &start, &end)) {
        int64_t reached = read_run(r, job, start, end);
        if (reached < 0 || (uint64_t)reached < end)
            break;
        at = end;
    }
    close(job->fd);
    job->fd = -1;
}

/* A list; NULL: there will be none. */
static struct capture_job *wait_for_jobs(struct capture_pool *pool)
{
    HOLD_LOCK(&pool->lock);
    while (!pool->queue && !pool->stopping) {
        pool->idle++;
        pthread_cond_wait(&pool->work, &pool->lock);
        pool->idle--;
    }
    struct capture_job *first = pool->queue, **end = &pool->queue;
    uint64_t bytes = 0;
    for (unsigned n = 0; *end && n < TAKEN_MAX && bytes < TAKEN_BYTES; n++) {
        bytes += (*end)->size_bytes;
        end = &(*end)->next;
    }
    pool->queue = *end;
    if (!pool->queue)
        pool->queue_end = &pool->queue;
    if (first)
        *end = NULL;
    return first;
}

static void finish_jobs(struct capture_pool *pool, struct capture_job *jobs)
{
    HOLD_LOCK(&pool->lock);
    while (jobs) {
        struct capture_job *next = jobs->next;
        jobs->next = pool->finished;
        pool->finished = jobs;
        jobs = next;
        pool->unfinished--;
        if (pool->unfinished == pool->awaited)
            pthread_cond_signal(&pool->done);
    }
}

static void do_job(struct reader *r, struct capture_job *job, int failed)
{
    if (failed < 0)
        err_sys(&job->err, -failed, "no thread could read it");
    else if (atomic_load(r->pool->cancelled))
        err_set(&job->err, ECANCELED, "The capture was cancelled.");
    else
        read_file(r, job);
}

static void *reader_main(void *arg)
{
    struct capture_pool *pool = arg;
    struct reader r = {.pool = pool, .bytes = malloc(BUFFER_BYTES)};
    int failed = r.bytes ? blob_compressor_new(pool->level, &r.compressor) : -ENOMEM;
    struct capture_job *jobs;
    while ((jobs = wait_for_jobs(pool))) {
        for (struct capture_job *job = jobs; job; job = job->next)
            do_job(&r, job, failed);
        finish_jobs(pool, jobs);
    }
    if (failed == 0)
        blob_compressor_free(r.compressor);
    free(r.bytes);
    return NULL;
}

int capture_pool_start(struct capture_pool *pool, struct blob_store *store, unsigned threads, int level,
                       const atomic_bool *cancelled, struct err *err)
{
    *pool = (struct capture_pool){.store = store, .level = level, .cancelled = cancelled};
    pool->queue_end = &pool->queue;
    pool->held_end = &pool->held;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->threads = calloc(threads, sizeof(*pool->threads));
    if (!pool->threads)
        return capture_no_memory(err);
    for (unsigned i = 0; i < threads; i++) {
        int r = pthread_create(&pool->threads[i], NULL, reader_main, pool);
        if (r != 0 && pool->n_threads == 0)
            return err_sys(err, r, "No thread could be started to read files");
        if (r != 0)
            break; /* fewer will do */
        pool->n_threads++;
    }
    return 0;
}

void capture_pool_stop(struct capture_pool *pool)
{
    if (!pool->queue_end)
        return; /* never started */
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    struct capture_job *lists[] = {pool->queue, pool->finished, pool->held};
    for (size_t i = 0; i < 3; i++) {
        while (lists[i]) {
            struct capture_job *job = lists[i];
            lists[i] = job->next;
            capture_job_free(job);
        }
    }
    free(pool->threads);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->lock);
    pool->queue_end = NULL;
}

static void hand_over(struct capture_pool *pool)
{
    if (pool->n_held == 0)
        return;
    HOLD_LOCK(&pool->lock);
    *pool->queue_end = pool->held;
    pool->queue_end = pool->held_end;
    pool->unfinished += pool->n_held;
    pool->held = NULL;
    pool->held_end = &pool->held;
    pool->n_held = 0;
    if (pool->idle > 0)
        pthread_cond_broadcast(&pool->work);
}

void capture_pool_give(struct capture_pool *pool, struct capture_job *job)
{
    job->next = NULL;
    *pool->held_end = job;
    pool->held_end = &job->next;
    pool->n_held++;
}

struct capture_job *capture_pool_take(struct capture_pool *pool, unsigned most)
{
    if (most > 0 && pool->n_held < HELD_MAX)
        return NULL;
    hand_over(pool);
    HOLD_LOCK(&pool->lock);
    if (pool->unfinished > most) {
        pool->awaited = most / 2;
        while (pool->unfinished > pool->awaited)
            pthread_cond_wait(&pool->done, &pool->lock);
    }
    return STEAL(pool->finished);
}

void capture_job_free(struct capture_job *job)
{
    cleanup_fd(&job->fd);
    free(job->pieces);
    free(job);
}
