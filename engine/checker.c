#include "checker.h"

#include <inttypes.h>
#include <string.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/thread.h"
#include "check_images.h"

#define LINES_MAX_BYTES (256u << 10)
#define CHUNK_LINES_MAX 500u /* a pack has thousands: what they mean comes behind them */
#define PACKS_PERCENT 90u    /* of the work is the reading of packs */

struct checker {
    struct checker_parts parts;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    pthread_t thread;
    bool started, stop;
    bool cancel; /* what is under way; atomic */
    bool running;
    uint64_t request; /* who waits for one, 0: nobody */
    engine_done done;
    void *done_arg;
    uint64_t done_bytes, all_bytes, images_done, images, bad_now;
    unsigned percent; /* of packs and images */

    /* The last result, or so far. */
    struct blob_fsck_result packs;
    uint64_t repaired, lost, chunk_lines, more_lines;
    struct buf lines;
    int64_t ended_ns, took_ms; /* ended_ns 0: never */
    struct err err;
};

static void add_line(struct checker *c, const char *line)
{
    HOLD_LOCK(&c->lock);
    if (c->lines.len_bytes + strlen(line) > LINES_MAX_BYTES)
        c->more_lines++;
    else
        buf_printf(&c->lines, "%s\n", line);
}

static void say(void *arg, const char *line)
{
    struct checker *c = arg;
    log_warn("check of the store: %s", line);
    add_line(c, line);
}

static void take_event(void *arg, const struct blob_fsck_event *event)
{
    struct checker *c = arg;
    char line[160] = "";
    if (event->fault == BLOB_FSCK_CHUNK || event->fault == BLOB_FSCK_RECOVERED) {
        HOLD_LOCK(&c->lock);
        c->bad_now += event->fault == BLOB_FSCK_CHUNK;
        if (++c->chunk_lines > CHUNK_LINES_MAX) {
            c->more_lines++;
            return;
        }
    }
    switch (event->fault) {
    case BLOB_FSCK_CHUNK:
        snprintf(line, sizeof(line), "bad packs/%016" PRIx64 ".pack at %" PRIu32 ": a chunk, set aside",
                 event->pack, event->offset_bytes);
        break;
    case BLOB_FSCK_RECOVERED:
        snprintf(line, sizeof(line),
                 "recovered packs/%016" PRIx64 ".pack at %" PRIu32 ": a good copy of a bad chunk",
                 event->pack, event->offset_bytes);
        break;
    case BLOB_FSCK_HEADER:
        snprintf(line, sizeof(line), "bad packs/%016" PRIx64 ".pack: its header, mended at the next start",
                 event->pack);
        break;
    case BLOB_FSCK_FOOTER:
        snprintf(line, sizeof(line), "bad packs/%016" PRIx64 ".pack: its footer, mended at the next start",
                 event->pack);
        break;
    case BLOB_FSCK_BYTES:
        snprintf(line, sizeof(line), "bad packs/%016" PRIx64 ".pack at %" PRIu32 ": bytes between chunks",
                 event->pack, event->offset_bytes);
        break;
    case BLOB_FSCK_UNREADABLE:
        snprintf(line, sizeof(line), "bad packs/%016" PRIx64 ".pack at %" PRIu32 ": it cannot be read: %s",
                 event->pack, event->offset_bytes, strerror(event->error));
        break;
    }
    say(c, line);
}

/* It never goes back: what is to be repaired is more work than was known. */
static void set_percent(struct checker *c, unsigned percent)
{
    uint64_t all_bytes;
    {
        HOLD_LOCK(&c->lock);
        percent = c->percent = percent > c->percent ? percent : c->percent;
        all_bytes = c->all_bytes;
    }
    if (c->parts.progress)
        c->parts.progress(c->parts.arg, percent, all_bytes);
}

