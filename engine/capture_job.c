#include "capture_job.h"

#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fdio.h"
#include "base/log.h"
#include "blob/capture.h"
#include "source.h"
#include "strangers.h"

#define WRITERS_MS 5000 /* how long a file may stay open for writing, or one change last */
#define SETTLE_MS 20000 /* how long changes may go on after the scan */
#define FEW_INODES 64   /* these are looked at with changes held */
#define RESCANS_MAX 3   /* of the whole tree, when too much changed to be remembered */
#define RENAME_TRIES 10 /* the tree is under its new name before the engine is told */
#define RENAME_PAUSE_MS 10
#define STRANGERS_PAUSE_MS 100

struct run {
    const struct capture_parts *parts;
    const char *name;
    struct capture_control *control;
    int tree_fd;
    struct engine_source *source;
    struct source_wait wait;
    struct blob_capture *blob;
    uint64_t generation; /* of the moment that the image shows */
    int64_t held_ms;     /* how long changes were held for the last look */
    int64_t began_ms;
};

void capture_control_init(struct capture_control *control)
{
    *control = (struct capture_control){.cancelled = false};
    pthread_mutex_init(&control->lock, NULL);
}

void capture_control_destroy(struct capture_control *control)
{
    pthread_mutex_destroy(&control->lock);
}

void capture_cancel(struct capture_control *control)
{
    __atomic_store_n(&control->cancelled, true, __ATOMIC_RELAXED);
    HOLD_LOCK(&control->lock);
    if (control->blob)
        blob_capture_cancel(control->blob);
}

bool capture_is_late(const struct capture_control *control)
{
    return __atomic_load_n(&control->late, __ATOMIC_SEQ_CST);
}

static void set_late(struct run *run, bool late)
{
    __atomic_store_n(&run->control->late, late, __ATOMIC_SEQ_CST);
}

static int open_tree(const struct capture_parts *parts, const char *name, uint64_t *inode, struct err *err)
{
    OWNED_FD fd = openat(parts->snapshots_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
        return err_set(err, ENOENT, "there is no source snapshot %s", name);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "snapshots/%s", name);
    *inode = st.st_ino;
    return steal_fd(&fd);
}

/* The directory and the object of that name; both are the caller's. */
static int find_source(const struct capture_parts *parts, const char *name, int *tree_fd,
                       struct engine_source **out, struct err *err)
{
    if (!name_is_valid(name, strlen(name)))
        return err_set(err, EINVAL, "\"%.80s\" is no name of a source snapshot", name);
    for (int tries = 0; tries < RENAME_TRIES; tries++) {
        uint64_t inode = 0;
        OWNED_FD fd = open_tree(parts, name, &inode, err);
        if (fd < 0)
            return fd;
        struct engine_source *source = sources_get(parts->sources, name, inode);
        if (!source)
            return err_set(err, ENOMEM, "snapshots/%s: no memory", name);
        if (source_is(source, name)) {
            *tree_fd = steal_fd(&fd);
            *out = source;
            return 0;
        }
        engine_source_put(source);
        nanosleep(&(struct timespec){.tv_nsec = RENAME_PAUSE_MS * 1000000L}, NULL);
    }
    return err_set(err, ENOENT, "snapshots/%s is being renamed or removed; load again", name);
}

int capture_unchanged(const struct capture_parts *parts, const char *name, uint32_t *running, struct err *err)
{
    OWNED_FD fd = -1;
    struct engine_source *source = NULL;
    int r = find_source(parts, name, &fd, &source, err);
    if (r < 0)
        return r;
    uint32_t id = source_clean(source);
    engine_source_put(source);
    if (id == 0 || runnings_hold(parts->runnings, id) < 0)
        return 0;
    *running = id;
    return 1;
}

/* Sets or takes back what capture_cancel reaches. */
static int show_blob(struct run *run, struct blob_capture *blob, struct err *err)
{
    HOLD_LOCK(&run->control->lock);
    run->control->blob = blob;
    if (blob && __atomic_load_n(&run->control->cancelled, __ATOMIC_RELAXED))
        return err_set(err, ECANCELED, "cancelled");
    return 0;
}

static void end_blob(struct run *run)
{
    int r = show_blob(run, NULL, NULL);
    (void)r; /* it fails for a capture that is set only */
    blob_capture_free(STEAL(run->blob));
}

