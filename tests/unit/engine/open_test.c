#include "scratch.h"

#include <sys/wait.h>

#include "base/log.h"
#include "parts.h"

/* A stand-in for the fleet: no port is opened, and what it is told is counted. */
struct fleet {
    unsigned told[ENGINE_STORE + 1];
};

int fleet_new(const struct fleet_options *options, struct fleet **out, struct err *err)
{
    if (strcmp(options->listen_port, "taken") == 0)
        return err_set(err, EADDRINUSE, "the port is in use");
    *out = calloc(1, sizeof(struct fleet));
    return *out ? 0 : err_set(err, ENOMEM, "no memory");
}

void fleet_free(struct fleet *fleet)
{
    free(fleet);
}

void fleet_notify(struct fleet *fleet, enum engine_topic topic, uint32_t slot)
{
    assert_int_equal(slot, 0);
    fleet->told[topic]++;
}

static int open_store(const char *path, const char *port, struct engine **out, struct err *err)
{
    const struct engine_options options = {
        .store_path = path, .listen_host = "127.0.0.1", .listen_port = port};
    return engine_open(&options, out, err);
}

static struct engine *must_open(const char *path)
{
    struct engine *engine = NULL;
    struct err err = {0};
    if (open_store(path, "0", &engine, &err) < 0)
        fail_msg("%s", err.message);
    return engine;
}

static void must_refuse(const char *path, int code, const char *words)
{
    struct engine *engine = NULL;
    struct err err = {0};
    assert_int_equal(open_store(path, "0", &engine, &err), -code);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, words) || strchr(err.message, '\n'))
        fail_msg("%s", err.message);
}

