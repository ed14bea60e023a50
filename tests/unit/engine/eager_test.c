#include "scratch.h"

#include <pthread.h>

#include "base/log.h"
#include "captures.h"
#include "eager.h"
#include "eager_plan.h"
#include "fake_capture.h"
#include "source.h"

/* ---- when: as a table ---- */

struct row {
    const char *what;
    struct eager_memory memory;
    struct eager_facts facts;
    enum eager_step step;
    int64_t wait_ms;
};

static void the_plan(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"nothing changed", {0}, {.now_ms = 5000, .generation = 3}, EAGER_WAIT, -1},
        {"just changed",
         {.first_ms = 5000},
         {.now_ms = 5000, .changed_ms = 5000, .generation = 1},
         EAGER_WAIT,
         500},
        {"quiet", {.first_ms = 5000}, {.now_ms = 5500, .changed_ms = 5000, .generation = 1}, EAGER_WHOLE, -1},
        {"changes for a second",
         {.first_ms = 5000},
         {.now_ms = 6000, .changed_ms = 5900, .generation = 9},
         EAGER_PART,
         -1},
        {"not yet",
         {.first_ms = 5000},
         {.now_ms = 5900, .changed_ms = 5800, .generation = 9},
         EAGER_WAIT,
         100},
        {"open, with something new",
         {.first_ms = 5000},
         {.now_ms = 7000, .changed_ms = 5100, .generation = 2, .open = true},
         EAGER_PART,
         -1},
        {"open, with nothing new",
         {.first_ms = 5000, .ended_ms = 6000, .generation = 2, .kept = true},
         {.now_ms = 90000, .changed_ms = 5100, .generation = 2, .open = true},
         EAGER_WAIT,
         -1},
        {"a load captures it",
         {.first_ms = 5000},
         {.now_ms = 5900, .changed_ms = 5000, .generation = 1, .busy = true},
         EAGER_WAIT,
         50},
        {"parts become seldom",
         {.first_ms = 5000, .ended_ms = 20000, .spacing_ms = 8000, .generation = 8, .kept = true},
         {.now_ms = 27000, .changed_ms = 27000, .generation = 9},
         EAGER_WAIT,
         500},
        {"and the quiet comes before",
         {.first_ms = 5000, .ended_ms = 20000, .spacing_ms = 8000, .generation = 8, .kept = true},
         {.now_ms = 22000, .changed_ms = 21000, .generation = 9},
         EAGER_WHOLE,
         -1},
        {"it rests as it worked",
         {.first_ms = 5000, .ended_ms = 20000, .took_ms = 1000, .generation = 8, .kept = true},
         {.now_ms = 22000, .changed_ms = 21000, .generation = 9},
         EAGER_WAIT,
         2000},
        {"longer where all is read again",
         {.first_ms = 5000, .ended_ms = 20000, .took_ms = 1000, .generation = 8},
         {.now_ms = 22000, .changed_ms = 21000, .generation = 9},
         EAGER_WAIT,
         17000},
        {"after a failure",
         {.first_ms = 5000, .ended_ms = 6000, .not_before_ms = 16000},
         {.now_ms = 7000, .changed_ms = 5000, .generation = 1},
         EAGER_WAIT,
         9000},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t wait_ms = 0;
        enum eager_step step = eager_next(&rows[i].memory, &rows[i].facts, &wait_ms);
        if (step != rows[i].step || (step == EAGER_WAIT && wait_ms != rows[i].wait_ms))
            fail_msg("%s: %d, wait %lld ms", rows[i].what, (int)step, (long long)wait_ms);
    }
}

