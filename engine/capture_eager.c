#include "capture_eager.h"

#include <inttypes.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "capture_run.h"

#define HOLD_MS 1000   /* how long one change may last */
#define LOOKS_MAX 4    /* at what changes meanwhile; then it waits until it is quiet */
#define FREE_ONE_IN 16 /* of the disk is left to others */

/* Whoever writes to the disk comes first. */
static int check_room(const struct capture_run *run, struct err *err)
{
    struct statvfs fs;
    if (fstatvfs(run->kept.tree_fd, &fs) == 0 && fs.f_blocks > 0 && fs.f_bavail < fs.f_blocks / FREE_ONE_IN)
        return err_set(err, ENOSPC, "the disk of the store is nearly full");
    return 0;
}

/* Looks at what changed, while changes go on. */
static int look_at_part(struct capture_run *run, struct err *err)
{
    struct inodes taken = {0};
    bool listed = source_take(run->source, &taken);
    size_t count = taken.count;
    uint64_t *list = inodes_list(&taken);
    int r = listed ? blob_capture_rescan(run->kept.blob, list, count, err) : -EAGAIN;
    if (r < 0 && listed)
        source_put_back(run->source, list, count);
    inodes_free(&taken);
    return r;
}

/* The changes since are held only when there were none: 1: the image is of one moment; 0: it is not quiet. */
static int look_at_whole(struct capture_run *run, struct err *err)
{
    struct inodes taken = {0};
    int r = source_hold(run->source, &run->wait, &taken, err);
    if (r < 0)
        return r == -EBUSY || r == -ETXTBSY ? 0 : r;
    bool all = taken.all;
    size_t count = taken.count;
    uint64_t *list = inodes_list(&taken);
    bool still = source_let_go(run->source, &run->generation) && !all && count == 0;
    if (!all && count > 0)
        r = blob_capture_rescan(run->kept.blob, list, count, err);
    if (r < 0)
        source_put_back(run->source, list, count);
    inodes_free(&taken);
    return r < 0 ? r : all ? -EAGAIN : still;
}

/* 1 when the image is prepared, and durably noted; 0 when it was changed meanwhile. */
static int prepare(struct capture_run *run, struct err *err)
{
    struct blob_capture_result result = {0};
    struct catalog_running row;
    int r = capture_finish(run, &result, err);
    if (r < 0)
        return r;
    capture_row(run, &result, &row);
    r = source_commit_begin(run->source, run->name, run->generation);
    int noted = r > 0 ? catalog_source_prepare(run->parts->catalog, &row, err) : 0;
    if (r > 0)
        source_commit_end(run->source, 0, noted == 0 ? &row : NULL);
    blob_store_commit_end(run->parts->store);
    if (r <= 0 || noted < 0)
        return r <= 0 ? 0 : noted;
    log_debug("snapshots/%s: captured ahead: %" PRIu64 " files, %" PRIu64 " bytes; new %" PRIu64
              " chunks, %" PRIu64 " bytes, stored as %" PRIu64 "; %" PRId64 " ms",
              run->name, row.files, row.bytes, row.new_chunks, row.new_raw_bytes, row.new_stored_bytes,
              source_now_ms() - run->began_ms);
    return 1;
}

static int do_step(struct capture_run *run, enum eager_step step, struct err *err)
{
    int r = check_room(run, err);
    if (r == 0)
        r = capture_wait_strangers(run, 0, err);
    if (r == 0)
        r = run->kept.blob ? capture_go_on(run, err) : capture_scan(run, err);
    if (r == 0 && step == EAGER_PART)
        return look_at_part(run, err);
    for (int looks = 0; r == 0 && looks < LOOKS_MAX; looks++)
        r = look_at_whole(run, err);
    return r == 1 ? prepare(run, err) : r;
}

static enum eager_result judge(const struct capture_run *run, enum eager_step step, int result,
                               const struct err *err)
{
    if (result >= 0)
        return result > 0 ? EAGER_DONE : EAGER_PARTLY;
    if (result == -ECANCELED || result == -EBUSY)
        return EAGER_BROKEN_OFF;
    /* While files are open here, they cannot be told from those of strangers. */
    if (result == -EAGAIN || (result == -ETXTBSY && step == EAGER_PART))
        return EAGER_PARTLY;
    log_debug("snapshots/%s: not captured ahead: %s", run->name, err->message);
    /* A load says to people what they must change. */
    return result == -EINVAL || result == -ENOENT || result == -EXDEV ? EAGER_DONE : EAGER_FAILED;
}

enum eager_result capture_eager(const struct capture_parts *parts, struct engine_source *source,
                                enum eager_step step, struct capture_control *control, bool *kept)
{
    char name[NAME_MAX_BYTES + 1];
    struct err err = {0};
    struct catalog_running known;
    uint32_t running;
    struct capture_run run = {
        .parts = parts, .name = name, .control = control, .source = source, .kept = {.tree_fd = -1}};
    *kept = false;
    source_name(source, name);
    run.wait = (struct source_wait){.cancelled = &control->cancelled, .timeout_ms = HOLD_MS};
    run.began_ms = source_now_ms();
    if (source_known(source, &running, &known, &run.generation) > 0)
        return EAGER_DONE;
    struct engine_source *found = NULL;
    int r = capture_find_source(parts, name, &run.kept.tree_fd, &found, &err);
    bool same = r == 0 && found == source;
    if (r == 0)
        engine_source_put(found);
    if (!same) {
        cleanup_fd(&run.kept.tree_fd);
        return r < 0 ? judge(&run, step, r, &err) : EAGER_PARTLY;
    }
    r = capture_begin(&run, control, &err);
    if (r < 0) {
        cleanup_fd(&run.kept.tree_fd);
        return judge(&run, step, r, &err);
    }
    r = do_step(&run, step, &err);
    capture_end(&run, r == -EAGAIN || r == -ENOMEM);
    *kept = run.kept.blob && blob_capture_bytes(run.kept.blob) <= KEPT_BYTES_EACH;
    capture_keep(&run);
    return judge(&run, step, r, &err);
}