static void take_packs_progress(void *arg, uint64_t done_bytes, uint64_t all_bytes)
{
    struct checker *c = arg;
    {
        HOLD_LOCK(&c->lock);
        c->done_bytes = done_bytes;
        c->all_bytes = all_bytes;
    }
    set_percent(c, all_bytes ? (unsigned)(done_bytes * PACKS_PERCENT / all_bytes) : PACKS_PERCENT);
}

static void take_images_progress(void *arg, uint64_t done, uint64_t all)
{
    struct checker *c = arg;
    {
        HOLD_LOCK(&c->lock);
        c->images_done = done;
        c->images = all;
    }
    set_percent(c, PACKS_PERCENT + (unsigned)(done * (100 - PACKS_PERCENT) / all));
}

static int check(struct checker *c, struct blob_fsck_result *packs, struct check_images *images,
                 struct err *err)
{
    struct blob_fsck_options options = {
        .cancelled = &c->cancel, .progress = take_packs_progress, .event = take_event, .arg = c};
    *images = (struct check_images){.store = c->parts.store,
                                    .catalog = c->parts.catalog,
                                    .runnings = c->parts.runnings,
                                    .sources = c->parts.sources,
                                    .snapshots_fd = c->parts.snapshots_fd,
                                    .cancelled = &c->cancel,
                                    .say = say,
                                    .progress = take_images_progress,
                                    .arg = c};
    int r = blob_fsck_run(c->parts.store, &options, &images->fsck, err);
    if (r < 0)
        return r;
    r = check_images(images, err);
    blob_fsck_result(images->fsck, packs);
    blob_fsck_free(STEAL(images->fsck));
    if (r == 0)
        set_percent(c, 100);
    return r;
}

static int verdict(const struct blob_fsck_result *packs, const struct check_images *images)
{
    if (images->lost > 0)
        return ENGINE_CHECK_LOST;
    bool faults = packs->bad_chunks > 0 || packs->other_faults > 0;
    return faults || packs->recovered + images->repaired > 0 ? ENGINE_CHECK_REPAIRED : ENGINE_CHECK_WHOLE;
}

int checker_run(struct checker *c, struct err *err)
{
    struct blob_fsck_result packs = {0};
    struct check_images images;
    struct err failed = {0};
    int64_t began_ms = clock_boot_ms();
    {
        HOLD_LOCK(&c->lock);
        c->running = true;
        c->done_bytes = c->all_bytes = c->images_done = c->images = c->bad_now = 0;
        c->chunk_lines = c->more_lines = c->percent = 0;
        buf_free(&c->lines);
        c->lines = BUF_EMPTY;
    }
    int r = check(c, &packs, &images, &failed);
    {
        HOLD_LOCK(&c->lock);
        c->running = false;
        c->packs = packs;
        c->repaired = images.repaired + packs.recovered;
        c->lost = images.lost;
        c->ended_ns = clock_wall_ns();
        c->took_ms = clock_boot_ms() - began_ms;
        c->err = failed;
        c->err.code = r < 0 ? -r : 0;
    }
    if (r == 0)
        r = verdict(&packs, &images);
    else if (err)
        *err = failed;
    if (r >= 0)
        log_info("the store was checked: %" PRIu64 " packs, %" PRIu64 " chunks, %" PRIu64
                 " bad; repaired %" PRIu64 ", lost %" PRIu64 " files",
                 packs.packs, packs.chunks, packs.bad_chunks, images.repaired + packs.recovered, images.lost);
    else if (r != -ECANCELED)
        log_warn("the store could not be checked: %s", failed.message);
    return r;
}

/* False: it is to stop. */
static bool wait_for_request(struct checker *c)
{
    HOLD_LOCK(&c->lock);
    while (!c->stop && !c->request)
        pthread_cond_wait(&c->wake, &c->lock);
    return !c->stop;
}

