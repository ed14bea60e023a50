/* How a capture gets the tree of one moment: a scan, and then looks at what changed meanwhile. */
#include <fts.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fdio.h"
#include "capture_run.h"
#include "strangers.h"

#define SETTLE_MS 20000 /* how long changes may go on after the scan */
#define FEW_INODES 64   /* these are looked at with changes held */
#define STRANGERS_PAUSE_MS 100
#define FINISH_TRIES 3

static void set_late(struct capture_run *run, bool late)
{
    __atomic_store_n(&run->control->late, late, __ATOMIC_SEQ_CST);
}

/* Sets or takes back what capture_cancel reaches. */
static int show_blob(struct capture_run *run, struct blob_capture *blob, struct err *err)
{
    HOLD_LOCK(&run->control->lock);
    run->control->blob = blob;
    if (blob && __atomic_load_n(&run->control->cancelled, __ATOMIC_RELAXED))
        return err_set(err, ECANCELED, "cancelled");
    return 0;
}

void capture_end(struct capture_run *run, bool drop)
{
    int r = show_blob(run, NULL, NULL);
    (void)r; /* it fails for a capture that is set only */
    if (run->kept.blob && drop)
        blob_capture_free(STEAL(run->kept.blob));
    if (run->kept.blob)
        blob_capture_rest(run->kept.blob);
}

int capture_begin(struct capture_run *run, struct capture_control *yields, struct err *err)
{
    struct kept kept;
    int r = source_capture_begin(run->source, &run->wait, yields, &kept, err);
    if (r == 0 && kept.blob) { /* with the directory that it was made of, which is the same one */
        cleanup_fd(&run->kept.tree_fd);
        run->kept = kept;
    }
    return r;
}

void capture_keep(struct capture_run *run)
{
    if (run->kept.blob && blob_capture_bytes(run->kept.blob) > KEPT_BYTES_EACH)
        blob_capture_free(STEAL(run->kept.blob));
    if (!run->kept.blob)
        cleanup_fd(&run->kept.tree_fd);
    source_capture_end(run->source, &run->kept);
    sources_trim(run->parts->sources, KEPT_BYTES_ALL);
}

int capture_scan(struct capture_run *run, struct err *err)
{
    struct blob_capture_options options = {.threads = 0, .level = run->parts->level};
    int r = blob_capture_new(run->parts->store, run->kept.tree_fd, &options, &run->kept.blob, err);
    if (r == 0)
        r = show_blob(run, run->kept.blob, err);
    return r < 0 ? r : blob_capture_scan(run->kept.blob, err);
}

int capture_go_on(struct capture_run *run, struct err *err)
{
    blob_capture_go_on(run->kept.blob);
    int r = show_blob(run, run->kept.blob, err);
    return r < 0 ? r : blob_capture_rescan(run->kept.blob, NULL, 0, err);
}

/* A path of that inode, for the sentence of a failure. */
static void find_path(const struct capture_run *run, uint64_t inode, char *out, size_t out_bytes)
{
    char top[64];
    snprintf(top, sizeof(top), "/proc/self/fd/%d/.", run->kept.tree_fd);
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

static int keeps_changing(const struct capture_run *run, uint64_t inode, struct err *err)
{
    char path[256];
    find_path(run, inode, path, sizeof(path));
    return err_set(err, ETXTBSY, "it keeps changing (%s); load again when it is quiet", path);
}

/* One look at what has changed: 1 the image is of one moment, 0 look again, -EAGAIN everything must be
 * scanned again, or another -errno. `*last` is one of the inodes. */
static int look(struct capture_run *run, unsigned round, uint64_t *last, struct err *err)
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
        r = blob_capture_rescan(run->kept.blob, list, count, err);
    if (r < 0 && !all)
        source_put_back(run->source, list, count);
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

int capture_settle(struct capture_run *run, struct err *err)
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

/* Within a commit: no collection begins, and one that is under way keeps what is stored. So what it has
 * removed before is read again once, and then is there. */
static int finish_in_commit(struct capture_run *run, struct blob_capture_result *result, struct err *err)
{
    for (int tries = 0; tries < FINISH_TRIES; tries++) {
        int r = blob_capture_finish(run->kept.blob, result, err);
        if (r != -ESTALE)
            return r == -EAGAIN ? -EIO : r;
        r = blob_capture_rescan(run->kept.blob, NULL, 0, err);
        if (r < 0)
            return r == -EAGAIN ? -EIO : r;
        r = capture_settle(run, err); /* of one moment again */
        if (r < 0)
            return r;
    }
    return err_set(err, EIO, "its content cannot be kept in the store; load again");
}

int capture_finish(struct capture_run *run, struct blob_capture_result *result, struct err *err)
{
    int r = blob_store_commit_begin(run->parts->store);
    if (r < 0)
        return err_sys(err, -r, "its image cannot be committed");
    r = finish_in_commit(run, result, err);
    if (r < 0)
        blob_store_commit_end(run->parts->store);
    return r;
}

int capture_wait_strangers(const struct capture_run *run, int timeout_ms, struct err *err)
{
    char path[256] = "";
    int64_t until_ms = run->began_ms + timeout_ms;
    if (source_has_no_strangers(run->source))
        return 0;
    if (strangers_possible(run->kept.tree_fd, source_started_ns(run->source))) {
        int found;
        while ((found = stranger_find(run->kept.tree_fd, path, sizeof(path))) > 0) {
            if (__atomic_load_n(run->wait.cancelled, __ATOMIC_RELAXED))
                return err_set(err, ECANCELED, "cancelled");
            if (timeout_ms == 0 || source_now_ms() > until_ms)
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
