#include "capture_job.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fdio.h"
#include "base/log.h"
#include "capture_run.h"

#define RESCANS_MAX 3   /* of the whole tree, when too much changed to be remembered */
#define RENAME_TRIES 10 /* the tree is under its new name before the engine is told */
#define RENAME_PAUSE_MS 10

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
int capture_find_source(const struct capture_parts *parts, const char *name, int *tree_fd,
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

/* When it returns 0 a commit has begun. */
static int make_image(struct capture_run *run, struct blob_capture_result *result, struct err *err)
{
    for (int tries = 0; tries < RESCANS_MAX; tries++) {
        int r = source_wait_writers(run->source, &run->wait, err);
        if (r == 0)
            r = capture_wait_strangers(run, WRITERS_MS, err);
        if (r == 0)
            r = run->kept.blob ? capture_go_on(run, err) : capture_scan(run, err);
        if (r == 0)
            r = capture_settle(run, err);
        if (r == 0)
            r = capture_finish(run, result, err);
        capture_end(run, r == -EAGAIN || r == -ENOMEM);
        if (r != -EAGAIN)
            return r;
    }
    return err_set(err, ETXTBSY, "too much of it keeps changing; load again when it is quiet");
}

/* One commit: 0 and the id, held; -EAGAIN: the running snapshot that it equals was just removed. */
static int commit_once(struct capture_run *run, bool if_unchanged, struct catalog_running *row,
                       struct err *err)
{
    int clean = source_commit_begin(run->source, run->name, run->generation);
    if (clean < 0)
        return err_set(err, ENOENT, "it was renamed or removed meanwhile");
    if (clean == 0 && if_unchanged)
        return err_set(err, ESTALE, "it was changed meanwhile");
    int made = catalog_running_add(run->parts->catalog, row, clean > 0, err);
    int r = made < 0 ? made : runnings_added(run->parts->runnings, row);
    if (made >= 0 && r == 0)
        r = runnings_hold(run->parts->runnings, row->id);
    if (clean > 0)
        source_commit_end(run->source, made >= 0 && r == 0 ? row->id : 0, NULL);
    if (made < 0)
        return r == -EAGAIN ? -EIO : r;
    if (r == -ENOENT)
        return -EAGAIN;
    return r < 0 ? err_sys(err, -r, "it cannot be noted") : made;
}

void capture_row(const struct capture_run *run, const struct blob_capture_result *result,
                 struct catalog_running *row)
{
    memset(row, 0, sizeof(*row));
    memcpy(row->name, run->name, strlen(run->name) + 1);
    row->content = result->image;
    row->files = result->files;
    row->bytes = result->bytes;
    row->chunks = result->chunks;
    row->new_chunks = result->new_chunks;
    row->new_raw_bytes = result->new_raw_bytes;
    row->new_stored_bytes = result->new_stored_bytes;
}

/* `made` is what capture_row made; the row of the catalog comes out in `row`. `if_unchanged`: -ESTALE when
 * something was changed since run->generation. */
static int commit(struct capture_run *run, const struct catalog_running *made, bool if_unchanged,
                  struct catalog_running *row, struct err *err)
{
    for (int tries = 0; tries < RENAME_TRIES; tries++) {
        *row = *made;
        row->created_ns = clock_wall_ns();
        int r = commit_once(run, if_unchanged, row, err);
        if (r != -EAGAIN)
            return r;
    }
    return err_set(err, EIO, "its running snapshots are removed as fast as they are made");
}

static void log_result(const struct capture_run *run, const struct catalog_running *counted,
                       const struct catalog_running *row, bool made)
{
    int64_t took_ms = source_now_ms() - run->began_ms;
    log_info("snapshots/%s: %s %s@%" PRIu64 ": %" PRIu64 " files, %" PRIu64 " bytes, %" PRIu64
             " chunks; new %" PRIu64 " chunks, %" PRIu64 " bytes, stored as %" PRIu64 "; %" PRId64
             ".%03d s, changes held %" PRId64 " ms",
             run->name, made ? "captured as" : "equals", row->name, row->n, counted->files, counted->bytes,
             counted->chunks, counted->new_chunks, counted->new_raw_bytes, counted->new_stored_bytes,
             took_ms / 1000, (int)(took_ms % 1000), run->held_ms);
}

/* What was captured ahead becomes a running snapshot: its id and 1, or 2 when it is a new one; 0: it was
 * changed. */
static int take_prepared(struct capture_run *run, const struct catalog_running *prepared, uint32_t *running,
                         struct err *err)
{
    struct catalog_running row;
    int r = commit(run, prepared, true, &row, err);
    if (r == -ESTALE || r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    log_result(run, prepared, &row, r > 0);
    *running = row.id;
    return r > 0 ? 2 : 1;
}

int capture_unchanged(const struct capture_parts *parts, const char *name, uint32_t *running, struct err *err)
{
    struct capture_run run = {.parts = parts, .name = name, .kept = {.tree_fd = -1}};
    struct catalog_running prepared;
    uint32_t id = 0;
    OWNED_FD fd = -1;
    run.began_ms = source_now_ms();
    int r = capture_find_source(parts, name, &fd, &run.source, err);
    if (r < 0)
        return r;
    r = source_known(run.source, &id, &prepared, &run.generation);
    if (r == 2) {
        r = take_prepared(&run, &prepared, running, err);
    } else if (r == 1) {
        r = runnings_hold(parts->runnings, id) == 0;
        if (r == 1)
            *running = id;
    }
    engine_source_put(run.source);
    return r;
}

static int run_captured(struct capture_run *run, uint32_t *running, struct err *err)
{
    struct blob_capture_result result = {0};
    struct catalog_running made, row = {0};
    int r = capture_begin(run, NULL, err);
    if (r < 0)
        return r;
    r = make_image(run, &result, err);
    capture_keep(run);
    if (r < 0)
        return r;
    capture_row(run, &result, &made);
    r = commit(run, &made, false, &row, err);
    blob_store_commit_end(run->parts->store);
    if (r < 0)
        return r;
    log_result(run, &made, &row, r > 0);
    *running = row.id;
    return r;
}

int capture_run(const struct capture_parts *parts, const char *name, struct capture_control *control,
                uint32_t *running, struct err *err)
{
    struct capture_run run = {.parts = parts, .name = name, .control = control, .kept = {.tree_fd = -1}};
    run.wait = (struct source_wait){.cancelled = &control->cancelled, .timeout_ms = WRITERS_MS};
    run.began_ms = source_now_ms();
    int r = capture_find_source(parts, name, &run.kept.tree_fd, &run.source, err);
    if (r < 0)
        return r;
    r = run_captured(&run, running, err);
    if (r < 0)
        r = err_prefix(err, "snapshots/%s", name);
    /* Who removed or renamed it would else see a fault of reading. */
    if (r < 0 && r != -ECANCELED && !source_is(run.source, name))
        r = err_set(err, ENOENT, "snapshots/%s: it was renamed or removed meanwhile", name);
    else if (r == -ENOENT || r == -ESTALE)
        r = -(err->code = EIO); /* a file was not there: the snapshot is */
    cleanup_fd(&run.kept.tree_fd);
    engine_source_put(run.source);
    return r;
}