static mode_t mode_of(int dirfd, const char *name)
{
    struct stat st;
    assert_int_equal(fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st.st_mode & 07777;
}

static void makes_a_store(void **state)
{
    const struct scratch *s = *state;
    char path[512];
    scratch_path(s, "store", path);
    mode_t old = umask(0);
    struct engine *engine = must_open(path);
    umask(old);
    assert_int_equal(mode_of(s->fd, "store"), 0700);
    assert_int_equal(mode_of(s->fd, "store/snapshots"), 0750);
    OWNED_BUF struct buf text = BUF_EMPTY;
    assert_int_equal(file_read(s->fd, "store/format", 100, &text), 0);
    assert_int_equal(text.len_bytes, 16);
    assert_memory_equal(text.bytes, "bladefs store 1\n", 16);
    /* What people do to /snapshots and beside it stays. */
    assert_int_equal(fchmod(engine_snapshots_fd(engine), 0755), 0);
    scratch_write(s->fd, "store/unknown", "mine");
    engine_close(engine);
    engine_close(must_open(path));
    assert_int_equal(mode_of(s->fd, "store/snapshots"), 0755);
    assert_int_equal(mode_of(s->fd, "store/unknown"), 0644);
    /* So does an empty directory that is there already, as a fresh file system has. */
    assert_int_equal(mkdirat(s->fd, "fresh", 0711), 0);
    assert_int_equal(mkdirat(s->fd, "fresh/lost+found", 0700), 0);
    engine_close(must_open(scratch_path(s, "fresh", path)));
    assert_int_equal(mode_of(s->fd, "fresh"), 0711);
}

static void refuses_what_is_no_store(void **state)
{
    const struct scratch *s = *state;
    char path[512];
    scratch_path(s, "home", path);
    assert_int_equal(mkdirat(s->fd, "home", 0755), 0);
    scratch_write(s->fd, "home/letter", "dear ...");
    must_refuse(path, ENOTEMPTY, "no store of bladefs");
    assert_int_equal(faccessat(s->fd, "home/lock", F_OK, 0), -1);
    scratch_write(s->fd, "home/format", "something else\n");
    must_refuse(path, EINVAL, "is not that of a store");
    scratch_write(s->fd, "home/format", "");
    must_refuse(path, EINVAL, "is not that of a store");
    must_refuse(scratch_path(s, "home/letter", path), ENOTDIR, "home/letter");
    must_refuse(scratch_path(s, "none/store", path), ENOENT, "none/store");
}

static void refuses_a_newer_store(void **state)
{
    const struct scratch *s = *state;
    char path[512];
    engine_close(must_open(scratch_path(s, "store", path)));
    scratch_write(s->fd, "store/format", "bladefs store 2\n");
    must_refuse(path, EPROTONOSUPPORT, "format 2, this program reads up to 1");
    scratch_write(s->fd, "store/format", "bladefs store 18446744073709551617\n");
    must_refuse(path, EPROTONOSUPPORT, "newer");
    scratch_write(s->fd, "store/format", "bladefs store 1\n");
    engine_close(must_open(path));
}

static void one_controller_at_a_time(void **state)
{
    char path[512];
    char words[64];
    struct engine *engine = must_open(scratch_path(*state, "store", path));
    snprintf(words, sizeof(words), "another controller, process %d", (int)getpid());
    must_refuse(path, EBUSY, words);
    engine_close(engine);
    /* A killed one leaves the file, not the lock. */
    pid_t child = fork();
    if (child == 0) {
        struct engine *held = NULL;
        _exit(open_store(path, "0", &held, NULL) < 0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    engine_close(must_open(path));
}

static void a_failed_opening_leaves_it_free(void **state)
{
    char path[512];
    struct engine *engine = NULL;
    struct err err = {0};
    assert_int_equal(open_store(scratch_path(*state, "store", path), "taken", &engine, &err), -EADDRINUSE);
    assert_null(engine);
    engine_close(must_open(path));
}

static void the_store_is_shown(void **state)
{
    const struct scratch *s = *state;
    char path[512];
    struct engine *engine = must_open(scratch_path(s, "store", path));
    assert_int_equal(mkdirat(engine_snapshots_fd(engine), "web", 0755), 0);
    OWNED_BUF struct buf text = BUF_EMPTY;
    OWNED_BUF struct buf again = BUF_EMPTY;
    int64_t changed_ns = 0;
    assert_int_equal(engine_show_store(engine, &text, &changed_ns), 0);
    assert_true(changed_ns > 1000000000);
    buf_put_u8(&text, 0);
    const char *shown = (const char *)text.bytes;
    assert_memory_equal(shown, "format 1\nuuid ", 14);
    assert_non_null(strstr(shown, "\nsnapshots 1\nrunning 0\nchunks 0\n"));
    assert_non_null(strstr(shown, "\nbad_chunks 0\ncut_bytes 0\n"));
    engine_close(engine);
    /* The same store, copied elsewhere by its name. */
    assert_int_equal(renameat(s->fd, "store", s->fd, "moved"), 0);
    engine = must_open(scratch_path(s, "moved", path));
    assert_int_equal(engine_show_store(engine, &again, NULL), 0);
    buf_put_u8(&again, 0);
    assert_string_equal((char *)again.bytes, shown);
    engine_close(engine);
}

static void running_snapshots_by_name(void **state)
{
    char path[512];
    struct engine *engine = must_open(scratch_path(*state, "store", path));
    for (uint8_t i = 0; i < 11; i++) {
        struct catalog_running row = {.name = "web", .content = {.bytes = {i}}, .created_ns = i};
        assert_int_equal(catalog_running_add(engine->catalog, &row, false, NULL), 1);
        assert_int_equal(runnings_added(engine->runnings, &row), 0);
    }
    uint32_t id = 0;
    struct engine_running one;
    assert_int_equal(engine_running_find(engine, "web@10", &id), 0);
    assert_int_equal(engine_running_get(engine, id, &one), 0);
    assert_string_equal(one.name, "web@10");
    assert_int_equal(one.created_ns, 9);
    assert_int_equal(engine_running_find(engine, "web@010", &id), -ENOENT);
    assert_int_equal(engine_running_find(engine, "web", &id), -ENOENT);
    assert_int_equal(engine_running_find(engine, "web@12", &id), -ENOENT);
    assert_int_equal(engine_running_remove(engine, id, NULL), 0);
    assert_int_equal(engine->fleet->told[ENGINE_RUNNINGS], 1);
    assert_int_equal(engine_running_remove(engine, id, NULL), -ENOENT);
    struct engine_running list[16];
    int64_t newest_ns = 0;
    assert_int_equal(engine_running_count(engine, &newest_ns), 10);
    assert_true(newest_ns > 0);
    assert_int_equal(engine_running_list(engine, 0, list, 16), 10);
    assert_string_equal(list[8].name, "web@9");
    assert_string_equal(list[9].name, "web@11");
    /* in parts */
    uint32_t last = list[9].id, third = list[2].id;
    assert_int_equal(engine_running_list(engine, third, list, 3), 3);
    assert_string_equal(list[0].name, "web@4");
    assert_string_equal(list[2].name, "web@6");
    assert_int_equal(engine_running_list(engine, last, list, 16), 0);
    assert_int_equal(engine_running_list(engine, UINT32_MAX, list, 16), 0);
    engine_close(engine);
}

#define WITH_SCRATCH(f) cmocka_unit_test_setup_teardown(f, scratch_make, scratch_remove)

int main(void)
{
    log_set_level(LOG_LEVEL_WARN);
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(makes_a_store),
        WITH_SCRATCH(refuses_what_is_no_store),
        WITH_SCRATCH(refuses_a_newer_store),
        WITH_SCRATCH(one_controller_at_a_time),
        WITH_SCRATCH(a_failed_opening_leaves_it_free),
        WITH_SCRATCH(the_store_is_shown),
        WITH_SCRATCH(running_snapshots_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