static int scan(struct run *run, struct err *err)
{
    struct blob_capture_options options = {.threads = 0, .level = run->parts->level};
    int r = blob_capture_new(run->parts->store, run->tree_fd, &options, &run->blob, err);
    if (r == 0)
        r = show_blob(run, run->blob, err);
    return r < 0 ? r : blob_capture_scan(run->blob, err);
}

/* A path of that inode, for the sentence of a failure. */
static void find_path(const struct run *run, uint64_t inode, char *out, size_t out_bytes)
{
    char top[64];
    snprintf(top, sizeof(top), "/proc/self/fd/%d/.", run->tree_fd);
    char *const paths[] = {top, NULL};
    snprintf(out, out_bytes, "its top directory or a removed file");
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    if (!walk)
        return;
    for (FTSENT *entry = fts_read(walk); entry; entry = fts_read(walk))
        if (entry->fts_statp && entry->fts_statp->st_ino == inode && entry->fts_level > 0) {
            snprintf(out, out_bytes, "%s", entry->fts_path + strlen(top) + 1);
            break;
        }
    fts_close(walk);
}

static int keeps_changing(const struct run *run, uint64_t inode, struct err *err)
{
    char path[256];
    find_path(run, inode, path, sizeof(path));
    return err_set(err, ETXTBSY, "it keeps changing (%s); load again when it is quiet", path);
}

/* One look at what has changed: 1 the image is of one moment, 0 look again, -EAGAIN everything must be
 * scanned again, or another -errno. `*last` is one of the inodes. */
static int look(struct run *run, unsigned round, uint64_t *last, struct err *err)
{
    struct inodes taken = {0};
    int r = source_hold(run->source, &run->wait, &taken, err);
    if (r == -EBUSY) {
        r = source_wait_writers(run->source, &run->wait, err);
        return r;
    }
    if (r < 0)
        return r;
    int64_t held_from_ms = source_now_ms();
    bool all = taken.all;
    size_t count = taken.count;
    uint64_t *list = inodes_list(&taken);
    /* After a long scan one of the files may be a large one: changes are not held for the first look. */
    bool final = !all && (count == 0 || (round > 0 && count <= FEW_INODES));
    bool still = false;
    if (final)
        set_late(run, true);
    else
        source_let_go(run->source, &run->generation);
    if (count > 0)
        *last = list[count - 1];
    /* The last look is made without a list too: a rescan may have left what it could not find to the next. */
    if (final || (!all && count > 0))
        r = blob_capture_rescan(run->blob, list, count, err);
    if (final) {
        still = source_let_go(run->source, &run->generation);
        run->held_ms = source_now_ms() - held_from_ms;
        if (!still)
            set_late(run, false);
    }
    inodes_free(&taken);
    if (r < 0)
        return r == -EAGAIN ? -EIO : r;
    return all ? -EAGAIN : still;
}

/* Looks until nothing changed during a look. */
static int settle(struct run *run, struct err *err)
{
    int64_t until_ms = source_now_ms() + SETTLE_MS;
    uint64_t last = 0;
    for (unsigned round = 0;; round++) {
        int r = look(run, round, &last, err);
        if (r != 0)
            return r < 0 ? r : 0;
        if (source_now_ms() > until_ms)
            return keeps_changing(run, last, err);
    }
}

/* Who opened a file through an earlier controller, and still has it: waits for him as for a writer. */
static int wait_strangers(const struct run *run, struct err *err)
{
    char path[256] = "";
    int64_t until_ms = run->began_ms + WRITERS_MS;
    if (source_has_no_strangers(run->source))
        return 0;
    if (strangers_possible(run->tree_fd, source_started_ns(run->source))) {
        int found;
        while ((found = stranger_find(run->tree_fd, path, sizeof(path))) > 0) {
            if (__atomic_load_n(run->wait.cancelled, __ATOMIC_RELAXED))
                return err_set(err, ECANCELED, "cancelled");
            if (source_now_ms() > until_ms)
                return err_set(err, ETXTBSY,
                               "%s is open for writing, perhaps since before the controller was started; "
                               "close it and load again",
                               path);
            nanosleep(&(struct timespec){.tv_nsec = STRANGERS_PAUSE_MS * 1000000L}, NULL);
        }
        if (found < 0)
            return err_sys(err, -found, "it cannot be read");
    }
    source_set_no_strangers(run->source);
    return 0;
}

