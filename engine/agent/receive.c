#include "receive.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/statfs.h>
#include <time.h>
#include <zstd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "images_disk.h"
#include "receive_layer.h"

#define SEED_BYTES 24u
#define SEEDS_MAX_BYTES (SEED_BYTES << 20) /* more are not used: what they name is wanted instead */
#define RANGES_AT_ONCE 65536u
#define RANGE_BYTES 8u
#define HAVE_EVERY_MS 200

bool receive_is_over(const struct receive *r)
{
    return r->cancelled || r->failed.code != 0;
}

void receive_fail(struct receive *r, const struct err *err)
{
    if (r->failed.code == 0)
        r->failed = *err;
    if (r->failed.code == 0)
        r->failed.code = EIO;
    pthread_cond_broadcast(&r->wake);
    pthread_cond_broadcast(&r->turned);
}

void receive_want(struct receive *r, const struct wire_list *ranges, bool last)
{
    for (uint32_t at = 0; at < ranges->count || (last && ranges->count == 0);) {
        uint32_t n = ranges->count - at < RANGES_AT_ONCE ? ranges->count - at : RANGES_AT_ONCE;
        struct wire_message m = {
            .type = WIRE_WANT,
            .want = {.load = r->load,
                     .last = last && at + n == ranges->count,
                     .ranges = {.at = n ? ranges->at + (size_t)at * RANGE_BYTES : NULL, .count = n}}};
        r->events.send(r->events.arg, &m);
        at += n;
        if (n == 0)
            break;
    }
}

/* ---- the descriptor ---- */

/* Waits until `*flag`, or the end. */
static int wait_for(struct receive *r, const bool *flag, struct err *err)
{
    HOLD_LOCK(&r->lock);
    while (!receive_is_over(r) && !*flag)
        pthread_cond_wait(&r->turned, &r->lock);
    if (r->failed.code)
        *err = r->failed;
    return r->failed.code ? -r->failed.code : r->cancelled ? err_set(err, ECANCELED, "cancelled") : 0;
}

static int wait_for_descriptor(struct receive *r, struct buf *out, struct err *err)
{
    HOLD_LOCK(&r->lock);
    while (!receive_is_over(r) && r->descriptor_got_bytes < r->descriptor_bytes)
        pthread_cond_wait(&r->turned, &r->lock);
    if (receive_is_over(r)) {
        *err = r->failed;
        return r->failed.code ? -r->failed.code : err_set(err, ECANCELED, "cancelled");
    }
    *out = r->descriptor;
    r->descriptor = BUF_EMPTY;
    return 0;
}

static int expand_descriptor(struct receive *r, struct buf *out, struct err *err)
{
    OWNED_BUF struct buf packed = BUF_EMPTY;
    int result = wait_for_descriptor(r, &packed, err);
    if (result < 0)
        return result;
    size_t raw_bytes = (size_t)r->descriptor_raw_bytes;
    uint8_t *raw = buf_room(out, raw_bytes);
    if (!raw)
        return err_set(err, ENOMEM, "no memory for a descriptor of %zu bytes", raw_bytes);
    if (ZSTD_findFrameCompressedSize(packed.bytes, packed.len_bytes) != packed.len_bytes ||
        ZSTD_decompress(raw, raw_bytes, packed.bytes, packed.len_bytes) != raw_bytes)
        return err_set(err, EBADMSG, "the descriptor of %s came damaged from the controller", r->snapshot);
    buf_grew(out, raw_bytes);
    return 0;
}

/* Whether what is in DIR/incoming/<number> began with the same descriptor. */
static bool is_same_descriptor(const struct receive *r, const struct buf *raw)
{
    OWNED_BUF struct buf old = BUF_EMPTY;
    return file_read(r->fd, "image", raw->len_bytes, &old) == 0 && old.len_bytes == raw->len_bytes &&
           memcmp(old.bytes, raw->bytes, raw->len_bytes) == 0;
}

