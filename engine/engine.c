/*
 * Opening and closing: the store's directory, its lock, and the parts of the engine in their order.
 *
 *   STORE/format     "bladefs store 1\n"
 *   STORE/lock       flock'd by the controller, with its pid, and "ending" when it has begun to end
 *   STORE/catalog.db the catalog (catalog.c)
 *   STORE/snapshots/ the trees of the source snapshots
 *   the chunks       blob/FORMAT.md
 *   STORE/logs/      the kept output of the slots (fleet)
 */
#include "engine/engine.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "base/fdio.h"
#include "base/log.h"
#include "parts.h"
#include "store_text.h"

#define FORMAT_FILE "format"
#define FORMAT_FILE_NEW "format.new" /* file_replace's temporary */
#define FORMAT_WORDS "bladefs store "
#define LOCK_FILE "lock"
#define LOCK_ENDING "ending\n" /* in it, behind the pid */
#define CACHE_BYTES ((size_t)32 << 20)
#define LEVEL_DEFAULT 1

enum { LOCK_GRACE_MS = 1000, LOCK_ENDING_MS = 30000, LOCK_LOOK_MS = 20 };

/* 0, or -ENOENT when there is no such file. */
static int check_format(const char *path, int store_fd, struct err *err)
{
    OWNED_BUF struct buf text = BUF_EMPTY;
    int r = file_read(store_fd, FORMAT_FILE, 256, &text);
    if (r == -ENOENT)
        return r;
    if (r < 0)
        return err_sys(err, -r, "%s/" FORMAT_FILE, path);
    buf_put_u8(&text, 0);
    if (text.error)
        return err_set(err, ENOMEM, "%s: no memory", path);
    const char *line = (const char *)text.bytes;
    size_t words = strlen(FORMAT_WORDS);
    if (strncmp(line, FORMAT_WORDS, words) != 0 || line[words] < '1' || line[words] > '9')
        return err_set(err, EINVAL, "%s/" FORMAT_FILE " is not that of a store of bladefs", path);
    errno = 0;
    unsigned long format = strtoul(line + words, NULL, 10);
    if (errno != 0 || format > ENGINE_STORE_FORMAT)
        return err_set(err, EPROTONOSUPPORT,
                       "%s is a store of format %lu, this program reads up to %d: use the newer bladefs",
                       path, format, ENGINE_STORE_FORMAT);
    return 0;
}

/* Whether there is nothing in it but what an empty file system has or an opening that broke off has left. */
static int check_empty(const char *path, int store_fd, struct err *err)
{
    OWNED_DIR dir = NULL;
    int r = dir_list(store_fd, &dir);
    if (r < 0)
        return err_sys(err, -r, "%s", path);
    static const char *const known[] = {".", "..", "lost+found", LOCK_FILE, FORMAT_FILE_NEW};
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry)
            return errno ? err_sys(err, errno, "%s", path) : 0;
        bool found = false;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            found = found || strcmp(entry->d_name, known[i]) == 0;
        if (!found)
            return err_set(err, ENOTEMPTY,
                           "%s is not empty and no store of bladefs: give it a new or an empty directory",
                           path);
    }
}

static int in_use(const char *path, int lock_fd, struct err *err)
{
    char pid[24] = "";
    ssize_t n = fd_read_at(lock_fd, pid, sizeof(pid) - 1, 0);
    if (n <= 0 || pid[0] < '1' || pid[0] > '9')
        return err_set(err, EBUSY, "%s is in use by another controller", path);
    pid[strcspn(pid, "\n")] = '\0';
    return err_set(err, EBUSY, "%s is in use by another controller, process %s", path, pid);
}

/* Whether who holds the lock has said that it ends. */
static bool holder_ends(int lock_fd)
{
    char line[48] = "";
    ssize_t n = fd_read_at(lock_fd, line, sizeof(line) - 1, 0);
    return n > 0 && strstr(line, LOCK_ENDING);
}

/*
 * umount(8) is back before the controller has ended, and a killed one takes a moment to be gone: what is
 * mounted again right after is to find the store free.
 */