static int make_image(struct run *run, struct blob_capture_result *result, struct err *err)
{
    for (int tries = 0; tries < RESCANS_MAX; tries++) {
        int r = source_wait_writers(run->source, &run->wait, err);
        if (r == 0)
            r = wait_strangers(run, err);
        if (r == 0)
            r = scan(run, err);
        if (r == 0)
            r = settle(run, err);
        if (r == 0)
            r = blob_capture_finish(run->blob, result, err);
        end_blob(run);
        if (r != -EAGAIN)
            return r;
    }
    return err_set(err, ETXTBSY, "too much of it keeps changing; load again when it is quiet");
}

/* One commit: 0 and the id, held; -EAGAIN: the running snapshot that it equals was just removed. */
static int commit_once(struct run *run, struct catalog_running *row, struct err *err)
{
    int clean = source_commit_begin(run->source, run->name, run->generation);
    if (clean < 0)
        return err_set(err, ENOENT, "it was renamed or removed meanwhile");
    int made = catalog_running_add(run->parts->catalog, row, clean > 0, err);
    int r = made < 0 ? made : runnings_added(run->parts->runnings, row);
    if (made >= 0 && r == 0)
        r = runnings_hold(run->parts->runnings, row->id);
    if (clean > 0)
        source_commit_end(run->source, r == 0 ? row->id : 0);
    if (made < 0)
        return r == -EAGAIN ? -EIO : r;
    if (r == -ENOENT)
        return -EAGAIN;
    return r < 0 ? err_sys(err, -r, "it cannot be noted") : made;
}

static int commit(struct run *run, const struct blob_capture_result *result, struct catalog_running *row,
                  struct err *err)
{
    for (int tries = 0; tries < RENAME_TRIES; tries++) {
        memset(row, 0, sizeof(*row));
        memcpy(row->name, run->name, strlen(run->name) + 1);
        row->content = result->image;
        row->created_ns = clock_wall_ns();
        row->files = result->files;
        row->bytes = result->bytes;
        row->chunks = result->chunks;
        row->new_chunks = result->new_chunks;
        row->new_raw_bytes = result->new_raw_bytes;
        row->new_stored_bytes = result->new_stored_bytes;
        int r = commit_once(run, row, err);
        if (r != -EAGAIN)
            return r;
    }
    return err_set(err, EIO, "its running snapshots are removed as fast as they are made");
}

static void log_result(const struct run *run, const struct blob_capture_result *result,
                       const struct catalog_running *row, bool made)
{
    int64_t took_ms = source_now_ms() - run->began_ms;
    log_info("snapshots/%s: %s %s@%" PRIu64 ": %" PRIu64 " files, %" PRIu64 " bytes, %" PRIu64
             " chunks; new %" PRIu64 " chunks, %" PRIu64 " bytes, stored as %" PRIu64 "; %" PRId64
             ".%03d s, changes held %" PRId64 " ms",
             run->name, made ? "captured as" : "equals", row->name, row->n, result->files, result->bytes,
             result->chunks, result->new_chunks, result->new_raw_bytes, result->new_stored_bytes,
             took_ms / 1000, (int)(took_ms % 1000), run->held_ms);
}

static int run_captured(struct run *run, uint32_t *running, struct err *err)
{
    struct blob_capture_result result = {0};
    struct catalog_running row = {0};
    int r = source_capture_begin(run->source, &run->wait, err);
    if (r < 0)
        return r;
    r = make_image(run, &result, err);
    source_capture_end(run->source);
    if (r == 0)
        r = commit(run, &result, &row, err);
    if (r < 0)
        return r;
    log_result(run, &result, &row, r > 0);
    *running = row.id;
    return 0;
}

int capture_run(const struct capture_parts *parts, const char *name, struct capture_control *control,
                uint32_t *running, struct err *err)
{
    struct run run = {.parts = parts, .name = name, .control = control, .tree_fd = -1};
    run.wait = (struct source_wait){.cancelled = &control->cancelled, .timeout_ms = WRITERS_MS};
    run.began_ms = source_now_ms();
    int r = find_source(parts, name, &run.tree_fd, &run.source, err);
    if (r < 0)
        return r;
    r = run_captured(&run, running, err);
    if (r < 0)
        r = err_prefix(err, "snapshots/%s", name);
    /* Who removed or renamed it would else see a fault of reading. */
    if (r < 0 && r != -ECANCELED && !source_is(run.source, name))
        r = err_set(err, ENOENT, "snapshots/%s: it was renamed or removed meanwhile", name);
    else if (r == -ENOENT)
        r = -(err->code = EIO); /* a file was not there: the snapshot is */
    engine_source_put(run.source);
    close(run.tree_fd);
    return r;
}