static int open_tree(struct receive *r, const struct buf *raw, struct err *err)
{
    if (mkdirat(r->fd, "tree", 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "cannot make a tree");
    r->tree_fd = open_beneath(r->fd, "tree", O_RDONLY | O_DIRECTORY, 0);
    if (r->tree_fd < 0)
        return err_sys(err, -r->tree_fd, "cannot open a tree");
    int result = r->resumed ? 0 : file_replace(r->fd, "image", 0600, raw->bytes, raw->len_bytes);
    return result < 0 ? err_sys(err, -result, "cannot write the descriptor") : 0;
}

static int arrive_again(struct receive *r, struct err *err)
{
    close(steal_fd(&r->fd));
    images_abandon(r->images, r->number);
    r->fd = images_arrive(r->images, r->number, err);
    return r->fd < 0 ? r->fd : 0;
}

static int open_incoming(struct receive *r, const struct buf *raw, struct err *err)
{
    r->fd = images_arrive(r->images, r->number, err);
    if (r->fd < 0)
        return r->fd;
    r->resumed = is_same_descriptor(r, raw);
    struct stat st;
    int result = 0;
    if (!r->resumed && fstatat(r->fd, "tree", &st, AT_SYMLINK_NOFOLLOW) == 0)
        result = arrive_again(r, err); /* begun as something else */
    return result == 0 ? open_tree(r, raw, err) : result;
}

int receive_start_over(struct receive *r, struct err *err)
{
    const uint8_t *bytes;
    OWNED_BUF struct buf raw = BUF_EMPTY;
    size_t len_bytes = blob_image_bytes(r->image, &bytes);
    buf_put(&raw, bytes, len_bytes);
    if (raw.error)
        return err_set(err, ENOMEM, "no memory for a descriptor of %zu bytes", len_bytes);
    r->resumed = false;
    close(steal_fd(&r->tree_fd));
    int result = arrive_again(r, err);
    if (result == 0)
        result = open_tree(r, &raw, err);
    r->tree.fd = r->tree_fd;
    return result;
}

static int check_chunks(const struct blob_image *image, struct err *err)
{
    for (uint32_t c = 0; c < blob_image_chunks(image); c++) {
        struct blob_chunk chunk;
        blob_image_chunk(image, c, &chunk);
        if (chunk.raw_bytes == 0 || chunk.raw_bytes > BLOB_CHUNK_MAX_BYTES)
            return err_set(err, EBADMSG, "the image is damaged: chunk %u has %u bytes", c, chunk.raw_bytes);
    }
    return 0;
}

static int open_image(struct receive *r, struct err *err)
{
    OWNED_BUF struct buf raw = BUF_EMPTY;
    int result = expand_descriptor(r, &raw, err);
    if (result == 0)
        result = open_incoming(r, &raw, err);
    if (result == 0)
        result = blob_image_parse(&raw, &r->image, err);
    if (result == 0)
        result = check_chunks(r->image, err);
    if (result == 0)
        result = tree_init(&r->tree, r->image, r->tree_fd, err);
    if (result == 0)
        result = receive_layer_choose(r, err);
    if (result == 0 && !r->resumed)
        tree_is_fresh(&r->tree);
    return result;
}

/* ---- seeds and wants ---- */

static int open_source(struct receive *r, uint64_t number, struct seed_source *out, struct err *err)
{
    struct seed_source source;
    int result = 0;
    if (r->has_base && r->base.number == number)
        seed_source_share(&r->base, &source);
    else
        result = seed_source_open(r->images, number, &source, err);
    if (result < 0)
        return result;
    result = seed_source_index(&source, err);
    if (result < 0)
        seed_source_close(r->images, &source);
    else
        *out = source;
    return result;
}

static struct seed_source *source_of(struct receive *r, uint64_t number)
{
    for (unsigned i = 0; i < r->sources; i++)
        if (r->source[i].number == number)
            return &r->source[i];
    struct err why = {0};
    if (r->sources == PLAN_SEED_IMAGES_MAX || !images_has(r->images, number))
        return NULL;
    if (open_source(r, number, &r->source[r->sources], &why) < 0) {
        log_warn("image %" PRIu64 " is no seed: %s", number, why.message);
        return NULL;
    }
    return &r->source[r->sources++];
}

static int add_seeds(struct receive *r, struct err *err)
{
    OWNED_BUF struct buf seeds = BUF_EMPTY;
    {
        HOLD_LOCK(&r->lock);
        seeds = r->seeds;
        r->seeds = BUF_EMPTY;
    }
    struct wire_list list = {.at = seeds.bytes, .count = (uint32_t)(seeds.len_bytes / SEED_BYTES)};
    for (uint32_t i = 0; i < list.count; i++) {
        struct wire_seed seed = wire_seed_at(&list, i);
        /* The plan's list of images and r->source grow together: the same index in both. */
        const struct seed_source *source = source_of(r, seed.image);
        int result = source ? plan_add_seed(&r->plan, &seed, blob_image_chunks(source->image), err) : 0;
        if (result < 0)
            return result;
    }
    if (!seed_can_clone(r->fd))
        return 0;
    int result = seed_find_clones(&r->plan, r->source, &r->clones);
    return result < 0 ? err_set(err, ENOMEM, "no memory for the list of files to share") : 0;
}

static int make_plan(struct receive *r, struct err *err)
{
    struct plan plan;
    int result = plan_init(&plan, r->image, err);
    if (result < 0)
        return result;
    plan_keep(&plan, &r->tree);
    HOLD_LOCK(&r->lock); /* for receive_progress */
    r->plan = plan;
    return 0;
}

static int claim_what_is_there(struct receive *r, struct err *err)
{
    OWNED_BUF struct buf have = BUF_EMPTY;
    if (!r->resumed)
        return 0;
    int result = file_read(r->fd, "have", (size_t)blob_image_chunks(r->image) / 8 + 1, &have);
    if (result < 0 && result != -ENOENT && result != -EFBIG)
        return err_sys(err, -result, "cannot read what is in place of image %" PRIu64, r->number);
    if (result == 0)
        plan_claim(&r->plan, have.bytes, have.len_bytes);
    return 0;
}

/* Content that must be written. Cloned files take next to nothing; what they are is not looked up here. */
static uint64_t needed_bytes(const struct receive *r)
{
    uint64_t need = plan_missing_bytes(&r->plan, PLAN_WANTED);
    if (r->clones.len_bytes == 0)
        need += plan_missing_bytes(&r->plan, PLAN_SEEDED);
    struct statfs fs;
    if (fstatfs(r->fd, &fs) == 0 && fs.f_type == BTRFS_SUPER_MAGIC)
        need /= 4; /* it may compress */
    if (fstatfs(r->fd, &fs) == 0 && fs.f_blocks == 0)
        need = 0; /* it does not say what it has */
    return need;
}

static int check_room(struct receive *r, struct err *err)
{
    uint64_t need = needed_bytes(r);
    if (images_disk_free_bytes(r->fd) >= need)
        return 0;
    uint64_t there = images_make_room(r->images, need);
    r->events.dropped(r->events.arg);
    if (there >= need)
        return 0;
    return err_set(err, ENOSPC,
                   "no space in %s for %s: it needs %" PRIu64 " MiB and %" PRIu64
                   " MiB are free: free some, or give it a larger disk",
                   r->dir, r->snapshot, (need >> 20) + 1, there >> 20);
}

static int want_first(struct receive *r, struct err *err)
{
    OWNED_BUF struct buf ranges = BUF_EMPTY;
    int64_t count = plan_wants(&r->plan, &ranges);
    if (count < 0 || count > UINT32_MAX)
        return err_set(err, ENOMEM, "no memory for the list of chunks");
    {
        HOLD_LOCK(&r->lock);
        r->phase = RECEIVE_CONTENT;
        r->credit_bytes = RECEIVE_WINDOW_BYTES;
    }
    receive_want(r, &(struct wire_list){.at = ranges.bytes, .count = (uint32_t)count}, true);
    struct wire_message m = {.type = WIRE_CREDIT, .credit = {.load = r->load, .bytes = RECEIVE_WINDOW_BYTES}};
    r->events.send(r->events.arg, &m);
    return 0;
}

/* ---- content ---- */

static void write_have(struct receive *r)
{
    OWNED_BUF struct buf map = BUF_EMPTY;
    {
        HOLD_LOCK(&r->lock);
        if (!r->plan.source || plan_have(&r->plan, &map) < 0)
            return;
    }
    OWNED_FD fd = openat(r->fd, "have", O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    int result = fd < 0 ? -errno : fd_write_at(fd, map.bytes, map.len_bytes, 0);
    if (result < 0)
        log_debug("cannot note what is in place of image %" PRIu64 ": %s", r->number, strerror(-result));
}

/* Waits until `done` says so; notes now and then how far it is. */
static int wait_for_crew(struct receive *r, bool (*done)(const struct receive *r), struct err *err)
{
    pthread_mutex_lock(&r->lock);
    while (!receive_is_over(r) && !done(r)) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += HAVE_EVERY_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_nsec -= 1000000000L;
            until.tv_sec++;
        }
        if (pthread_cond_timedwait(&r->turned, &r->lock, &until) == ETIMEDOUT &&
            r->phase == RECEIVE_CONTENT) {
            pthread_mutex_unlock(&r->lock);
            write_have(r);
            pthread_mutex_lock(&r->lock);
        }
    }
    int result = 0;
    if (r->failed.code) {
        *err = r->failed;
        result = -r->failed.code;
    } else if (r->cancelled) {
        result = err_set(err, ECANCELED, "cancelled");
    }
    pthread_mutex_unlock(&r->lock);
    return result;
}

