#include "scratch.h"

#include <pthread.h>

#include "source.h"

/* ---- the gate, as a table ---- */

enum act { ENTER, LEAVE, CLOSE, OPEN, PASS, HELD };

struct step {
    enum act act;
    int64_t since_ms, now_ms;
    bool expect;
    int64_t wait_ms; /* of ENTER and PASS that wait */
};

static void play(const struct step *steps, size_t count)
{
    struct gate gate = {0};
    for (size_t i = 0; i < count; i++) {
        const struct step *s = &steps[i];
        int64_t wait_ms = -1;
        bool got = s->expect;
        if (s->act == ENTER)
            got = gate_enter(&gate, s->since_ms, s->now_ms, &wait_ms);
        else if (s->act == PASS)
            got = gate_pass(&gate, s->since_ms, s->now_ms, &wait_ms);
        else if (s->act == OPEN)
            got = gate_open(&gate);
        else if (s->act == HELD)
            got = gate_held(&gate);
        else if (s->act == CLOSE)
            gate_close(&gate, s->now_ms);
        else
            gate_leave(&gate);
        if (got != s->expect || (wait_ms != -1 && wait_ms != s->wait_ms))
            fail_msg("step %zu: %d, wait %lld ms", i, got, (long long)wait_ms);
    }
}
#define PLAY(...)                                                                                            \
    play((const struct step[]){__VA_ARGS__}, sizeof((const struct step[]){__VA_ARGS__}) / sizeof(struct step))

static void gate_holds(void **state)
{
    (void)state;
    PLAY({ENTER, 0, 0, true}, {HELD, 0, 0, false}, {CLOSE, 0, 10, false}, {HELD, 0, 0, false},
         {ENTER, 20, 20, false, 90}, {PASS, 20, 20, true}, {LEAVE, 0, 0, false}, {HELD, 0, 0, true},
         {PASS, 30, 30, false, 80}, {OPEN, 0, 0, true}, {ENTER, 20, 40, true});
}

static void gate_breaks(void **state)
{
    (void)state;
    /* 100 ms after the closing it gives way to changes and to writers, and the capture hears of it. */
    PLAY({CLOSE, 0, 10, false}, {ENTER, 50, 109, false, 1}, {ENTER, 50, 110, true}, {OPEN, 0, 0, false});
    PLAY({CLOSE, 0, 10, false}, {PASS, 50, 110, true}, {OPEN, 0, 0, false});
    /* Who waited at an earlier closing does not wait as long again. */
    PLAY({CLOSE, 0, 0, false}, {ENTER, 20, 20, false, 80}, {OPEN, 0, 0, true}, {CLOSE, 0, 60, false},
         {ENTER, 20, 60, false, 60}, {ENTER, 20, 120, true}, {OPEN, 0, 0, false});
}

static void inodes_are_a_set(void **state)
{
    (void)state;
    struct inodes set = {0};
    for (unsigned round = 0; round < 2; round++)
        for (uint64_t i = 1; i <= 1000; i++)
            inodes_add(&set, i << 20);
    inodes_add(&set, 0);
    assert_int_equal(set.count, 1000);
    uint64_t sum = 0;
    const uint64_t *list = inodes_list(&set);
    for (size_t i = 0; i < 1000; i++)
        sum += list[i] >> 20;
    assert_int_equal(sum, 500500);
    inodes_free(&set);
    for (uint64_t i = 1; i <= INODES_MAX; i++)
        inodes_add(&set, i);
    assert_false(set.all);
    inodes_add(&set, INODES_MAX + 1);
    assert_true(set.all);
    assert_int_equal(set.count, 0);
    inodes_add(&set, 1);
    struct inodes other = {0};
    inodes_add(&other, 3);
    inodes_add_set(&other, &set);
    assert_true(other.all);
    inodes_free(&other);
    inodes_free(&set);
}

/* ---- a source ---- */

struct fixture {
    struct catalog *catalog;
    struct sources *sources;
    struct engine_source *web;
};

static const bool never = false;
static const struct source_wait soon = {.cancelled = &never, .timeout_ms = 300};