static void the_memory(void **state)
{
    (void)state;
    struct eager_memory m = {0};
    struct eager_facts f = {.now_ms = 1000, .generation = 4};
    eager_changed(&m, 900);
    eager_changed(&m, 950);
    assert_int_equal(m.first_ms, 900);
    int64_t spacing_ms[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
    for (size_t i = 0; i < sizeof(spacing_ms) / sizeof(spacing_ms[0]); i++) {
        eager_ended(&m, EAGER_PART, EAGER_PARTLY, true, &f, 1200);
        assert_int_equal(m.spacing_ms, spacing_ms[i]);
        assert_int_equal(m.took_ms, 200);
    }
    eager_ended(&m, EAGER_WHOLE, EAGER_BROKEN_OFF, true, &f, 1300);
    assert_int_equal(m.first_ms, 900);
    assert_int_equal(m.took_ms, 0);
    eager_ended(&m, EAGER_WHOLE, EAGER_FAILED, false, &f, 1300);
    assert_int_equal(m.not_before_ms, 1300 + EAGER_RETRY_MS);
    eager_ended(&m, EAGER_WHOLE, EAGER_DONE, true, &f, 1300);
    assert_int_equal(m.first_ms, 0);
    assert_int_equal(m.generation, 4);
    assert_int_equal(m.not_before_ms, 0);
}

/* ---- at work, with a stand-in for blob's capture ---- */

struct fixture {
    const struct scratch *scratch;
    int snapshots_fd, web_fd;
    uint64_t web_inode;
    struct blob_store *store; /* for its lock around commits */
    struct catalog *catalog;
    struct runnings *runnings;
    struct sources *sources;
    struct captures *captures;
    struct eager *eager;
    struct engine_source *web;
    struct fake fake;
};

static void open_parts(struct fixture *f)
{
    struct err err = {0};
    if (catalog_open(f->scratch->path, &f->catalog, &err) < 0 ||
        blob_store_open(f->scratch->fd, 1, &f->store, &err) < 0 ||
        runnings_new(f->store, f->catalog, &f->runnings, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(sources_new(f->catalog, &f->sources), 0);
    struct capture_parts parts = {.store = f->store,
                                  .catalog = f->catalog,
                                  .runnings = f->runnings,
                                  .sources = f->sources,
                                  .snapshots_fd = f->snapshots_fd,
                                  .level = 1};
    if (eager_new(&parts, &f->eager, &err) < 0 || captures_new(f->store, f->catalog, f->runnings, f->sources,
                                                               f->snapshots_fd, 1, &f->captures, &err) < 0)
        fail_msg("%s", err.message);
    f->web = sources_get(f->sources, "web", f->web_inode);
    assert_non_null(f->web);
}

static void close_parts(struct fixture *f)
{
    eager_free(f->eager);
    captures_free(f->captures);
    engine_source_put(f->web);
    sources_free(f->sources);
    runnings_free(f->runnings);
    blob_store_close(f->store);
    catalog_close(f->catalog);
}

static void begin(void **state, struct fixture *f)
{
    struct stat st;
    memset(f, 0, sizeof(*f));
    f->scratch = *state;
    assert_int_equal(mkdirat(f->scratch->fd, "snapshots", 0755), 0);
    assert_int_equal(mkdirat(f->scratch->fd, "snapshots/web", 0755), 0);
    f->snapshots_fd = openat(f->scratch->fd, "snapshots", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->web_fd = openat(f->snapshots_fd, "web", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->web_fd >= 0);
    scratch_write(f->web_fd, "a", "1");
    assert_int_equal(fstat(f->web_fd, &st), 0);
    f->web_inode = st.st_ino;
    fake_use(&f->fake);
    open_parts(f);
}

static void end(struct fixture *f)
{
    close_parts(f);
    close(f->web_fd);
    close(f->snapshots_fd);
}

static void change(struct fixture *f, const char *name, const char *text)
{
    uint64_t inodes[] = {f->web_inode, 0};
    struct stat st;
    size_t count = 1;
    if (fstatat(f->web_fd, name, &st, 0) == 0)
        inodes[count++] = st.st_ino;
    assert_int_equal(engine_change_begin(f->web, inodes, count), 0);
    scratch_write(f->web_fd, name, text);
    engine_change_end(f->web);
}

static bool is_prepared(struct fixture *f, const char *name)
{
    struct catalog_running row;
    return catalog_source_prepared(f->catalog, name, &row, NULL) == 1;
}

static void wait_prepared(struct fixture *f)
{
    for (int i = 0; i < 2000 && (eager_pending(f->eager) > 0 || !is_prepared(f, "web")); i++)
        usleep(10000);
    assert_true(is_prepared(f, "web"));
}

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t come;
    uint32_t running;
    bool came;
};

static void take_answer(void *arg, uint32_t running, const struct err *err)
{
    struct answer *answer = arg;
    if (err->code)
        print_error("%s\n", err->message);
    HOLD_LOCK(&answer->lock);
    answer->running = running;
    answer->came = true;
    pthread_cond_signal(&answer->come);
}

static uint32_t load(struct fixture *f)
{
    struct answer answer = {.lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER};
    assert_true(captures_request(f->captures, "web", take_answer, &answer) != 0);
    HOLD_LOCK(&answer.lock);
    while (!answer.came)
        pthread_cond_wait(&answer.come, &answer.lock);
    assert_true(answer.running != 0);
    runnings_release(f->runnings, answer.running);
    return answer.running;
}

static unsigned reads(const struct fixture *f)
{
    return __atomic_load_n(&f->fake.scans, __ATOMIC_RELAXED) +
           __atomic_load_n(&f->fake.rescans, __ATOMIC_RELAXED);
}

static void a_load_finds_the_work_done(void **state)
{
    struct fixture f;
    struct catalog_running row;
    begin(state, &f);
    change(&f, "b", "2");
    assert_true(eager_pending(f.eager) > 0);
    wait_prepared(&f);
    assert_int_equal(runnings_count(f.runnings), 0); /* nobody loaded it */
    unsigned before = reads(&f);
    uint32_t first = load(&f);
    assert_int_equal(reads(&f), before);
    assert_string_equal(f.fake.image, "a=1;b=2;");
    assert_int_equal(runnings_get(f.runnings, first, &row), 0);
    assert_int_equal(row.files, 2);
    assert_false(is_prepared(&f, "web"));
    assert_int_equal(load(&f), first);
    /* What is changed then is looked at, and not scanned. */
    change(&f, "b", "3");
    wait_prepared(&f);
    assert_int_not_equal(load(&f), first);
    assert_string_equal(f.fake.image, "a=1;b=3;");
    assert_int_equal(f.fake.scans, 1);
    end(&f);
}

static void it_outlives_a_restart(void **state)
{
    struct fixture f;
    begin(state, &f);
    change(&f, "b", "2");
    wait_prepared(&f);
    close_parts(&f);
    open_parts(&f);
    unsigned before = reads(&f);
    load(&f);
    assert_int_equal(reads(&f), before);
    /* What cannot be proved clean is read again, without being asked. */
    change(&f, "b", "4");
    close_parts(&f);
    open_parts(&f);
    wait_prepared(&f);
    load(&f);
    assert_string_equal(f.fake.image, "a=1;b=4;");
    end(&f);
}

static void what_changes_later_is_not_prepared(void **state)
{
    struct fixture f;
    begin(state, &f);
    change(&f, "b", "2");
    wait_prepared(&f);
    change(&f, "b", "5");
    assert_false(is_prepared(&f, "web"));
    load(&f);
    assert_string_equal(f.fake.image, "a=1;b=5;");
    end(&f);
}

static void renamed_is_prepared_anew(void **state)
{
    struct fixture f;
    begin(state, &f);
    change(&f, "b", "2");
    wait_prepared(&f);
    assert_int_equal(renameat(f.snapshots_fd, "web", f.snapshots_fd, "db"), 0);
    assert_int_equal(engine_source_renamed(f.web, "db"), 0);
    assert_false(is_prepared(&f, "web"));
    for (int i = 0; i < 2000 && !is_prepared(&f, "db"); i++)
        usleep(10000);
    assert_true(is_prepared(&f, "db"));
    assert_int_equal(f.fake.scans, 1);
    engine_source_removed(f.web);
    assert_false(is_prepared(&f, "db"));
    end(&f);
}

/* Stands at the scan until the capture is cancelled. */
static void until_cancelled(void *arg, enum fake_at at)
{
    struct fixture *f = arg;
    for (int i = 0; i < 2000 && at == FAKE_SCAN; i++) {
        if (__atomic_load_n(&f->fake.cancels, __ATOMIC_RELAXED) > 0)
            return;
        usleep(10000);
    }
}

static void it_gives_way_to_a_load(void **state)
{
    struct fixture f;
    begin(state, &f);
    f.fake.hook = until_cancelled;
    f.fake.arg = &f;
    change(&f, "b", "2");
    while (__atomic_load_n(&f.fake.scans, __ATOMIC_RELAXED) == 0)
        usleep(1000);
    load(&f);
    assert_string_equal(f.fake.image, "a=1;b=2;");
    assert_true(f.fake.cancels >= 1);
    assert_int_equal(f.fake.scans, 1);
    end(&f);
}

static void an_open_file_is_waited_for(void **state)
{
    struct fixture f;
    begin(state, &f);
    int fd = openat(f.web_fd, "a", O_RDWR | O_CLOEXEC);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(engine_writer_opened(f.web, st.st_ino, fd), 0);
    usleep(1500000);
    assert_false(is_prepared(&f, "web"));
    assert_true(eager_pending(f.eager) > 0);
    assert_int_equal(fd_write_at(fd, "8", 1, 0), 0);
    engine_writer_closed(f.web, st.st_ino, fd);
    close(fd);
    wait_prepared(&f);
    load(&f);
    assert_string_equal(f.fake.image, "a=8;");
    end(&f);
}

#define WITH_SCRATCH(f) cmocka_unit_test_setup_teardown(f, scratch_make, scratch_remove)

int main(void)
{
    log_set_level(LOG_LEVEL_WARN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plan),
        cmocka_unit_test(the_memory),
        WITH_SCRATCH(a_load_finds_the_work_done),
        WITH_SCRATCH(it_outlives_a_restart),
        WITH_SCRATCH(what_changes_later_is_not_prepared),
        WITH_SCRATCH(renamed_is_prepared_anew),
        WITH_SCRATCH(it_gives_way_to_a_load),
        WITH_SCRATCH(an_open_file_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