static int lock_or_wait(int lock_fd)
{
    for (int waited_ms = 0;; waited_ms += LOCK_LOOK_MS) {
        if (flock(lock_fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK)
            return -errno;
        if (waited_ms >= (holder_ends(lock_fd) ? LOCK_ENDING_MS : LOCK_GRACE_MS))
            return -EWOULDBLOCK;
        nanosleep(&(struct timespec){.tv_nsec = LOCK_LOOK_MS * 1000000L}, NULL);
    }
}

/* For who waits in lock_or_wait. On a full disk the line stays as it is, and then he waits less long. */
static void say_that_it_ends(int lock_fd)
{
    char line[48];
    int n = snprintf(line, sizeof(line), "%d\n" LOCK_ENDING, (int)getpid());
    if (lock_fd >= 0 && fd_write_at(lock_fd, line, (size_t)n, 0) < 0)
        log_debug("the lock's line stays as it is");
}

static int lock_store(const char *path, int store_fd, struct err *err)
{
    OWNED_FD fd = openat(store_fd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(err, errno, "%s/" LOCK_FILE, path);
    int locked = lock_or_wait(fd);
    if (locked < 0)
        return locked == -EWOULDBLOCK ? in_use(path, fd, err) : err_sys(err, -locked, "%s/" LOCK_FILE, path);
    char pid[24];
    int n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    /* Written before it is cut: on a full disk the old one's block is what there is. */
    int r = fd_write_at(fd, pid, (size_t)n, 0);
    if (r == 0 && ftruncate(fd, n) < 0)
        r = -errno;
    return r < 0 ? err_sys(err, -r, "%s/" LOCK_FILE, path) : steal_fd(&fd);
}

static int make_format(const char *path, int store_fd, struct err *err)
{
    char line[40];
    int n = snprintf(line, sizeof(line), FORMAT_WORDS "%d\n", ENGINE_STORE_FORMAT);
    int r = file_replace(store_fd, FORMAT_FILE, 0600, line, (size_t)n);
    return r < 0 ? err_sys(err, -r, "%s/" FORMAT_FILE, path) : 0;
}

/* 0750: chown and chmod of /snapshots reach this directory, and stay. */
static int open_snapshots(const char *path, int store_fd, struct err *err)
{
    bool made = mkdirat(store_fd, "snapshots", 0750) == 0;
    if (!made && errno != EEXIST)
        return err_sys(err, errno, "%s/snapshots", path);
    OWNED_FD fd = openat(store_fd, "snapshots", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || (made && (fchmod(fd, 0750) < 0 || fsync(store_fd) < 0)))
        return err_sys(err, errno, "%s/snapshots", path);
    return steal_fd(&fd);
}

/* `make`: it is made where there is none. It is checked, and locked before anything is written. */
static int open_directory(struct engine *engine, const char *path, bool make, struct err *err)
{
    if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "cannot make the store %s", path);
    engine->store_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (engine->store_fd < 0)
        return err_sys(err, errno, "cannot open the store %s", path);
    int r = check_format(path, engine->store_fd, err);
    if (r == -ENOENT)
        r = make ? check_empty(path, engine->store_fd, err)
                 : err_set(err, ENOENT, "%s is no store of bladefs", path);
    if (r < 0)
        return r;
    engine->lock_fd = lock_store(path, engine->store_fd, err);
    if (engine->lock_fd < 0)
        return engine->lock_fd;
    /* Another one may have made it, and gone, before the lock was ours. */
    r = check_format(path, engine->store_fd, err);
    if (r == -ENOENT)
        r = make_format(path, engine->store_fd, err);
    if (r < 0)
        return r;
    engine->snapshots_fd = open_snapshots(path, engine->store_fd, err);
    return engine->snapshots_fd < 0 ? engine->snapshots_fd : 0;
}

static void show_changed(void *arg)
{
    struct engine *engine = arg;
    fleet_notify(engine->fleet, ENGINE_STORE, 0);
}

static bool name_object(void *arg, const struct blob_id *object, char out[RUNNING_NAME_MAX_BYTES + 1])
{
    const struct engine *engine = arg;
    struct catalog_running row;
    if (!runnings_of_content(engine->runnings, object, &row))
        return false;
    running_name_format(out, row.name, row.n);
    return true;
}

static int open_store(struct engine *e, const char *path, int level, struct err *err)
{
    int r = catalog_open(path, &e->catalog, err);
    if (r == 0)
        r = blob_store_open(e->store_fd, level, &e->store, err);
    if (r == 0 &&
        (blob_cache_new(e->store, CACHE_BYTES, &e->cache) < 0 || sources_new(e->catalog, &e->sources) < 0))
        r = err_set(err, ENOMEM, "%s: no memory", path);
    if (r == 0)
        r = runnings_new(e->store, e->catalog, &e->runnings, err);
    return r;
}

static int open_checker(struct engine *e, const struct checker_parts *shown, struct err *err)
{
    struct checker_parts parts = *shown;
    parts.store = e->store;
    parts.catalog = e->catalog;
    parts.runnings = e->runnings;
    parts.sources = e->sources;
    parts.snapshots_fd = e->snapshots_fd;
    return checker_new(&parts, &e->checker, err);
}

static int open_parts(struct engine *e, const struct engine_options *options, struct err *err)
{
    int level = options->level ? options->level : LEVEL_DEFAULT;
    int r = open_store(e, options->store_path, level, err);
    if (r == 0)
        r = captures_new(e->store, e->catalog, e->runnings, e->sources, e->snapshots_fd, level, &e->captures,
                         err);
    if (r == 0)
        r = open_checker(e, &(struct checker_parts){.changed = show_changed, .arg = e}, err);
    struct capture_parts parts = {.store = e->store,
                                  .catalog = e->catalog,
                                  .runnings = e->runnings,
                                  .sources = e->sources,
                                  .snapshots_fd = e->snapshots_fd,
                                  .level = level};
    if (r == 0)
        r = collector_new(
            e->store, &(struct collector_events){.collected = show_changed, .name = name_object, .arg = e},
            &e->collector, err);
    if (r == 0 && !options->no_eager)
        r = eager_new(&parts, &e->eager, err);
    if (r < 0)
        return r;
    e->roots[0] = (struct blob_gc_roots){.list = runnings_roots, .cookie = e->runnings};
    e->roots[1] = (struct blob_gc_roots){.list = sources_roots, .cookie = e->sources};
    if (e->keep > 0)
        captures_watch(e->captures, runnings_keep_newest, e);
    struct fleet_options fleet = {.store_fd = e->store_fd,
                                  .store = e->store,
                                  .catalog = e->catalog,
                                  .runnings = e->runnings,
                                  .captures = e->captures,
                                  .listen_host = options->listen_host,
                                  .listen_port = options->listen_port};
    r = fleet_new(&fleet, &e->fleet, err);
    if (r == 0)
        collector_start(e->collector, e->roots, sizeof(e->roots) / sizeof(e->roots[0]));
    return r;
}

int engine_open(const struct engine_options *options, struct engine **out, struct err *err)
{
    struct engine *engine = calloc(1, sizeof(*engine));
    if (!engine)
        return err_set(err, ENOMEM, "%s: no memory", options->store_path);
    engine->store_fd = engine->lock_fd = engine->snapshots_fd = -1;
    engine->keep = options->keep;
    int r = open_directory(engine, options->store_path, true, err);
    if (r == 0)
        r = open_parts(engine, options, err);
    if (r < 0) {
        engine_close(engine);
        return r;
    }
    *out = engine;
    return 0;
}

int engine_check_store(const char *store_path,
                       void (*progress)(void *arg, unsigned percent, uint64_t all_bytes), void *arg,
                       struct buf *out, struct err *err)
{
    struct engine *engine = calloc(1, sizeof(*engine));
    if (!engine)
        return err_set(err, ENOMEM, "%s: no memory", store_path);
    engine->store_fd = engine->lock_fd = engine->snapshots_fd = -1;
    int r = open_directory(engine, store_path, false, err);
    if (r == 0)
        r = open_store(engine, store_path, LEVEL_DEFAULT, err);
    if (r == 0)
        r = open_checker(engine, &(struct checker_parts){.progress = progress, .arg = arg}, err);
    if (r == 0) {
        r = checker_run(engine->checker, err);
        checker_show(engine->checker, out, NULL);
        if (store_show_mends(engine->store, out) && r == ENGINE_CHECK_WHOLE)
            r = ENGINE_CHECK_REPAIRED;
    }
    engine_close(engine);
    return r >= 0 && out->error ? err_set(err, ENOMEM, "%s: no memory", store_path) : r;
}

/* Collections and checks tell the fleet, the fleet asks the captures, and these ask the rest: so they go in
 * that order.
 */
void engine_close(struct engine *engine)
{
    if (!engine)
        return;
    struct err err = {0};
    say_that_it_ends(engine->lock_fd);
    if (engine->captures)
        captures_watch(engine->captures, NULL, NULL);
    collector_stop(engine->collector);
    checker_stop(engine->checker);
    if (engine->fleet)
        fleet_free(engine->fleet);
    eager_free(engine->eager);
    captures_free(engine->captures);
    collector_free(engine->collector);
    checker_free(engine->checker);
    runnings_free(engine->runnings);
    sources_free(engine->sources);
    if (engine->cache)
        blob_cache_free(engine->cache);
    if (engine->store && blob_store_sync(engine->store, &err) < 0)
        log_warn("%s", err.message);
    if (engine->store)
        blob_store_close(engine->store);
    catalog_close(engine->catalog);
    cleanup_fd(&engine->snapshots_fd);
    cleanup_fd(&engine->lock_fd);
    cleanup_fd(&engine->store_fd);
    free(engine);
}

int engine_snapshots_fd(const struct engine *engine)
{
    return engine->snapshots_fd;
}