static bool is_content_whole(const struct receive *r)
{
    return r->plan.left == 0;
}

static bool are_files_finished(const struct receive *r)
{
    return r->next_dir >= r->tree.dir_count && r->finishing == 0;
}

static void set_phase(struct receive *r, enum receive_phase phase)
{
    HOLD_LOCK(&r->lock);
    r->phase = phase;
    pthread_cond_broadcast(&r->wake);
}

static int write_content(struct receive *r, struct err *err)
{
    pthread_t crew[RECEIVE_CREW];
    unsigned started = 0;
    int result = 0;
    for (; started < RECEIVE_CREW && result == 0; started++) {
        result = -pthread_create(&crew[started], NULL, receive_crew_main, r);
        if (result < 0)
            break;
    }
    if (result < 0)
        result = err_sys(err, -result, "cannot start a thread");
    if (result == 0)
        result = wait_for_crew(r, is_content_whole, err);
    if (result == 0) {
        set_phase(r, RECEIVE_FINISHING);
        result = wait_for_crew(r, are_files_finished, err);
    }
    set_phase(r, RECEIVE_CLOSING);
    for (unsigned i = 0; i < started; i++)
        pthread_join(crew[i], NULL);
    return result;
}

static int complete(struct receive *r, struct err *err)
{
    int result = tree_finish_links(&r->tree, err);
    if (result == 0)
        result = tree_finish_dirs(&r->tree, err);
    if (result == 0 && unlinkat(r->fd, "have", 0) < 0 && errno != ENOENT)
        result = err_sys(err, errno, "cannot complete image %" PRIu64, r->number);
    if (result == 0)
        result = images_complete(r->images, r->number, err);
    if (result == 0)
        images_give_parsed(r->images, r->number, STEAL(r->image));
    return result;
}

