#include "check_images.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fdio.h"
#include "image_need.h"
#include "source.h"

#define FILES_NAMED 20 /* of a running snapshot */
#define ROWS_AT_ONCE 64

/* A running snapshot that something is wrong with. */
struct touched {
    struct touched *next;
    struct catalog_running row;
    bool prepared; /* it is none yet */
};

struct run {
    struct check_images *check;
    struct touched *touched, **touched_end;
    uint64_t done, all; /* steps */
    bool gave_room;
    int failed;    /* the -errno of the first repair that could not be written */
    uint8_t *room; /* BLOB_CHUNK_MAX_BYTES */
    struct err *err;
};

static int is_cancelled(const struct run *run)
{
    return run->check->cancelled && __atomic_load_n(run->check->cancelled, __ATOMIC_RELAXED)
               ? err_set(run->err, ECANCELED, "the check was cancelled")
               : 0;
}

static void say(const struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(const struct run *run, const char *format, ...)
{
    char line[PATH_MAX + 400];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    for (char *c = line; *c; c++) /* of a path: a line stays one */
        if ((unsigned char)*c < ' ' || *c == '\x7f')
            *c = '?';
    run->check->say(run->check->arg, line);
}

static void step(struct run *run)
{
    run->done++;
    if (run->all < run->done) /* one that was made meanwhile */
        run->all = run->done;
    if (run->check->progress)
        run->check->progress(run->check->arg, run->done, run->all);
}

/* On a full disk a part of what is kept for it, once: a collection needs the rest. True: try again. */
static bool make_room(struct run *run, int error)
{
    if (error != -ENOSPC || run->gave_room)
        return false;
    run->gave_room = blob_store_give_room(run->check->store);
    return run->gave_room;
}

/* Who has the image in memory can store it again. */
static int save_again(struct run *run, const struct catalog_running *row)
{
    struct shared_image *shared = NULL;
    struct blob_id id;
    const uint8_t *bytes = NULL;
    if (row->image == 0 || runnings_image_get(run->check->runnings, row->image, &shared, NULL) < 0)
        return -ENOENT;
    size_t len = blob_image_bytes(shared->image, &bytes);
    int r;
    do {
        r = blob_object_save(run->check->store, NULL, bytes, len, &id, NULL);
    } while (make_room(run, r));
    runnings_image_put(run->check->runnings, shared);
    if (r < 0 && run->failed == 0)
        run->failed = r;
    return r < 0 ? r : 0;
}

/* From the store, not from memory: NULL where it cannot be read. */
static int load(const struct run *run, const struct catalog_running *row, struct blob_image **image)
{
    OWNED_BUF struct buf bytes = BUF_EMPTY;
    *image = NULL;
    int r = blob_object_load(run->check->store, &row->content, BLOB_IMAGE_MAX_BYTES, &bytes, NULL);
    if (r == 0)
        r = blob_image_parse(&bytes, image, NULL);
    return r == -ENOMEM ? err_set(run->err, ENOMEM, "no memory to look at an image") : 0;
}

/* ---- what is touched ---- */

static int touch(struct run *run, const struct catalog_running *row, bool prepared)
{
    struct touched *t = calloc(1, sizeof(*t));
    if (!t)
        return err_set(run->err, ENOMEM, "no memory to note what is damaged");
    t->row = *row;
    t->prepared = prepared;
    *run->touched_end = t;
    run->touched_end = &t->next;
    run->all += 2;
    return 0;
}

/* What a collection took of one that was removed is no damage; and as long as it is there nothing of it is
 * taken, so this is asked after its chunks were looked for. */
static bool is_gone(const struct run *run, const struct catalog_running *row, bool prepared)
{
    struct catalog_running now;
    return !prepared && runnings_get(run->check->runnings, row->id, &now) < 0;
}

struct naming {
    struct buf paths; /* each with its NUL */
    unsigned named;
    uint64_t more;
};

static int note_file(void *arg, const struct image_need *need)
{
    struct naming *n = arg;
    if (n->named == FILES_NAMED) {
        n->more++;
        return 0;
    }
    n->named++;
    buf_put(&n->paths, need->path, strlen(need->path) + 1);
    return n->paths.error;
}

static void say_files(const struct run *run, const struct naming *n, const char *what, const char *name)
{
    const char *path = (const char *)n->paths.bytes;
    for (unsigned i = 0; i < n->named; i++, path += strlen(path) + 1)
        say(run, "%s %s %s", what, name, path);
    if (n->more > 0)
        say(run, "%s %s and %" PRIu64 " more files", what, name, n->more);
}

/*
 * Says `what` of each of its files that is not whole, if it is a running snapshot, or of its list of files:
 * how many there are; 0 also when it is not there any more.
 */
static int64_t name_files(const struct run *run, const struct catalog_running *row, bool prepared,
                          const char *what)
{
    char name[RUNNING_NAME_MAX_BYTES + 1];
    struct naming n = {.paths = BUF_EMPTY};
    running_name_format(name, row->name, row->n);
    struct blob_image *image = NULL;
    int r = load(run, row, &image);
    if (r < 0)
        return r;
    r = image ? image_needs(image, run->check->fsck, true, note_file, &n) : 0;
    bool list_is_bad = !image;
    bool gone = is_gone(run, row, prepared);
    blob_image_free(image);
    if (r == 0 && !gone && !prepared && list_is_bad)
        say(run, "%s %s its list of files", what, name);
    else if (r == 0 && !gone && !prepared)
        say_files(run, &n, what, name);
    buf_free(&n.paths);
    if (r < 0)
        return err_set(run->err, -r, "no memory to look for what is damaged");
    return gone ? 0 : list_is_bad ? 1 : n.named + (int64_t)n.more;
}

static int look(struct run *run, const struct catalog_running *row, bool prepared)
{
    int r = is_cancelled(run);
    int64_t files = r < 0 ? r : name_files(run, row, prepared, "touches");
    r = files > 0 ? touch(run, row, prepared) : (int)files;
    step(run);
    return r;
}

static int look_at_runnings(struct run *run)
{
    OWNED struct catalog_running *rows = calloc(ROWS_AT_ONCE, sizeof(*rows));
    if (!rows)
        return err_set(run->err, ENOMEM, "no memory to look for what is damaged");
    int r = 0;
    size_t got = ROWS_AT_ONCE;
    for (uint32_t after = 0; r == 0 && got == ROWS_AT_ONCE;) {
        got = runnings_list(run->check->runnings, after, rows, ROWS_AT_ONCE);
        for (size_t i = 0; r == 0 && i < got; i++)
            r = look(run, &rows[i], false);
        after = got ? rows[got - 1].id : after;
    }
    return r;
}

struct prepared {
    struct catalog_running *rows;
    size_t count;
};

static int take_prepared(void *arg, const struct catalog_running *row)
{
    struct prepared *p = arg;
    struct catalog_running *more = reallocarray(p->rows, p->count + 1, sizeof(*more));
    if (!more)
        return -ENOMEM;
    p->rows = more;
    p->rows[p->count++] = *row;
    return 0;
}

static int look_at_all(struct run *run)
{
    struct prepared p = {0}; /* not looked at under the catalog's lock */
    int r = catalog_prepared(run->check->catalog, take_prepared, &p, run->err);
    run->all = runnings_count(run->check->runnings) + p.count;
    if (r == 0)
        r = look_at_runnings(run);
    for (size_t i = 0; r == 0 && p.rows && i < p.count; i++)
        r = look(run, &p.rows[i], true);
    free(p.rows);
    return r;
}

/* ---- repair ---- */

static int open_below(int dirfd, const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
    return fd < 0 ? -errno : (int)fd;
}

/* Whether that source has the chunk's content where the image has it; then it is stored. */
static bool repair_from(struct run *run, const char *source, const struct image_need *need)
{
    OWNED_FD top = openat(run->check->snapshots_fd, source, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    OWNED_FD fd = top < 0 ? -1 : open_below(top, need->path);
    struct stat st;
    struct blob_id id;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        fd_read_at(fd, run->room, need->chunk.raw_bytes, need->offset_bytes) !=
            (ssize_t)need->chunk.raw_bytes)
        return false;
    id = blob_id_of(blob_store_secret(run->check->store), run->room, need->chunk.raw_bytes);
    if (blob_id_compare(&id, &need->chunk.id) != 0)
        return false;
    int r;
    do {
        r = blob_store_put(run->check->store, NULL, run->room, need->chunk.raw_bytes, &id, NULL);
    } while (make_room(run, r));
    if (r < 0) {
        say(run, "not repaired %s from snapshots/%s: %s", need->path, source, strerror(-r));
        run->failed = run->failed ? run->failed : r;
        return false;
    }
    say(run, "repaired %s from snapshots/%s", need->path, source);
    return true;
}

static bool repair_from_others(struct run *run, const char *but, const struct image_need *need)
{
    OWNED_DIR dir = NULL;
    if (dir_list(run->check->snapshots_fd, &dir) < 0)
        return false;
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
        if (name_is_valid(entry->d_name, strlen(entry->d_name)) && strcmp(entry->d_name, but) != 0 &&
            repair_from(run, entry->d_name, need))
            return true;
    return false;
}

struct repairing {
    struct run *run;
    const char *source;
};

static int repair_chunk(void *arg, const struct image_need *need)
{
    struct repairing *r = arg;
    struct check_images *check = r->run->check;
    int cancelled = is_cancelled(r->run);
    if (cancelled < 0)
        return cancelled;
    if (blob_fsck_has(check->fsck, &need->chunk.id)) /* of another place that needs it */
        return 0;
    if (repair_from(r->run, r->source, need) || repair_from_others(r->run, r->source, need))
        check->repaired++;
    return 0;
}

static int repair(struct run *run, const struct touched *t)
{
    struct repairing repairing = {.run = run, .source = t->row.name};
    if (is_gone(run, &t->row, t->prepared))
        return 0;
    struct blob_image *image = NULL;
    int r = load(run, &t->row, &image);
    if (r == 0 && !image && save_again(run, &t->row) == 0) {
        r = load(run, &t->row, &image);
        run->check->repaired += image != NULL;
        if (image)
            say(run, "repaired %s@%" PRIu64 " its list of files", t->row.name, t->row.n);
    }
    if (r < 0 || !image)
        return r;
    r = image_needs(image, run->check->fsck, false, repair_chunk, &repairing);
    blob_image_free(image);
    if (r == -ENOMEM)
        return err_set(run->err, ENOMEM, "no memory to repair what is damaged");
    return r;
}

/* ---- what is lost ---- */

/* Its source is looked at anew by the next load, and what it still has is stored again. */
static void distrust(const struct run *run, const char *name)
{
    struct stat st;
    if (fstatat(run->check->snapshots_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    struct engine_source *source = sources_get(run->check->sources, name, st.st_ino);
    if (source && source_is(source, name))
        source_distrust(source);
    engine_source_put(source);
}

static int judge(struct run *run, const struct touched *t)
{
    int64_t files = name_files(run, &t->row, t->prepared, "lost");
    if (files > 0 && !t->prepared)
        run->check->lost += (uint64_t)files;
    if (files > 0)
        distrust(run, t->row.name);
    return files < 0 ? (int)files : 0;
}

/* What cannot be written stays in memory, and what is lost is said all the same. */
static void sync_repairs(struct run *run)
{
    struct blob_fsck_result packs;
    blob_fsck_result(run->check->fsck, &packs);
    if (run->check->repaired == 0 && packs.recovered == 0)
        return;
    int r;
    do {
        r = blob_store_sync(run->check->store, NULL);
    } while (make_room(run, r));
    if (r < 0 && run->failed == 0)
        run->failed = r;
}

int check_images(struct check_images *check, struct err *err)
{
    struct run run = {.check = check, .err = err, .room = malloc(BLOB_CHUNK_MAX_BYTES)};
    run.touched_end = &run.touched;
    int r = run.room ? look_at_all(&run) : err_set(err, ENOMEM, "no memory to check images");
    for (const struct touched *t = run.touched; r == 0 && t; t = t->next) {
        r = repair(&run, t);
        step(&run);
    }
    if (r == 0)
        sync_repairs(&run);
    for (const struct touched *t = run.touched; r == 0 && t; t = t->next) {
        r = judge(&run, t);
        step(&run);
    }
    while (run.touched) {
        struct touched *t = run.touched;
        run.touched = t->next;
        free(t);
    }
    free(run.room);
    if (r == 0 && run.failed < 0)
        return err_sys(err, -run.failed, "what is to be repaired cannot be written");
    return r;
}
