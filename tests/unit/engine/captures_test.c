#include "scratch.h"

#include <inttypes.h>
#include <pthread.h>

#include "base/log.h"
#include "captures.h"
#include "fake_capture.h"
#include "source.h"

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t come;
    unsigned count;
    uint32_t running;
    struct err err;
};

struct fixture {
    const struct scratch *scratch;
    int snapshots_fd, web_fd;
    uint64_t web_inode;
    struct catalog *catalog;
    struct runnings *runnings;
    struct sources *sources;
    struct blob_store *store;
    struct captures *captures;
    struct engine_source *web;
    struct fake fake;
};

static uint64_t inode_of(int dirfd, const char *name)
{
    struct stat st;
    assert_int_equal(fstatat(dirfd, name, &st, 0), 0);
    return st.st_ino;
}

static void begin(void **state, struct fixture *f)
{
    struct err err = {0};
    memset(f, 0, sizeof(*f));
    f->scratch = *state;
    assert_int_equal(mkdirat(f->scratch->fd, "snapshots", 0755), 0);
    assert_int_equal(mkdirat(f->scratch->fd, "snapshots/web", 0755), 0);
    f->snapshots_fd = openat(f->scratch->fd, "snapshots", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->web_fd = openat(f->snapshots_fd, "web", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->web_fd >= 0);
    scratch_write(f->web_fd, "a", "1");
    scratch_write(f->web_fd, "b", "1");
    f->web_inode = inode_of(f->snapshots_fd, "web");
    if (catalog_open(f->scratch->path, &f->catalog, &err) < 0 ||
        runnings_new(NULL, f->catalog, &f->runnings, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(sources_new(f->catalog, &f->sources), 0);
    if (blob_store_open(f->scratch->fd, 1, &f->store, &err) < 0 ||
        captures_new(f->store, f->catalog, f->runnings, f->sources, f->snapshots_fd, 1, &f->captures, &err) <
            0)
        fail_msg("%s", err.message);
    f->web = sources_get(f->sources, "web", f->web_inode);
    assert_non_null(f->web);
    fake_use(&f->fake);
}

static void end(struct fixture *f)
{
    captures_free(f->captures);
    engine_source_put(f->web);
    sources_free(f->sources);
    runnings_free(f->runnings);
    blob_store_close(f->store);
    catalog_close(f->catalog);
    close(f->web_fd);
    close(f->snapshots_fd);
}

#define ANSWER                                                                                               \
    {                                                                                                        \
        .lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER                                  \
    }

static void take_answer(void *arg, uint32_t running, const struct err *err)
{
    struct answer *answer = arg;
    HOLD_LOCK(&answer->lock);
    answer->count++;
    answer->running = running;
    answer->err = *err;
    pthread_cond_signal(&answer->come);
}

static uint32_t wait_for(struct answer *answer)
{
    HOLD_LOCK(&answer->lock);
    while (answer->count == 0)
        pthread_cond_wait(&answer->come, &answer->lock);
    assert_int_equal(answer->count, 1);
    assert_true((answer->running == 0) == (answer->err.code != 0));
    return answer->running;
}

static uint32_t capture(struct fixture *f, struct err *err)
{
    struct answer answer = ANSWER;
    assert_true(captures_request(f->captures, "web", take_answer, &answer) != 0);
    uint32_t running = wait_for(&answer);
    if (err)
        *err = answer.err;
    else if (!running)
        fail_msg("%s", answer.err.message);
    return running;
}

/* As fs/ does it. */
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

static void unchanged_is_not_read(void **state)
{
    struct fixture f;
    struct catalog_running row;
    begin(state, &f);
    uint32_t first = capture(&f, NULL);
    assert_int_equal(runnings_get(f.runnings, first, &row), 0);
    assert_string_equal(row.name, "web");
    assert_int_equal(row.n, 1);
    assert_string_equal(f.fake.image, "a=1;b=1;");
    assert_int_equal(capture(&f, NULL), first);
    assert_int_equal(f.fake.scans, 1);
    /* Two holds: it cannot be removed before both are gone. */
    runnings_release(f.runnings, first);
    assert_int_equal(runnings_remove(f.runnings, first, NULL), -ENOTEMPTY);
    runnings_release(f.runnings, first);

    change(&f, "a", "2");
    uint32_t second = capture(&f, NULL);
    assert_int_not_equal(second, first);
    assert_string_equal(f.fake.image, "a=2;b=1;");
    /* Looked at again because it was written, and found equal: the same running snapshot. */
    change(&f, "a", "2");
    assert_int_equal(capture(&f, NULL), second);
    assert_int_equal(capture(&f, NULL), second);
    assert_int_equal(f.fake.scans, 1);
    /* What was captured once is not scanned again. */
    change(&f, "d", "1");
    engine_source_put(f.web);
    f.web = sources_get(f.sources, "web", f.web_inode);
    uint32_t with_d = capture(&f, NULL);
    assert_string_equal(f.fake.image, "a=2;b=1;d=1;");
    assert_int_equal(f.fake.scans, 1);
    runnings_release(f.runnings, with_d);
    second = with_d;
    /* What an unchanged source equals was removed: it is captured anew. */
    assert_int_equal(runnings_remove(f.runnings, second, NULL), 0);
    uint32_t third = capture(&f, NULL);
    assert_int_equal(runnings_get(f.runnings, third, &row), 0);
    assert_int_equal(row.n, 4);
    end(&f);
}

static void unknown_names_fail(void **state)
{
    struct fixture f;
    begin(state, &f);
    const char *const names[] = {"none", "..", "", "a/b"};
    for (size_t i = 0; i < 4; i++) {
        struct answer answer = ANSWER;
        assert_true(captures_request(f.captures, names[i], take_answer, &answer) != 0);
        assert_int_equal(wait_for(&answer), 0);
        assert_int_equal(answer.err.code, i == 0 ? ENOENT : EINVAL);
    }
    end(&f);
}

/* A thing done once, at one point of the capture, from within it. */
struct once {
    struct fixture *f;
    enum fake_at at;
    bool done;
    void (*act)(struct fixture *f);
};

static void do_once(void *arg, enum fake_at at)
{
    struct once *once = arg;
    if (once->done || at != once->at)
        return;
    once->done = true;
    once->act(once->f);
}

static void act_at(struct fixture *f, struct once *once, enum fake_at at, void (*act)(struct fixture *f))
{
    *once = (struct once){.f = f, .at = at, .act = act};
    f->fake.hook = do_once;
    f->fake.arg = once;
}

static void change_both(struct fixture *f)
{
    change(f, "a", "5");
    change(f, "c", "5");
}

static void changes_meanwhile_are_in_it(void **state)
{
    struct fixture f;
    struct once once;
    begin(state, &f);
    act_at(&f, &once, FAKE_RESCAN, change_both);
    change(&f, "b", "4");
    struct once during_scan = {.f = &f, .at = FAKE_SCAN, .act = change_both};
    f.fake.arg = &during_scan;
    uint32_t id = capture(&f, NULL);
    assert_string_equal(f.fake.image, "a=5;b=4;c=5;");
    assert_true(f.fake.rescans >= 1);
    assert_int_equal(capture(&f, NULL), id);
    assert_int_equal(f.fake.scans, 1);
    end(&f);
}

static void change_after_last_look(struct fixture *f)
{
    change(f, "a", "9");
}

static void later_changes_make_it_unclean(void **state)
{
    struct fixture f;
    struct once once;
    begin(state, &f);
    act_at(&f, &once, FAKE_FINISH, change_after_last_look);
    uint32_t first = capture(&f, NULL);
    assert_string_equal(f.fake.image, "a=1;b=1;");
    uint32_t second = capture(&f, NULL);
    assert_int_not_equal(first, second);
    assert_string_equal(f.fake.image, "a=9;b=1;");
    end(&f);
}

struct pair {
    struct fixture *f;
    bool stop;
    unsigned written;
};

/* `a` is always written before `b`, in changes of their own: at every moment a is b or one more. */
static void *write_pairs(void *arg)
{
    struct pair *pair = arg;
    do { /* once at least, however late it starts */
        char text[16];
        snprintf(text, sizeof(text), "%u", ++pair->written);
        change(pair->f, "a", text);
        change(pair->f, "b", text);
        usleep(500);
    } while (!__atomic_load_n(&pair->stop, __ATOMIC_RELAXED));
    return NULL;
}

static void it_is_of_one_moment(void **state)
{
    struct fixture f;
    begin(state, &f);
    struct pair pair = {.f = &f};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_pairs, &pair), 0);
    for (int i = 0; i < 15; i++) {
        unsigned a = 0;
        unsigned b = 0;
        capture(&f, NULL);
        /* The test's own parts only. */
        assert_int_equal(sscanf(f.fake.image, "a=%u;b=%u;", &a, &b), 2); /* NOLINT(cert-err34-c) */
        if (a != b && a != b + 1)
            fail_msg("%s", f.fake.image);
    }
    __atomic_store_n(&pair.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    capture(&f, NULL);
    char last[64];
    snprintf(last, sizeof(last), "a=%u;b=%u;", pair.written, pair.written);
    assert_string_equal(f.fake.image, last);
    end(&f);
}

static void *change_x(void *arg)
{
    change(arg, "x", "1");
    return NULL;
}

struct slow {
    struct fixture *f;
    pthread_t thread;
    unsigned calls;
};

/* The second look is the first one with changes held; it takes too long while a change waits. */
static void look_slowly(void *arg, enum fake_at at)
{
    struct slow *slow = arg;
    if (at == FAKE_SCAN || (at == FAKE_RESCAN && slow->calls == 0)) {
        slow->calls += at == FAKE_RESCAN;
        change(slow->f, "a", "7");
    } else if (at == FAKE_RESCAN && slow->calls++ == 1) {
        pthread_create(&slow->thread, NULL, change_x, slow->f);
        pthread_join(slow->thread, NULL);
    }
}

static void a_long_look_is_broken_off(void **state)
{
    struct fixture f;
    begin(state, &f);
    struct slow slow = {.f = &f};
    f.fake.hook = look_slowly;
    f.fake.arg = &slow;
    uint32_t id = capture(&f, NULL);
    assert_string_equal(f.fake.image, "a=7;b=1;x=1;");
    assert_int_equal(capture(&f, NULL), id);
    end(&f);
}

struct stop {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    enum fake_at at;
    bool arrived, go;
};

static void stop_there(void *arg, enum fake_at at)
{
    struct stop *stop = arg;
    HOLD_LOCK(&stop->lock);
    if (at != stop->at || stop->arrived)
        return;
    stop->arrived = true;
    pthread_cond_broadcast(&stop->moved);
    while (!stop->go)
        pthread_cond_wait(&stop->moved, &stop->lock);
}

static void wait_stopped(struct stop *stop)
{
    HOLD_LOCK(&stop->lock);
    while (!stop->arrived)
        pthread_cond_wait(&stop->moved, &stop->lock);
}

static void let_go(struct stop *stop)
{
    HOLD_LOCK(&stop->lock);
    stop->go = true;
    pthread_cond_broadcast(&stop->moved);
}

#define STOP(where)                                                                                          \
    {                                                                                                        \
        .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER, .at = (where)                  \
    }

static void requests_join(void **state)
{
    struct fixture f;
    begin(state, &f);
    struct stop stop = STOP(FAKE_SCAN);
    struct answer answers[3] = {ANSWER, ANSWER, ANSWER};
    f.fake.hook = stop_there;
    f.fake.arg = &stop;
    captures_request(f.captures, "web", take_answer, &answers[0]);
    wait_stopped(&stop);
    captures_request(f.captures, "web", take_answer, &answers[1]);
    captures_request(f.captures, "web", take_answer, &answers[2]);
    let_go(&stop);
    uint32_t id = wait_for(&answers[0]);
    assert_int_equal(wait_for(&answers[1]), id);
    assert_int_equal(wait_for(&answers[2]), id);
    assert_int_equal(f.fake.scans, 1);
    end(&f);
}

/* After the last look a request may know of a change that the image has not. */
static void late_requests_do_not_join(void **state)
{
    struct fixture f;
    begin(state, &f);
    struct stop stop = STOP(FAKE_FINISH);
    struct answer answers[2] = {ANSWER, ANSWER};
    f.fake.hook = stop_there;
    f.fake.arg = &stop;
    captures_request(f.captures, "web", take_answer, &answers[0]);
    wait_stopped(&stop);
    change(&f, "a", "3");
    captures_request(f.captures, "web", take_answer, &answers[1]);
    let_go(&stop);
    uint32_t first = wait_for(&answers[0]);
    assert_int_not_equal(wait_for(&answers[1]), first);
    assert_string_equal(f.fake.image, "a=3;b=1;");
    end(&f);
}

static void cancelled_requests_end(void **state)
{
    struct fixture f;
    begin(state, &f);
    struct stop stop = STOP(FAKE_SCAN);
    struct answer answers[3] = {ANSWER, ANSWER, ANSWER};
    f.fake.hook = stop_there;
    f.fake.arg = &stop;
    captures_cancel(f.captures, 12345);
    uint64_t first = captures_request(f.captures, "web", take_answer, &answers[0]);
    wait_stopped(&stop);
    uint64_t second = captures_request(f.captures, "web", take_answer, &answers[1]);
    captures_cancel(f.captures, first);
    assert_int_equal(wait_for(&answers[0]), 0);
    assert_int_equal(answers[0].err.code, ECANCELED);
    /* The other one still waits for it; when it goes as well, the capture ends. */
    assert_int_equal(__atomic_load_n(&f.fake.cancels, __ATOMIC_RELAXED), 0);
    captures_cancel(f.captures, second);
    assert_int_equal(wait_for(&answers[1]), 0);
    assert_int_equal(f.fake.cancels, 1);
    captures_request(f.captures, "web", take_answer, &answers[2]);
    let_go(&stop);
    assert_true(wait_for(&answers[2]) != 0);
    assert_string_equal(f.fake.image, "a=1;b=1;");
    assert_int_equal(f.fake.scans, 1); /* it is gone on with */
    end(&f);
}

static void *free_captures(void *arg)
{
    captures_free(arg);
    return NULL;
}

static void freeing_answers_all(void **state)
{
    struct fixture f;
    begin(state, &f);
    struct stop stop = STOP(FAKE_SCAN);
    struct answer answers[2] = {ANSWER, ANSWER};
    f.fake.hook = stop_there;
    f.fake.arg = &stop;
    captures_request(f.captures, "web", take_answer, &answers[0]);
    wait_stopped(&stop);
    stop.at = FAKE_FINISH;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, free_captures, f.captures), 0);
    while (__atomic_load_n(&f.fake.cancels, __ATOMIC_RELAXED) == 0)
        usleep(1000);
    let_go(&stop);
    pthread_join(thread, NULL);
    f.captures = NULL;
    assert_int_equal(wait_for(&answers[0]), 0);
    assert_int_equal(answers[0].err.code, ECANCELED);
    end(&f);
}