static int receive_all(struct receive *r, struct err *err)
{
    if (images_has(r->images, r->number)) /* the one before, which was cancelled, had come too far */
        return 0;
    int result = open_image(r, err);
    if (result == 0)
        result = tree_skeleton(&r->tree, err);
    if (result == 0)
        result = receive_layer_whiteouts(r, err);
    if (result == 0)
        result = wait_for(r, &r->has_seeds, err);
    if (result == 0)
        result = make_plan(r, err);
    if (result == 0)
        result = claim_what_is_there(r, err);
    if (result == 0)
        result = add_seeds(r, err);
    if (result == 0)
        result = check_room(r, err);
    if (result == 0)
        result = want_first(r, err);
    if (result == 0)
        result = write_content(r, err);
    return result == 0 ? complete(r, err) : result;
}

/* ---- the end ---- */

static void clean_up_disk(struct receive *r, int result)
{
    if (r->fd < 0)
        return;
    if (result == -ENOSPC || result == -EDQUOT || (r->resumed && result != -ECANCELED)) {
        images_abandon(r->images, r->number); /* room for what runs; or nothing to go on from */
        return;
    }
    write_have(r);
}

static void say_where(const struct receive *r, int result, struct err *err)
{
    if (result == -ENOSPC || result == -EDQUOT) {
        char what[sizeof(err->message)];
        memcpy(what, err->message, sizeof(what));
        if (!strstr(what, r->dir))
            err_set(err, err->code, "%s is full: %.300s: free some space there, or give it a larger disk",
                    r->dir, what);
        return;
    }
    err_prefix(err, "image %s in %s", r->snapshot, r->dir);
}

