/* How far a check is, what it answers, and what is shown of it. */
#include "scratch.h"

#include "base/log.h"
#include "checker.h"

#define IMAGES 5u

struct fixture {
    const struct scratch *scratch;
    struct checker_parts parts;
    struct checker *checker;
    unsigned percents[64], count; /* as they came */
    char during[200];             /* what was shown with the images under way */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int answers, last;
};

static void hear_progress(void *arg, unsigned percent, uint64_t all_bytes)
{
    struct fixture *f = arg;
    OWNED_BUF struct buf text = BUF_EMPTY;
    assert_true(all_bytes > 0 && f->count < 64);
    f->percents[f->count++] = percent;
    if (percent <= 90 || percent >= 100)
        return;
    checker_show(f->checker, &text, NULL);
    snprintf(f->during, sizeof(f->during), "%.*s", (int)text.len_bytes, (const char *)text.bytes);
}

static int setup(void **state)
{
    void *scratch = NULL;
    struct err err = {0};
    if (scratch_make(&scratch) < 0)
        return -1;
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->scratch = scratch;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    struct checker_parts *p = &f->parts;
    *p = (struct checker_parts){.progress = hear_progress, .arg = f, .snapshots_fd = f->scratch->fd};
    if (blob_store_open(f->scratch->fd, 1, &p->store, &err) < 0 ||
        catalog_open(f->scratch->path, &p->catalog, &err) < 0 || sources_new(p->catalog, &p->sources) < 0 ||
        runnings_new(p->store, p->catalog, &p->runnings, &err) < 0 || checker_new(p, &f->checker, &err) < 0)
        fail_msg("%s", err.message);
    struct blob_id id;
    assert_true(blob_store_put(p->store, NULL, "content", 7, &id, NULL) > 0);
    assert_int_equal(blob_store_sync(p->store, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    void *scratch = (void *)f->scratch;
    checker_free(f->checker);
    runnings_free(f->parts.runnings);
    sources_free(f->parts.sources);
    catalog_close(f->parts.catalog);
    blob_store_close(f->parts.store);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
    return scratch_remove(&scratch);
}

/* Running snapshots whose images are nowhere. */
static void add_images(struct fixture *f)
{
    for (uint8_t i = 0; i < IMAGES; i++) {
        struct catalog_running row = {.name = "web", .content.bytes = {1, i}};
        assert_int_equal(catalog_running_add(f->parts.catalog, &row, false, NULL), 1);
        assert_int_equal(runnings_added(f->parts.runnings, &row), 0);
    }
}

static bool shows(struct fixture *f, const char *words)
{
    OWNED_BUF struct buf text = BUF_EMPTY;
    checker_show(f->checker, &text, NULL);
    buf_put_u8(&text, 0);
    return strstr((const char *)text.bytes, words) != NULL;
}

static void images_are_a_part_of_the_work(void **state)
{
    struct fixture *f = *state;
    assert_true(shows(f, "never\n"));
    assert_int_equal(checker_run(f->checker, NULL), ENGINE_CHECK_WHOLE);
    assert_int_equal(f->percents[0], 90);
    assert_int_equal(f->percents[f->count - 1], 100);
    f->count = 0;
    add_images(f);
    assert_int_equal(checker_run(f->checker, NULL), ENGINE_CHECK_LOST);
    assert_int_equal(f->percents[0], 90);
    bool between = false;
    for (unsigned i = 1; i < f->count; i++) {
        assert_true(f->percents[i] >= f->percents[i - 1]);
        between = between || (f->percents[i] > 90 && f->percents[i] < 100);
    }
    assert_true(between);
    assert_int_equal(f->percents[f->count - 1], 100);
    assert_non_null(strstr(f->during, "running 9"));
    assert_non_null(strstr(f->during, "\nimages_done 1"));
    assert_non_null(strstr(f->during, "\nimages 15\n"));
    assert_true(shows(f, "\nlost 5\n") && shows(f, "\nlost web@3 its list of files\n"));
}

/* Of a pack that is gone: what that means is said behind some of them. */
static void many_bad_chunks(void **state)
{
    struct fixture *f = *state;
    struct blob_id id;
    for (uint32_t i = 0; i < 800; i++)
        assert_true(blob_store_put(f->parts.store, NULL, &i, sizeof(i), &id, NULL) >= 0);
    assert_int_equal(blob_store_sync(f->parts.store, NULL), 0);
    OWNED_FD fd = openat(f->scratch->fd, "packs/0000000000000001.pack", O_RDWR | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, 100), 0);
    add_images(f);
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(checker_run(f->checker, NULL), ENGINE_CHECK_LOST);
    assert_true(shows(f, "\nbad_chunks 800\n"));
    assert_true(shows(f, "\nlost web@3 its list of files\n"));
    assert_true(shows(f, "\nand 300 more lines\n"));
}

static void answered(void *arg, int result, const char *line)
{
    struct fixture *f = arg;
    assert_string_equal(line, "");
    HOLD_LOCK(&f->lock);
    f->answers++;
    f->last = result;
    pthread_cond_broadcast(&f->changed);
}

static int wait_for(struct fixture *f, int answers)
{
    HOLD_LOCK(&f->lock);
    while (f->answers < answers)
        pthread_cond_wait(&f->changed, &f->lock);
    return f->last;
}

static void answers(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(checker_request(f->checker, 1, answered, f), 0);
    assert_int_equal(wait_for(f, 1), 0);
    assert_false(checker_cancel(f->checker, 1));
    add_images(f);
    assert_int_equal(checker_request(f->checker, 2, answered, f), 0);
    assert_int_equal(wait_for(f, 2), -EIO);
    checker_stop(f->checker);
    assert_int_equal(checker_request(f->checker, 3, answered, f), -EINTR);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(images_are_a_part_of_the_work),
        TEST(many_bad_chunks),
        TEST(answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