static void remove_it(struct fixture *f)
{
    assert_int_equal(renameat(f->snapshots_fd, "web", f->snapshots_fd, "gone"), 0);
    engine_source_removed(f->web);
}

static void removed_meanwhile(void **state)
{
    struct fixture f;
    struct once once;
    struct err err = {0};
    begin(state, &f);
    act_at(&f, &once, FAKE_FINISH, remove_it);
    assert_int_equal(capture(&f, &err), 0);
    assert_int_equal(err.code, ENOENT);
    struct catalog_running row;
    assert_int_equal(catalog_running_newest(f.catalog, "web", &row, NULL), 0);
    end(&f);
}

struct closing {
    struct fixture *f;
    int fd;
};

static void *close_soon(void *arg)
{
    const struct closing *closing = arg;
    usleep(300000);
    assert_int_equal(fd_write_at(closing->fd, "8", 1, 0), 0);
    engine_writer_closed(closing->f->web, inode_of(closing->f->web_fd, "a"), closing->fd);
    close(closing->fd);
    return NULL;
}

static int open_a(struct fixture *f)
{
    int fd = openat(f->web_fd, "a", O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(engine_writer_opened(f->web, inode_of(f->web_fd, "a"), fd), 0);
    return fd;
}

static void a_writer_is_waited_for(void **state)
{
    struct fixture f;
    begin(state, &f);
    struct closing closing = {.f = &f, .fd = open_a(&f)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, close_soon, &closing), 0);
    capture(&f, NULL);
    pthread_join(thread, NULL);
    assert_string_equal(f.fake.image, "a=8;b=1;");
    end(&f);
}

