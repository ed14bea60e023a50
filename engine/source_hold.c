/* What a capture does to a source: waiting for writers, holding changes for its last look, the commit. */
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "capture_job.h"
#include "source.h"

#define SLICE_MS 100 /* how soon a cancellation is seen */

static bool is_cancelled(const struct source_wait *wait)
{
    return __atomic_load_n(wait->cancelled, __ATOMIC_RELAXED);
}

/* Under the lock: waits a while, or says why not to. */
static int wait_on(struct engine_source *source, const struct source_wait *wait, int64_t until_ms)
{
    if (is_cancelled(wait))
        return -ECANCELED;
    if (source->gone)
        return -ENOENT;
    int64_t left_ms = until_ms - source_now_ms();
    if (left_ms <= 0)
        return -ETIME;
    source_wait(source, left_ms < SLICE_MS ? left_ms : SLICE_MS);
    return 0;
}

/* The path of an open file below the snapshot's top directory, as far as /proc tells. */
static void name_of(const struct engine_source *source, int fd, char *out, size_t out_bytes)
{
    char link[64];
    char path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    char top[NAME_MAX_BYTES + 16];
    snprintf(top, sizeof(top), "/snapshots/%s/", source->name);
    const char *below = strstr(path, top);
    snprintf(out, out_bytes, "%s", below ? below + strlen(top) : n > 0 ? path : "a file");
}

/* Under the lock: an open file that has a name, or NULL. One that was removed is in no tree. */
static const struct writer *named_writer(const struct engine_source *source)
{
    for (size_t i = 0; i < source->writers_count; i++) {
        struct stat st;
        if (fstat(source->writers[i].fd, &st) < 0 || st.st_nlink > 0)
            return &source->writers[i];
    }
    return NULL;
}

int source_wait_writers(struct engine_source *source, const struct source_wait *wait, struct err *err)
{
    HOLD_LOCK(&source->lock);
    int64_t until_ms = source_now_ms() + wait->timeout_ms;
    const struct writer *writer = NULL;
    while ((writer = named_writer(source)) != NULL) {
        int r = wait_on(source, wait, until_ms);
        if (r == -ETIME) {
            char file[256];
            name_of(source, writer->fd, file, sizeof(file));
            return err_set(err, ETXTBSY, "%s is open for writing; close it and load again", file);
        }
        if (r < 0)
            return err_set(err, -r, r == -ENOENT ? "it was removed meanwhile" : "cancelled");
    }
    return 0;
}

/*
 * Under the lock: closes the gate and waits until it is held, again and again: changes that waited too long
 * break it, while one that is under way takes long.
 */
static int hold(struct engine_source *source, const struct source_wait *wait, struct err *err)
{
    int64_t until_ms = source_now_ms() + wait->timeout_ms;
    for (;;) {
        if (!source->gate.closed)
            gate_close(&source->gate, source_now_ms());
        while (source->gate.closed && source->gate.inside > 0) {
            int r = wait_on(source, wait, until_ms);
            if (r == 0)
                continue;
            gate_open(&source->gate);
            pthread_cond_broadcast(&source->changed);
            if (r == -ETIME)
                return err_set(err, ETXTBSY, "a change to it is still not done after %d s; load again later",
                               wait->timeout_ms / 1000);
            return err_set(err, -r, r == -ENOENT ? "it was removed meanwhile" : "cancelled");
        }
        if (gate_held(&source->gate))
            return 0;
        /* Others are let through for as long as they were held up. */
        int r = wait_on(source, wait, until_ms);
        if (r < 0 && r != -ETIME)
            return err_set(err, -r, r == -ENOENT ? "it was removed meanwhile" : "cancelled");
    }
}