static void release(struct receive *r)
{
    for (unsigned i = 0; i < r->sources; i++)
        seed_source_close(r->images, &r->source[i]);
    r->sources = 0;
    buf_free(&r->clones);
    receive_layer_free(r);
    tree_fini(&r->tree);
    if (r->tree_fd >= 0)
        close(steal_fd(&r->tree_fd));
    if (r->fd >= 0)
        close(steal_fd(&r->fd));
    HOLD_LOCK(&r->lock);
    plan_fini(&r->plan);
    blob_image_free(r->image);
    r->image = NULL;
    while (r->first) {
        struct arrived *next = r->first->next;
        free(r->first);
        r->first = next;
    }
    r->end = &r->first;
    buf_free(&r->descriptor);
    buf_free(&r->seeds);
}

static void *receive_main(void *arg)
{
    struct receive *r = arg;
    struct err err = {0};
    receive_free(STEAL(r->after));
    int result = receive_all(r, &err);
    if (result < 0) {
        HOLD_LOCK(&r->lock);
        receive_fail(r, &err); /* what still comes is not taken */
        err = r->failed;
    }
    if (result < 0)
        clean_up_disk(r, result);
    if (result < 0 && result != -ECANCELED)
        say_where(r, result, &err);
    release(r);
    r->events.ended(r->events.arg, result, &err);
    return NULL;
}

static int check_sizes(const struct wire_prepare *p, struct err *err)
{
    if (p->image == 0 || p->descriptor_raw_bytes == 0 || p->descriptor_raw_bytes > BLOB_IMAGE_MAX_BYTES ||
        p->descriptor_bytes == 0 || p->descriptor_bytes > ZSTD_compressBound((size_t)p->descriptor_raw_bytes))
        return err_set(err, EMSGSIZE, "the controller announced an image of a size that cannot be");
    return 0;
}

int receive_new(struct images *images, const char *dir, const struct wire_prepare *prepare,
                const struct receive_events *events, struct receive *after, struct receive **out,
                struct err *err)
{
    int result = check_sizes(prepare, err);
    struct receive *r = result == 0 ? calloc(1, sizeof(*r)) : NULL;
    if (!r) {
        receive_free(after);
        return result < 0 ? result : err_set(err, ENOMEM, "no memory to receive an image");
    }
    *r = (struct receive){.images = images,
                          .dir = dir,
                          .events = *events,
                          .after = after,
                          .load = prepare->load,
                          .number = prepare->image,
                          .descriptor_raw_bytes = prepare->descriptor_raw_bytes,
                          .descriptor_bytes = prepare->descriptor_bytes,
                          .fd = -1,
                          .tree_fd = -1,
                          .tree = {.fd = -1}};
    r->end = &r->first;
    wire_text_copy(&prepare->snapshot, r->snapshot, sizeof(r->snapshot));
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    pthread_cond_init(&r->turned, NULL);
    if (after)
        receive_cancel(after);
    result = -pthread_create(&r->thread, NULL, receive_main, r);
    if (result < 0) {
        pthread_cond_destroy(&r->wake);
        pthread_cond_destroy(&r->turned);
        pthread_mutex_destroy(&r->lock);
        free(r);
        receive_free(after);
        return err_sys(err, -result, "cannot start a thread");
    }
    *out = r;
    return 0;
}