static void a_writer_that_stays_is_named(void **state)
{
    struct fixture f;
    struct err err = {0};
    begin(state, &f);
    int fd = open_a(&f);
    int64_t from_ms = source_now_ms();
    assert_int_equal(capture(&f, &err), 0);
    assert_true(source_now_ms() - from_ms >= 4900);
    assert_int_equal(err.code, ETXTBSY);
    assert_string_equal(err.message, "snapshots/web: a is open for writing; close it and load again");
    engine_writer_closed(f.web, inode_of(f.web_fd, "a"), fd);
    close(fd);
    capture(&f, NULL);
    end(&f);
}

#define WITH_SCRATCH(f) cmocka_unit_test_setup_teardown(f, scratch_make, scratch_remove)

int main(void)
{
    log_set_level(LOG_LEVEL_WARN);
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(unchanged_is_not_read),
        WITH_SCRATCH(unknown_names_fail),
        WITH_SCRATCH(changes_meanwhile_are_in_it),
        WITH_SCRATCH(later_changes_make_it_unclean),
        WITH_SCRATCH(it_is_of_one_moment),
        WITH_SCRATCH(a_long_look_is_broken_off),
        WITH_SCRATCH(requests_join),
        WITH_SCRATCH(late_requests_do_not_join),
        WITH_SCRATCH(cancelled_requests_end),
        WITH_SCRATCH(freeing_answers_all),
        WITH_SCRATCH(removed_meanwhile),
        WITH_SCRATCH(a_writer_is_waited_for),
        WITH_SCRATCH(a_writer_that_stays_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