static void answer(struct checker *c, int result)
{
    engine_done done;
    void *arg;
    {
        HOLD_LOCK(&c->lock);
        if (!c->request)
            return;
        done = c->done;
        arg = c->done_arg;
        c->request = 0;
        __atomic_store_n(&c->cancel, c->stop, __ATOMIC_RELAXED);
    }
    done(arg, result, "");
}

static void *work(void *arg)
{
    struct checker *c = arg;
    while (wait_for_request(c)) {
        int r = checker_run(c, NULL);
        if (c->parts.changed)
            c->parts.changed(c->parts.arg);
        answer(c, r == -ECANCELED ? -EINTR : r == ENGINE_CHECK_LOST ? -EIO : r < 0 ? r : 0);
    }
    answer(c, -EINTR);
    return NULL;
}

int checker_new(const struct checker_parts *parts, struct checker **out, struct err *err)
{
    struct checker *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(err, ENOMEM, "no memory for checks");
    c->parts = *parts;
    c->lines = BUF_EMPTY;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    *out = c;
    return 0;
}

void checker_stop(struct checker *c)
{
    bool join;
    if (!c)
        return;
    {
        HOLD_LOCK(&c->lock);
        join = c->started && !c->stop;
        c->stop = true;
        __atomic_store_n(&c->cancel, true, __ATOMIC_RELAXED);
        pthread_cond_signal(&c->wake);
    }
    if (join)
        pthread_join(c->thread, NULL);
}

void checker_free(struct checker *c)
{
    if (!c)
        return;
    checker_stop(c);
    buf_free(&c->lines);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

int checker_request(struct checker *c, uint64_t request, engine_done done, void *arg)
{
    HOLD_LOCK(&c->lock);
    if (c->stop)
        return -EINTR;
    if (c->request)
        return -EEXIST;
    if (!c->started) {
        int r = thread_start(&c->thread, work, c);
        if (r < 0)
            return r;
        c->started = true;
    }
    c->request = request;
    c->done = done;
    c->done_arg = arg;
    pthread_cond_signal(&c->wake);
    return 0;
}

bool checker_cancel(struct checker *c, uint64_t request)
{
    HOLD_LOCK(&c->lock);
    if (request == 0 || c->request != request)
        return false;
    __atomic_store_n(&c->cancel, true, __ATOMIC_RELAXED);
    return true;
}

/* Under the lock. */
static void show_running(const struct checker *c, struct buf *out)
{
    buf_printf(out,
               "running %u%%\ndone_bytes %" PRIu64 "\nall_bytes %" PRIu64 "\nimages_done %" PRIu64
               "\nimages %" PRIu64 "\nbad_chunks %" PRIu64 "\n",
               c->percent, c->done_bytes, c->all_bytes, c->images_done, c->images, c->bad_now);
}

void checker_show(struct checker *c, struct buf *out, int64_t *changed_ns)
{
    char when[32];
    HOLD_LOCK(&c->lock);
    if (changed_ns)
        *changed_ns = c->running ? clock_wall_ns() : c->ended_ns;
    if (c->running) {
        show_running(c, out);
        return;
    }
    if (c->ended_ns == 0) {
        buf_printf(out, "never\n");
        return;
    }
    clock_format(c->ended_ns, when);
    buf_printf(out,
               "when %s\npacks %" PRIu64 "\nchunks %" PRIu64 "\nbytes %" PRIu64 "\nbad_chunks %" PRIu64
               "\nrepaired %" PRIu64 "\nlost %" PRIu64 "\ntook_ms %" PRId64 "\n",
               when, c->packs.packs, c->packs.chunks, c->packs.bytes, c->packs.bad_chunks, c->repaired,
               c->lost, c->took_ms);
    if (c->err.code)
        buf_printf(out, "error %s\n", c->err.message);
    buf_put(out, c->lines.bytes, c->lines.len_bytes);
    if (c->more_lines > 0)
        buf_printf(out, "and %" PRIu64 " more lines\n", c->more_lines);
}