int source_capture_begin(struct engine_source *source, const struct source_wait *wait,
                         struct capture_control *yields, struct kept *kept, struct err *err)
{
    HOLD_LOCK(&source->lock);
    while (source->capturing) {
        if (yields)
            return err_set(err, EBUSY, "it is being captured");
        if (source->yields)
            capture_cancel(source->yields);
        int r = wait_on(source, wait, INT64_MAX);
        if (r < 0)
            return err_set(err, -r, r == -ENOENT ? "it was removed meanwhile" : "cancelled");
    }
    source->capturing = true;
    source->yields = yields;
    *kept = source->kept;
    source->kept = (struct kept){.tree_fd = -1};
    source_note_kept(source);
    if (kept->blob && source->counts_anew)
        blob_capture_count_anew(kept->blob);
    source->counts_anew = false;
    if (kept->blob)
        return 0;
    /* What is being changed now, and perhaps not done when its file is read, is to be read again. */
    inodes_free(&source->dirty);
    inodes_add_set(&source->dirty, &source->inside);
    return 0;
}

void source_capture_end(struct engine_source *source, struct kept *keep)
{
    {
        HOLD_LOCK(&source->lock);
        source->capturing = false;
        source->yields = NULL;
        if (!source->gone) {
            source->kept = *keep;
            *keep = (struct kept){.tree_fd = -1};
            source_note_kept(source);
        }
        if (!source->kept.blob)
            inodes_free(&source->dirty);
        pthread_cond_broadcast(&source->changed);
    }
    kept_free(keep);
}

void source_put_back(struct engine_source *source, const uint64_t *inodes, size_t count)
{
    HOLD_LOCK(&source->lock);
    for (size_t i = 0; i < count; i++)
        inodes_add(&source->dirty, inodes[i]);
}

bool source_take(struct engine_source *source, struct inodes *taken)
{
    struct inodes open = {0};
    HOLD_LOCK(&source->lock);
    bool all = source->dirty.all;
    for (size_t i = 0; i < source->writers_count; i++)
        inodes_add(&open, source->writers[i].inode);
    struct inodes listed = source->dirty;
    source->dirty = (struct inodes){0};
    inodes_add_set(&source->dirty, &source->inside);
    for (size_t i = 0; i < listed.room; i++)
        inodes_add(inodes_has(&open, listed.slots[i]) ? &source->dirty : taken, listed.slots[i]);
    inodes_free(&listed);
    inodes_free(&open);
    return !all && !taken->all;
}

void source_rest(struct engine_source *source, struct source_rest *out)
{
    HOLD_LOCK(&source->lock);
    *out = (struct source_rest){.changed_ms = source->changed_ms,
                                .generation = source->generation,
                                .open = named_writer(source) != NULL,
                                .busy = source->capturing || source->gate.inside > 0,
                                .gone = source->gone};
}

int source_hold(struct engine_source *source, const struct source_wait *wait, struct inodes *taken,
                struct err *err)
{
    HOLD_LOCK(&source->lock);
    int r = hold(source, wait, err);
    if (r < 0)
        return r;
    if (named_writer(source)) {
        gate_open(&source->gate);
        pthread_cond_broadcast(&source->changed);
        return err_set(err, EBUSY, "a file is open for writing");
    }
    *taken = source->dirty;
    source->dirty = (struct inodes){0};
    return 0;
}

bool source_let_go(struct engine_source *source, uint64_t *generation)
{
    HOLD_LOCK(&source->lock);
    bool unbroken = gate_open(&source->gate);
    *generation = source->generation;
    pthread_cond_broadcast(&source->changed);
    return unbroken;
}

int source_commit_begin(struct engine_source *source, const char *name, uint64_t generation)
{
    HOLD_LOCK(&source->lock);
    while (source->mark == SOURCE_BUSY)
        pthread_cond_wait(&source->changed, &source->lock);
    if (source->gone || strcmp(source->name, name) != 0)
        return -ENOENT;
    if (source->generation != generation)
        return 0;
    source->mark = SOURCE_BUSY;
    return 1;
}

void source_commit_end(struct engine_source *source, uint32_t running, const struct catalog_running *prepared)
{
    HOLD_LOCK(&source->lock);
    source->mark = running || prepared ? SOURCE_CLEAN : SOURCE_UNKNOWN;
    source->clean_running = running;
    if (running)
        source->counts_anew = true;
    else if (prepared)
        source->prepared = *prepared;
    pthread_cond_broadcast(&source->changed);
}