void receive_cancel(struct receive *receive)
{
    HOLD_LOCK(&receive->lock);
    receive->cancelled = true;
    pthread_cond_broadcast(&receive->wake);
    pthread_cond_broadcast(&receive->turned);
}

void receive_free(struct receive *receive)
{
    if (!receive)
        return;
    receive_cancel(receive);
    pthread_join(receive->thread, NULL);
    pthread_cond_destroy(&receive->wake);
    pthread_cond_destroy(&receive->turned);
    pthread_mutex_destroy(&receive->lock);
    free(receive);
}

/* ---- what comes ---- */

static void fail_with(struct receive *r, int code, const char *what)
{
    struct err err = {0};
    err_set(&err, code, "%s", what);
    receive_fail(r, &err);
}

void receive_descriptor(struct receive *r, const struct wire_descriptor *descriptor)
{
    HOLD_LOCK(&r->lock);
    if (descriptor->load != r->load || receive_is_over(r))
        return;
    if (descriptor->piece.len_bytes > r->descriptor_bytes - r->descriptor_got_bytes) {
        fail_with(r, EBADMSG, "the controller sent a longer descriptor than it announced");
        return;
    }
    buf_put(&r->descriptor, descriptor->piece.at, descriptor->piece.len_bytes);
    r->descriptor_got_bytes += descriptor->piece.len_bytes;
    if (r->descriptor.error)
        fail_with(r, ENOMEM, "no memory for the descriptor");
    pthread_cond_signal(&r->turned);
}

void receive_seeds(struct receive *r, const struct wire_seeds *seeds)
{
    HOLD_LOCK(&r->lock);
    if (seeds->load != r->load || receive_is_over(r))
        return;
    if (r->has_seeds) {
        fail_with(r, EBADMSG, "the controller sent more seeds after the last");
        return;
    }
    size_t len_bytes = (size_t)seeds->seeds.count * SEED_BYTES;
    if (len_bytes <= SEEDS_MAX_BYTES && r->seeds.len_bytes <= SEEDS_MAX_BYTES - len_bytes)
        buf_put(&r->seeds, seeds->seeds.at, len_bytes);
    if (r->seeds.error)
        fail_with(r, ENOMEM, "no memory for the seeds");
    r->has_seeds = seeds->last;
    pthread_cond_signal(&r->turned);
}

void receive_chunk(struct receive *r, const struct wire_chunk *chunk)
{
    HOLD_LOCK(&r->lock);
    if (chunk->load != r->load || receive_is_over(r))
        return;
    struct err err = {0};
    if (r->phase != RECEIVE_CONTENT || chunk->payload.len_bytes > r->credit_bytes) {
        fail_with(r, EBADMSG, "the controller sent more than it was granted");
        return;
    }
    if (chunk->payload.len_bytes > BLOB_STORED_MAX_BYTES || plan_arrived(&r->plan, chunk->chunk, &err) < 0) {
        if (err.code == 0)
            err_set(&err, EBADMSG, "the controller sent a chunk of %u bytes", chunk->payload.len_bytes);
        receive_fail(r, &err);
        return;
    }
    struct arrived *a = malloc(sizeof(*a) + chunk->payload.len_bytes);
    if (!a) {
        fail_with(r, ENOMEM, "no memory for a chunk");
        return;
    }
    a->next = NULL;
    a->chunk = chunk->chunk;
    a->codec = chunk->codec;
    a->len_bytes = chunk->payload.len_bytes;
    memcpy(a->payload, chunk->payload.at, a->len_bytes);
    r->credit_bytes -= a->len_bytes;
    *r->end = a;
    r->end = &a->next;
}

/* The crew is woken once for all chunks that came together: each wake costs as much as a small chunk. */
void receive_taken(struct receive *r)
{
    HOLD_LOCK(&r->lock);
    if (r->first && r->waiting > 0)
        pthread_cond_broadcast(&r->wake);
}

void receive_progress(struct receive *receive, uint64_t *done_bytes, uint64_t *total_bytes)
{
    HOLD_LOCK(&receive->lock);
    *done_bytes = receive->plan.done_bytes;
    *total_bytes = receive->plan.total_bytes;
}
