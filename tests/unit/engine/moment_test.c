/* Captures with all that is real, of a tree that is changed all the time. */
#include "scratch.h"

#include <pthread.h>

#include "base/log.h"
#include "parts.h"

#define CAPTURES 8

struct fixture {
    struct engine engine;
    int web_fd;
    uint64_t web_inode;
    struct engine_source *web;
    bool stop;
    unsigned turns;
    uint32_t running;
    struct err err;
    bool answered;
    pthread_mutex_t lock;
    pthread_cond_t come;
};

static void take_answer(void *arg, uint32_t running, const struct err *err)
{
    struct fixture *f = arg;
    HOLD_LOCK(&f->lock);
    f->running = running;
    f->err = *err;
    f->answered = true;
    pthread_cond_signal(&f->come);
}

static uint32_t capture(struct fixture *f)
{
    HOLD_LOCK(&f->lock);
    f->answered = false;
    assert_true(captures_request(f->engine.captures, "web", take_answer, f) != 0);
    while (!f->answered)
        pthread_cond_wait(&f->come, &f->lock);
    if (!f->running)
        fail_msg("%s", f->err.message);
    return f->running;
}

static void begin(void **state, struct fixture *f)
{
    const struct scratch *s = *state;
    struct err err = {0};
    struct stat st;
    memset(f, 0, sizeof(*f));
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->come, NULL);
    assert_int_equal(mkdirat(s->fd, "snapshots", 0755), 0);
    assert_int_equal(mkdirat(s->fd, "snapshots/web", 0755), 0);
    f->engine.snapshots_fd = openat(s->fd, "snapshots", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->web_fd = openat(f->engine.snapshots_fd, "web", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(fstat(f->web_fd, &st), 0);
    f->web_inode = st.st_ino;
    struct engine *e = &f->engine;
    if (blob_store_open(s->fd, 1, &e->store, &err) < 0 || catalog_open(s->path, &e->catalog, &err) < 0 ||
        runnings_new(e->store, e->catalog, &e->runnings, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(blob_cache_new(e->store, 1 << 20, &e->cache), 0);
    assert_int_equal(sources_new(e->catalog, &e->sources), 0);
    if (captures_new(e->store, e->catalog, e->runnings, e->sources, e->snapshots_fd, 1, &e->captures, &err) <
        0)
        fail_msg("%s", err.message);
    f->web = sources_get(e->sources, "web", f->web_inode);
    assert_non_null(f->web);
}

static void end(struct fixture *f)
{
    captures_free(f->engine.captures);
    engine_source_put(f->web);
    sources_free(f->engine.sources);
    runnings_free(f->engine.runnings);
    blob_cache_free(f->engine.cache);
    blob_store_close(f->engine.store);
    catalog_close(f->engine.catalog);
    close(f->web_fd);
    close(f->engine.snapshots_fd);
    pthread_cond_destroy(&f->come);
    pthread_mutex_destroy(&f->lock);
}

static uint64_t inode_of(struct fixture *f, const char *path)
{
    struct stat st;
    return fstatat(f->web_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

static void write_file(struct fixture *f, const char *name, const char *text)
{
    uint64_t inodes[] = {f->web_inode, inode_of(f, name)};
    assert_int_equal(engine_change_begin(f->web, inodes, 2), 0);
    scratch_write(f->web_fd, name, text);
    engine_change_end(f->web);
}

static void move(struct fixture *f, const char *from, const char *to)
{
    uint64_t inodes[] = {f->web_inode, inode_of(f, "x"), inode_of(f, "y"), inode_of(f, from)};
    assert_int_equal(engine_change_begin(f->web, inodes, 4), 0);
    assert_int_equal(renameat(f->web_fd, from, f->web_fd, to), 0);
    engine_change_end(f->web);
}

static void *change_always(void *arg)
{
    struct fixture *f = arg;
    while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
        char text[16];
        snprintf(text, sizeof(text), "%06u", ++f->turns);
        write_file(f, "a", text);
        write_file(f, "b", text);
        move(f, f->turns % 2 ? "x/file" : "y/file", f->turns % 2 ? "y/file" : "x/file");
        move(f, f->turns % 2 ? "x/dir" : "y/dir", f->turns % 2 ? "y/dir" : "x/dir");
        usleep(200);
    }
    return NULL;
}

static unsigned number_in(struct engine_tree *tree, uint32_t dir, const char *name)
{
    uint32_t inode = 0;
    char text[16] = "";
    assert_int_equal(engine_tree_find(tree, dir, name, &inode), 0);
    assert_int_equal(engine_tree_read(tree, inode, text, sizeof(text) - 1, 0), 6);
    return (unsigned)strtoul(text, NULL, 10);
}

static bool has(struct engine_tree *tree, const char *dir, const char *name)
{
    uint32_t at = 0;
    assert_int_equal(engine_tree_find(tree, 0, dir, &at), 0);
    return engine_tree_find(tree, at, name, &at) == 0;
}

/* The order of the changes in a turn is a, b, file, dir: at every moment none is ahead of the one before. */
static void check(struct fixture *f, uint32_t running)
{
    struct engine_tree *tree = NULL;
    struct err err = {0};
    if (engine_tree_open(&f->engine, running, &tree, &err) < 0)
        fail_msg("%s", err.message);
    unsigned a = number_in(tree, 0, "a");
    unsigned b = number_in(tree, 0, "b");
    bool file_in_y = has(tree, "y", "file");
    bool dir_in_y = has(tree, "y", "dir");
    assert_int_not_equal(file_in_y, has(tree, "x", "file"));
    assert_int_not_equal(dir_in_y, has(tree, "x", "dir"));
    bool file_moved = file_in_y == (a % 2 == 1);
    bool dir_moved = dir_in_y == (a % 2 == 1);
    if (!(a == b || a == b + 1) || (a != b && file_moved) || (!file_moved && dir_moved))
        fail_msg("a %u, b %u, file %d, dir %d", a, b, file_moved, dir_moved);
    engine_tree_put(tree);
}

static void it_is_of_one_moment(void **state)
{
    struct fixture f;
    pthread_t thread;
    begin(state, &f);
    assert_int_equal(mkdirat(f.web_fd, "x", 0755), 0);
    assert_int_equal(mkdirat(f.web_fd, "y", 0755), 0);
    assert_int_equal(mkdirat(f.web_fd, "x/dir", 0755), 0);
    scratch_write(f.web_fd, "x/file", "moved");
    scratch_write(f.web_fd, "x/dir/inner", "moved along");
    scratch_write(f.web_fd, "a", "000000");
    scratch_write(f.web_fd, "b", "000000");
    for (unsigned i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof(name), "still-%u", i);
        scratch_write(f.web_fd, name, name);
    }
    check(&f, capture(&f));
    assert_int_equal(pthread_create(&thread, NULL, change_always, &f), 0);
    for (unsigned i = 0; i < CAPTURES; i++)
        check(&f, capture(&f));
    __atomic_store_n(&f.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    uint32_t last = capture(&f);
    check(&f, last);
    assert_int_equal(capture(&f), last);
    end(&f);
}

/* Nothing is read: the tree cannot even be, and no new running snapshot is made, also after a restart. */
static void unchanged_is_not_read(void **state)
{
    const struct scratch *s = *state;
    struct fixture f;
    begin(state, &f);
    write_file(&f, "a", "hello");
    uint32_t first = capture(&f);
    /* Behind the engine's back. */
    scratch_write(f.web_fd, "a", "other");
    assert_int_equal(capture(&f), first);
    end(&f);
    assert_int_equal(renameat(s->fd, "snapshots", s->fd, "kept"), 0);
    begin(state, &f);
    close(f.web_fd);
    engine_source_put(f.web);
    assert_int_equal(tree_remove(s->fd, "snapshots/web"), 0);
    assert_int_equal(renameat(s->fd, "kept/web", s->fd, "snapshots/web"), 0);
    f.web_fd = openat(s->fd, "snapshots/web", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    assert_int_equal(fstat(f.web_fd, &st), 0);
    f.web_inode = st.st_ino;
    f.web = sources_get(f.engine.sources, "web", st.st_ino);
    assert_int_equal(capture(&f), first);
    write_file(&f, "a", "third");
    assert_int_not_equal(capture(&f), first);
    end(&f);
}

int main(void)
{
    log_set_level(LOG_LEVEL_WARN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_of_one_moment, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(unchanged_is_not_read, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
