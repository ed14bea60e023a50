/* What damage of the store is called, what is repaired, and that what was removed meanwhile is not lost. */
#include "scratch.h"

#include "blob/capture.h"
#include "blob/gc.h"
#include "check_images.h"

#define LINES_MAX 40
#define FILE_BYTES 50000u

struct fixture {
    const struct scratch *scratch;
    struct blob_store *store;
    struct catalog *catalog;
    struct runnings *runnings;
    struct sources *sources;
    int snapshots_fd;

    char lines[LINES_MAX][200];
    unsigned count;
    const char *at_line; /* when this is said, */
    uint32_t remove[2];  /* these are removed, and the store is collected */
    uint64_t done, all;
};

static int setup(void **state)
{
    void *scratch = NULL;
    struct err err = {0};
    if (scratch_make(&scratch) < 0)
        return -1;
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->scratch = scratch;
    assert_int_equal(mkdirat(f->scratch->fd, "snapshots", 0755), 0);
    f->snapshots_fd = openat(f->scratch->fd, "snapshots", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (blob_store_open(f->scratch->fd, 1, &f->store, &err) < 0 ||
        catalog_open(f->scratch->path, &f->catalog, &err) < 0 || sources_new(f->catalog, &f->sources) < 0 ||
        runnings_new(f->store, f->catalog, &f->runnings, &err) < 0)
        fail_msg("%s", err.message);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    void *scratch = (void *)f->scratch;
    runnings_free(f->runnings);
    sources_free(f->sources);
    catalog_close(f->catalog);
    blob_store_close(f->store);
    close(f->snapshots_fd);
    free(f);
    return scratch_remove(&scratch);
}

/* ---- sources, running snapshots, damage ---- */

static void fill(unsigned seed, uint8_t *bytes)
{
    uint64_t x = 88172645463325252u + seed; /* Marsaglia's xorshift64 */
    for (size_t i = 0; i < FILE_BYTES; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes[i] = (uint8_t)x;
    }
}

/* A file of one chunk, which no other seed has. */
static void make_file(struct fixture *f, const char *path, unsigned seed)
{
    uint8_t bytes[FILE_BYTES];
    fill(seed, bytes);
    OWNED_FD fd = openat(f->snapshots_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fd_write(fd, bytes, sizeof(bytes)), 0);
}

static void make_source(struct fixture *f, const char *name)
{
    char path[100];
    assert_int_equal(mkdirat(f->snapshots_fd, name, 0755), 0);
    snprintf(path, sizeof(path), "%s/etc", name);
    assert_int_equal(mkdirat(f->snapshots_fd, path, 0755), 0);
}

static uint32_t capture(struct fixture *f, const char *name)
{
    struct err err = {0};
    struct blob_capture *c = NULL;
    struct blob_capture_result result;
    const struct blob_capture_options options = {.threads = 1, .level = 1};
    OWNED_FD tree = openat(f->snapshots_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (blob_capture_new(f->store, tree, &options, &c, &err) < 0 || blob_capture_scan(c, &err) < 0 ||
        blob_capture_finish(c, &result, &err) < 0)
        fail_msg("%s", err.message);
    blob_capture_free(c);
    struct catalog_running row = {.content = result.image};
    snprintf(row.name, sizeof(row.name), "%s", name);
    assert_int_equal(catalog_running_add(f->catalog, &row, false, NULL), 1);
    assert_int_equal(runnings_added(f->runnings, &row), 0);
    return row.id;
}

static void damage_chunk(struct fixture *f, const struct blob_id *id)
{
    struct blob_place place;
    char name[64];
    uint8_t byte;
    assert_int_equal(blob_store_locate(f->store, id, &place), 0);
    snprintf(name, sizeof(name), "packs/%016x.pack", (unsigned)place.pack);
    OWNED_FD fd = openat(f->scratch->fd, name, O_RDWR | O_CLOEXEC);
    off_t at = (off_t)place.offset_bytes + BLOB_RECORD_HEADER_BYTES + 10;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static void damage_content(struct fixture *f, unsigned seed)
{
    uint8_t bytes[FILE_BYTES];
    fill(seed, bytes);
    struct blob_id id = blob_id_of(blob_store_secret(f->store), bytes, sizeof(bytes));
    damage_chunk(f, &id);
}

static void damage_image(struct fixture *f, uint32_t running)
{
    struct catalog_running row;
    assert_int_equal(runnings_get(f->runnings, running, &row), 0);
    damage_chunk(f, &row.content);
}

/* ---- the check ---- */

static void hear_event(void *arg, const struct blob_fsck_event *event)
{
    (void)arg;
    (void)event;
}

static void collect(struct fixture *f)
{
    const struct blob_gc_roots roots = {.list = runnings_roots, .cookie = f->runnings};
    const struct blob_gc_options all = {0};
    struct blob_gc_result result;
    struct err err = {0};
    if (blob_store_gc(f->store, &roots, 1, &all, &result, &err) < 0)
        fail_msg("%s", err.message);
    assert_true(result.removed_chunks > 0);
}

static void hear(void *arg, const char *line)
{
    struct fixture *f = arg;
    assert_true(f->count < LINES_MAX);
    snprintf(f->lines[f->count++], sizeof(f->lines[0]), "%s", line);
    if (!f->at_line || strcmp(line, f->at_line) != 0)
        return;
    f->at_line = NULL;
    for (unsigned i = 0; i < 2; i++)
        if (f->remove[i])
            assert_int_equal(runnings_remove(f->runnings, f->remove[i], NULL), 0);
    if (!f->remove[1])
        return; /* the image that is damaged stays, which no collection likes */
    collect(f);
}

static void count_progress(void *arg, uint64_t done, uint64_t all)
{
    struct fixture *f = arg;
    assert_true(done == f->done + 1 && done <= all);
    f->done = done;
    f->all = all;
}

static int run(struct fixture *f, const bool *cancelled, struct check_images *check)
{
    struct blob_fsck_options options = {.event = hear_event};
    struct err err = {0};
    *check = (struct check_images){.store = f->store,
                                   .catalog = f->catalog,
                                   .runnings = f->runnings,
                                   .sources = f->sources,
                                   .snapshots_fd = f->snapshots_fd,
                                   .cancelled = cancelled,
                                   .say = hear,
                                   .progress = count_progress,
                                   .arg = f};
    f->count = 0;
    f->done = f->all = 0;
    if (blob_fsck_run(f->store, &options, &check->fsck, &err) < 0)
        fail_msg("%s", err.message);
    int r = check_images(check, &err);
    blob_fsck_free(check->fsck);
    return r;
}

static void expect(struct fixture *f, uint64_t repaired, uint64_t lost)
{
    struct check_images check;
    assert_int_equal(run(f, NULL, &check), 0);
    assert_int_equal(f->done, f->all);
    assert_int_equal(check.repaired, repaired);
    assert_int_equal(check.lost, lost);
}

static bool said(const struct fixture *f, const char *line)
{
    for (unsigned i = 0; i < f->count; i++)
        if (strcmp(f->lines[i], line) == 0)
            return true;
    return false;
}

/* ---- tests ---- */

static void nothing_is_said_of_what_is_whole(void **state)
{
    struct fixture *f = *state;
    expect(f, 0, 0);
    make_source(f, "web");
    make_file(f, "web/etc/one", 1);
    capture(f, "web");
    expect(f, 0, 0);
    assert_int_equal(f->count, 0);
    assert_int_equal(f->all, 1);
}

/* Every image and every file that has the chunk is named, and repaired once from its source. */
static void it_is_named_and_repaired(void **state)
{
    struct fixture *f = *state;
    make_source(f, "web");
    make_file(f, "web/etc/one", 1);
    make_file(f, "web/two", 2);
    make_file(f, "web/etc/copy of one", 1);
    capture(f, "web");
    make_file(f, "web/three", 3);
    capture(f, "web");
    damage_content(f, 1);
    expect(f, 1, 0);
    assert_int_equal(f->all, 2 * 3); /* looked at, repaired, judged */
    assert_true(said(f, "touches web@1 etc/one") && said(f, "touches web@1 etc/copy of one"));
    assert_true(said(f, "touches web@2 etc/one") && said(f, "touches web@2 etc/copy of one"));
    assert_int_equal(f->count, 5);
    assert_int_equal(strncmp(f->lines[4], "repaired etc/", 13), 0);
    expect(f, 0, 0);
    assert_int_equal(f->count, 0);
}

static void another_source_has_it_at_that_path(void **state)
{
    struct fixture *f = *state;
    make_source(f, "web");
    make_file(f, "web/etc/one", 1);
    make_file(f, "web/two\nlines", 2);
    capture(f, "web");
    make_file(f, "web/etc/one", 3);
    make_file(f, "web/two\nlines", 4);
    make_source(f, "other");
    make_file(f, "other/etc/one", 1);
    damage_content(f, 1);
    damage_content(f, 2);
    expect(f, 1, 1);
    assert_true(said(f, "repaired etc/one from snapshots/other"));
    assert_true(said(f, "touches web@1 two?lines"));
    assert_true(said(f, "lost web@1 two?lines"));
    assert_int_equal(f->count, 4);
    /* It stays lost until its content comes back. */
    expect(f, 0, 1);
    make_file(f, "web/two\nlines", 2);
    expect(f, 1, 0);
    expect(f, 0, 0);
}

/* No link leads out of a source, and nothing but a file is opened. */
static void what_is_no_such_file_is_no_source(void **state)
{
    struct fixture *f = *state;
    make_source(f, "web");
    make_file(f, "web/etc/one", 1);
    make_file(f, "web/two", 2);
    capture(f, "web");
    make_source(f, "other");
    make_file(f, "other/outside", 1);
    assert_int_equal(unlinkat(f->snapshots_fd, "web/etc/one", 0), 0);
    assert_int_equal(unlinkat(f->snapshots_fd, "web/etc", AT_REMOVEDIR), 0);
    assert_int_equal(mkdirat(f->snapshots_fd, "other/dir", 0755), 0);
    assert_int_equal(symlinkat("../other/dir", f->snapshots_fd, "web/etc"), 0);
    make_file(f, "other/dir/one", 1);
    assert_int_equal(unlinkat(f->snapshots_fd, "web/two", 0), 0);
    assert_int_equal(mkfifoat(f->snapshots_fd, "web/two", 0600), 0);
    damage_content(f, 1);
    damage_content(f, 2);
    expect(f, 0, 2);
    assert_true(said(f, "lost web@1 etc/one") && said(f, "lost web@1 two"));
}

static void no_more_files_than_can_be_read(void **state)
{
    struct fixture *f = *state;
    char path[40];
    make_source(f, "web");
    for (unsigned i = 0; i < 25; i++) {
        snprintf(path, sizeof(path), "web/file-%u", i);
        make_file(f, path, 1);
    }
    capture(f, "web");
    damage_content(f, 1);
    expect(f, 1, 0);
    assert_true(said(f, "touches web@1 and 5 more files"));
    assert_int_equal(f->count, 22);
}

/* The image's own object is bad: nobody knows its files, unless somebody has it in memory. */
static void a_list_of_files_that_is_bad(void **state)
{
    struct fixture *f = *state;
    make_source(f, "web");
    make_file(f, "web/etc/one", 1);
    uint32_t web = capture(f, "web");
    make_source(f, "app");
    make_file(f, "app/two", 2);
    capture(f, "app");
    damage_image(f, web);
    expect(f, 0, 1);
    assert_string_equal(f->lines[0], "touches web@1 its list of files");
    assert_string_equal(f->lines[1], "lost web@1 its list of files");
    assert_int_equal(f->count, 2);
    /* A capture of the same tree stores it again, as the same running snapshot. */
    make_file(f, "app/two", 3);
    uint32_t app = capture(f, "app");
    struct catalog_running row;
    struct shared_image *image = NULL;
    assert_int_equal(runnings_get(f->runnings, app, &row), 0);
    assert_int_equal(runnings_image_get(f->runnings, row.image, &image, NULL), 0);
    damage_image(f, app);
    expect(f, 1, 1);
    assert_true(said(f, "touches app@2 its list of files"));
    assert_true(said(f, "repaired app@2 its list of files"));
    assert_true(said(f, "lost web@1 its list of files"));
    runnings_image_put(f->runnings, image);
    assert_int_equal(runnings_remove(f->runnings, web, NULL), 0);
    expect(f, 0, 0);
    assert_int_equal(f->count, 0);
}

static void removed_after_it_was_named(void **state)
{
    struct fixture *f = *state;
    make_source(f, "web");
    make_file(f, "web/etc/one", 1);
    f->remove[0] = capture(f, "web");
    make_file(f, "web/etc/one", 2); /* its content is nowhere else */
    damage_content(f, 1);
    f->at_line = "touches web@1 etc/one";
    expect(f, 0, 0);
    assert_int_equal(f->count, 1);

    /* Its list of files. */
    f->remove[0] = capture(f, "web");
    damage_image(f, f->remove[0]);
    f->at_line = "touches web@2 its list of files";
    expect(f, 0, 0);
    assert_int_equal(f->count, 1);
}

/* A collection has taken what they needed before the check comes to them. */
static void removed_before_it_is_looked_at(void **state)
{
    struct fixture *f = *state;
    make_source(f, "web");
    make_file(f, "web/etc/one", 1);
    f->remove[0] = capture(f, "web");
    damage_content(f, 1);
    make_file(f, "web/etc/one", 2);
    f->remove[1] = capture(f, "web");
    make_source(f, "app");
    make_file(f, "app/three", 3);
    capture(f, "app");
    f->at_line = "touches web@1 etc/one";
    expect(f, 0, 0);
    assert_int_equal(f->count, 1);
    expect(f, 0, 0);
    assert_int_equal(f->count, 0);
}

static void it_can_be_cancelled(void **state)
{
    struct fixture *f = *state;
    struct check_images check;
    const bool cancelled = true;
    make_source(f, "web");
    make_file(f, "web/etc/one", 1);
    capture(f, "web");
    assert_int_equal(run(f, &cancelled, &check), -ECANCELED);
    assert_int_equal(f->count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_said_of_what_is_whole),
        TEST(it_is_named_and_repaired),
        TEST(another_source_has_it_at_that_path),
        TEST(what_is_no_such_file_is_no_source),
        TEST(no_more_files_than_can_be_read),
        TEST(a_list_of_files_that_is_bad),
        TEST(removed_after_it_was_named),
        TEST(removed_before_it_is_looked_at),
        TEST(it_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