static void begin(const struct scratch *s, struct fixture *f)
{
    struct err err = {0};
    if (catalog_open(s->path, &f->catalog, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(sources_new(f->catalog, &f->sources), 0);
    f->web = sources_get(f->sources, "web", 7);
    assert_non_null(f->web);
}

static void end(struct fixture *f)
{
    engine_source_put(f->web);
    sources_free(f->sources);
    catalog_close(f->catalog);
}

static struct catalog_running captured(struct fixture *f, uint8_t content, bool clean)
{
    struct catalog_running r = {.name = "web", .files = 3, .bytes = 40, .chunks = 2};
    r.new_chunks = 1;
    r.new_raw_bytes = 20;
    r.created_ns = 99;
    r.content.bytes[0] = content;
    assert_true(catalog_running_add(f->catalog, &r, clean, NULL) >= 0);
    return r;
}

static uint32_t noted(struct fixture *f, const char *name)
{
    uint32_t running = 0;
    assert_int_equal(catalog_source_clean(f->catalog, name, &running, NULL), 0);
    return running;
}

static uint32_t clean_of(struct engine_source *source)
{
    struct catalog_running prepared;
    uint64_t generation;
    uint32_t running = 0;
    return source_known(source, &running, &prepared, &generation) == 1 ? running : 0;
}

static int begin_capture(struct engine_source *source)
{
    struct kept kept;
    int r = source_capture_begin(source, &soon, NULL, &kept, NULL);
    assert_true(r < 0 || !kept.blob);
    return r;
}

static void end_capture(struct engine_source *source)
{
    struct kept none = {.tree_fd = -1};
    source_capture_end(source, &none);
}

static void change(struct engine_source *source, uint64_t inode)
{
    assert_int_equal(engine_change_begin(source, &inode, 1), 0);
    engine_change_end(source);
}

static void a_change_is_noted_first(void **state)
{
    struct fixture f;
    begin(*state, &f);
    uint32_t id = captured(&f, 1, true).id;
    assert_int_equal(clean_of(f.web), id);
    uint64_t inode = 9;
    assert_int_equal(engine_change_begin(f.web, &inode, 1), 0);
    assert_int_equal(noted(&f, "web"), 0);
    assert_int_equal(clean_of(f.web), 0);
    engine_change_end(f.web);
    end(&f);
}

/* Also when nobody asked before whether it is unchanged, and by a writer. */
static void a_writer_is_noted_first(void **state)
{
    struct fixture f;
    begin(*state, &f);
    captured(&f, 1, true);
    assert_int_equal(engine_writer_opened(f.web, 9, -1), 0);
    assert_int_equal(noted(&f, "web"), 0);
    engine_writer_closed(f.web, 9, -1);
    assert_int_equal(clean_of(f.web), 0);
    end(&f);
}

static void renamed_and_removed_are_not_clean(void **state)
{
    struct fixture f;
    begin(*state, &f);
    captured(&f, 1, true);
    struct catalog_running other = {.name = "db"};
    assert_int_equal(catalog_running_add(f.catalog, &other, true, NULL), 1);
    struct engine_source *same = sources_get(f.sources, "web", 7);
    assert_ptr_equal(same, f.web);
    assert_int_equal(engine_source_renamed(f.web, "db"), 0);
    assert_int_equal(noted(&f, "web"), 0);
    assert_int_equal(noted(&f, "db"), 0);
    assert_true(source_is(f.web, "db"));
    assert_int_equal(clean_of(f.web), 0);
    engine_source_removed(f.web);
    assert_false(source_is(f.web, "db"));
    /* The inode number may be given to a new directory while the old object is still held. */
    engine_source_put(same);
    same = sources_get(f.sources, "new", 7);
    assert_ptr_not_equal(same, f.web);
    assert_true(source_is(same, "new"));
    engine_source_put(same);
    end(&f);
}

static void stats_are_of_the_newest(void **state)
{
    struct fixture f;
    begin(*state, &f);
    OWNED_BUF struct buf out = BUF_EMPTY;
    int64_t changed_ns = -1;
    assert_int_equal(engine_source_stats(f.web, &out, &changed_ns), 0);
    assert_int_equal(out.len_bytes, 0);
    captured(&f, 1, false);
    assert_int_equal(engine_source_stats(f.web, &out, &changed_ns), 0);
    assert_int_equal(changed_ns, 99);
    buf_put_u8(&out, 0);
    assert_string_equal((char *)out.bytes, "files 3\nbytes 40\nnew_bytes 20\nnew_chunks 1\nchunks 2\n");
    end(&f);
}

static size_t take(struct fixture *f, struct inodes *taken)
{
    struct err err = {0};
    uint64_t generation = 0;
    if (source_hold(f->web, &soon, taken, &err) < 0)
        fail_msg("%s", err.message);
    assert_true(source_let_go(f->web, &generation));
    return taken->count;
}

static void changes_are_remembered(void **state)
{
    struct fixture f;
    begin(*state, &f);
    struct inodes taken = {0};
    uint64_t under_way = 30;
    change(f.web, 29);
    assert_int_equal(engine_change_begin(f.web, &under_way, 1), 0);
    assert_int_equal(begin_capture(f.web), 0);
    change(f.web, 31);
    /* The change under way has not ended: the tree does not stand still. */
    struct err err = {0};
    assert_int_equal(source_hold(f.web, &soon, &taken, &err), -ETXTBSY);
    engine_change_end(f.web);
    assert_int_equal(take(&f, &taken), 2);
    inodes_free(&taken);
    assert_int_equal(take(&f, &taken), 0);
    change(f.web, 31);
    change(f.web, 31);
    assert_int_equal(take(&f, &taken), 1);
    assert_int_equal(inodes_list(&taken)[0], 31);
    inodes_free(&taken);
    end_capture(f.web);
    change(f.web, 32);
    assert_int_equal(begin_capture(f.web), 0);
    assert_int_equal(take(&f, &taken), 0);
    inodes_free(&taken);
    end_capture(f.web);
    end(&f);
}

static void writers_are_named(void **state)
{
    const struct scratch *s = *state;
    struct fixture f;
    begin(s, &f);
    assert_int_equal(mkdirat(s->fd, "snapshots", 0755), 0);
    assert_int_equal(mkdirat(s->fd, "snapshots/web", 0755), 0);
    assert_int_equal(mkdirat(s->fd, "snapshots/web/bin", 0755), 0);
    int fd = openat(s->fd, "snapshots/web/bin/app", O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    assert_true(fd >= 0);
    struct err err = {0};
    struct inodes taken = {0};
    assert_int_equal(begin_capture(f.web), 0);
    assert_int_equal(engine_writer_opened(f.web, 5, fd), 0);
    assert_int_equal(engine_writer_opened(f.web, 5, -1), 0);
    engine_writer_closed(f.web, 5, -1);
    assert_int_equal(source_hold(f.web, &soon, &taken, &err), -EBUSY);
    assert_int_equal(source_wait_writers(f.web, &soon, &err), -ETXTBSY);
    assert_string_equal(err.message, "bin/app is open for writing; close it and load again");
    bool cancelled = true;
    const struct source_wait stopped = {.cancelled = &cancelled, .timeout_ms = 10000};
    assert_int_equal(source_wait_writers(f.web, &stopped, &err), -ECANCELED);
    /* An open file without a name is in no tree. */
    assert_int_equal(unlinkat(s->fd, "snapshots/web/bin/app", 0), 0);
    assert_int_equal(source_wait_writers(f.web, &soon, &err), 0);
    engine_writer_closed(f.web, 5, fd);
    close(fd);
    end_capture(f.web);
    end(&f);
}

static void the_commit_is_ordered(void **state)
{
    struct fixture f;
    begin(*state, &f);
    struct inodes taken = {0};
    uint64_t generation = 0;
    assert_int_equal(begin_capture(f.web), 0);
    assert_int_equal(source_hold(f.web, &soon, &taken, NULL), 0);
    assert_true(source_let_go(f.web, &generation));
    end_capture(f.web);
    assert_int_equal(source_commit_begin(f.web, "db", generation), -ENOENT);
    assert_int_equal(source_commit_begin(f.web, "web", generation), 1);
    uint32_t id = captured(&f, 1, true).id;
    source_commit_end(f.web, id, NULL);
    assert_int_equal(clean_of(f.web), id);
    change(f.web, 9);
    assert_int_equal(source_commit_begin(f.web, "web", generation), 0);
    assert_int_equal(noted(&f, "web"), 0);
    end(&f);
}

static void what_is_prepared_is_known(void **state)
{
    struct fixture f;
    begin(*state, &f);
    struct inodes taken = {0};
    struct catalog_running ahead = {.name = "web", .files = 5}, found;
    uint64_t generation = 0, as_of = 0;
    uint32_t running;
    for (int restarted = 0; restarted < 2; restarted++) {
        assert_int_equal(begin_capture(f.web), 0);
        assert_int_equal(source_hold(f.web, &soon, &taken, NULL), 0);
        assert_true(source_let_go(f.web, &generation));
        end_capture(f.web);
        assert_int_equal(source_commit_begin(f.web, "web", generation), 1);
        assert_int_equal(catalog_source_prepare(f.catalog, &ahead, NULL), 0);
        source_commit_end(f.web, 0, &ahead);
        if (restarted) {
            engine_source_put(f.web);
            f.web = sources_get(f.sources, "web", 7);
            generation = 0;
        }
        assert_int_equal(source_known(f.web, &running, &found, &as_of), 2);
        assert_memory_equal(&found, &ahead, sizeof(found));
        assert_int_equal(as_of, generation);
        change(f.web, 9);
        assert_int_equal(source_known(f.web, &running, &found, &as_of), 0);
        assert_int_equal(catalog_source_prepared(f.catalog, "web", &found, NULL), 0);
    }
    end(&f);
}

static void take_leaves_what_is_being_changed(void **state)
{
    struct fixture f;
    begin(*state, &f);
    struct inodes taken = {0};
    uint64_t under_way = 30;
    assert_int_equal(begin_capture(f.web), 0);
    change(f.web, 31);
    assert_int_equal(engine_change_begin(f.web, &under_way, 1), 0);
    assert_int_equal(engine_writer_opened(f.web, 32, -1), 0);
    assert_true(source_take(f.web, &taken));
    assert_true(inodes_has(&taken, 31));
    assert_int_equal(taken.count, 2); /* 30 is in both: it is looked at now, and again */
    inodes_free(&taken);
    engine_change_end(f.web);
    assert_true(source_take(f.web, &taken));
    assert_int_equal(taken.count, 1);
    assert_true(inodes_has(&taken, 30));
    source_put_back(f.web, &under_way, 1);
    inodes_free(&taken);
    engine_writer_closed(f.web, 32, -1);
    assert_true(source_take(f.web, &taken));
    assert_int_equal(taken.count, 2);
    assert_true(inodes_has(&taken, 30) && inodes_has(&taken, 32) && !inodes_has(&taken, 31));
    inodes_free(&taken);
    for (uint64_t i = 1; i <= INODES_MAX + 1; i++)
        change(f.web, i);
    assert_false(source_take(f.web, &taken));
    inodes_free(&taken);
    end_capture(f.web);
    end(&f);
}

static void count_wakes(void *arg)
{
    ++*(unsigned *)arg;
}

static void those_that_change_are_queued_once(void **state)
{
    struct fixture f;
    unsigned wakes = 0;
    begin(*state, &f);
    sources_watch(f.sources, count_wakes, &wakes);
    struct engine_source *db = sources_get(f.sources, "db", 8);
    assert_null(sources_next_changed(f.sources));
    change(f.web, 1);
    change(f.web, 2);
    change(db, 1);
    assert_int_equal(wakes, 2);
    engine_source_put(db); /* the queue has it still */
    assert_ptr_equal(sources_next_changed(f.sources), db);
    assert_ptr_equal(sources_next_changed(f.sources), f.web);
    assert_null(sources_next_changed(f.sources));
    engine_source_put(db);
    engine_source_put(f.web);
    change(f.web, 1);
    assert_int_equal(wakes, 3);
    end(&f);
}

static void *one_change(void *arg)
{
    change(arg, 77);
    return NULL;
}

/* A change waits for a held tree, but 100 ms only; and for a commit of `unchanged`, after which it is noted.
 */
static void changes_wait(void **state)
{
    struct fixture f;
    begin(*state, &f);
    struct inodes taken = {0};
    uint64_t generation = 0;
    pthread_t thread;
    change(f.web, 1);
    assert_int_equal(begin_capture(f.web), 0);
    int64_t from_ms = source_now_ms();
    assert_int_equal(source_hold(f.web, &soon, &taken, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, one_change, f.web), 0);
    pthread_join(thread, NULL);
    int64_t took_ms = source_now_ms() - from_ms;
    assert_true(took_ms >= 80 && took_ms < 4000);
    assert_false(source_let_go(f.web, &generation));
    assert_int_equal(take(&f, &taken), 1);
    inodes_free(&taken);
    end_capture(f.web);

    assert_int_equal(source_hold(f.web, &soon, &taken, NULL), 0);
    assert_true(source_let_go(f.web, &generation));
    assert_int_equal(source_commit_begin(f.web, "web", generation), 1);
    assert_int_equal(pthread_create(&thread, NULL, one_change, f.web), 0);
    usleep(50000);
    uint32_t id = captured(&f, 1, true).id;
    assert_int_equal(noted(&f, "web"), id);
    source_commit_end(f.web, id, NULL);
    pthread_join(thread, NULL);
    assert_int_equal(noted(&f, "web"), 0);
    assert_int_equal(clean_of(f.web), 0);
    end(&f);
}

struct crowd {
    struct fixture f;
    unsigned shared; /* changed inside begin and end only, read while held: a race if the gate leaks */
};

static void *change_often(void *arg)
{
    struct crowd *crowd = arg;
    for (unsigned i = 0; i < 300; i++) {
        uint64_t inode = 100 + i % 5;
        if (i % 3 == 0) {
            (void)!engine_writer_opened(crowd->f.web, inode, -1);
            engine_writer_closed(crowd->f.web, inode, -1);
        }
        if (engine_change_begin(crowd->f.web, &inode, 1) < 0)
            return (void *)1;
        __atomic_add_fetch(&crowd->shared, 1, __ATOMIC_RELAXED);
        engine_change_end(crowd->f.web);
    }
    return NULL;
}

static void a_held_tree_stands_still(void **state)
{
    struct crowd crowd = {0};
    begin(*state, &crowd.f);
    pthread_t threads[3];
    assert_int_equal(begin_capture(crowd.f.web), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, change_often, &crowd), 0);
    for (unsigned round = 0; round < 50; round++) {
        struct inodes taken = {0};
        uint64_t generation = 0;
        int r = source_hold(crowd.f.web, &soon, &taken, NULL);
        if (r == -EBUSY)
            continue;
        assert_int_equal(r, 0);
        unsigned before = __atomic_load_n(&crowd.shared, __ATOMIC_RELAXED);
        usleep(200);
        unsigned after = __atomic_load_n(&crowd.shared, __ATOMIC_RELAXED);
        if (source_let_go(crowd.f.web, &generation))
            assert_int_equal(before, after);
        inodes_free(&taken);
    }
    for (size_t i = 0; i < 3; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(crowd.shared, 900);
    end_capture(crowd.f.web);
    end(&crowd.f);
}

#define WITH_SCRATCH(f) cmocka_unit_test_setup_teardown(f, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gate_holds),
        cmocka_unit_test(gate_breaks),
        cmocka_unit_test(inodes_are_a_set),
        WITH_SCRATCH(a_change_is_noted_first),
        WITH_SCRATCH(a_writer_is_noted_first),
        WITH_SCRATCH(renamed_and_removed_are_not_clean),
        WITH_SCRATCH(stats_are_of_the_newest),
        WITH_SCRATCH(changes_are_remembered),
        WITH_SCRATCH(writers_are_named),
        WITH_SCRATCH(the_commit_is_ordered),
        WITH_SCRATCH(what_is_prepared_is_known),
        WITH_SCRATCH(take_leaves_what_is_being_changed),
        WITH_SCRATCH(those_that_change_are_queued_once),
        WITH_SCRATCH(changes_wait),
        WITH_SCRATCH(a_held_tree_stands_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
