/* Captures with collections in between: an image never names a chunk that was removed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "capture_tree.h"
#include "gc_parts.h"

#define FILES 40

static const struct blob_gc_options all = {0};

static void make_files(struct bench *b)
{
    for (unsigned i = 0; i < FILES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "file-%u", i);
        put_random(b->tree, name, 100 + i, 0, 50000 + i * 9000);
    }
}

static struct blob_capture *scanned(struct bench *b)
{
    const struct blob_capture_options options = {.threads = 2, .level = 1};
    struct blob_capture *c = NULL;
    struct err err = {0};
    if (blob_capture_new(b->store, b->tree, &options, &c, &err) < 0 || blob_capture_scan(c, &err) < 0)
        fail_msg("%s", err.message);
    return c;
}

static int no_roots(void *cookie, blob_gc_root root, void *arg, struct err *err)
{
    (void)cookie;
    (void)root;
    (void)arg;
    (void)err;
    return 0;
}

static const struct blob_gc_roots none = {.list = no_roots};

static void collect(struct bench *b)
{
    struct blob_gc_result result;
    struct err err = {0};
    if (blob_store_gc(b->store, &none, 1, &all, &result, &err) < 0)
        fail_msg("%s", err.message);
}

static uint64_t chunks_stored(struct bench *b)
{
    struct blob_store_stats stats;
    blob_store_stats(b->store, &stats);
    return stats.chunks;
}

/* Else a collection by itself would take what a long capture has stored, and that be read and compressed
 * twice. */
static void what_is_at_work_keeps_its_chunks(void **state)
{
    struct bench *b = *state;
    make_files(b);
    struct blob_capture *before = scanned(b);
    blob_capture_rest(before);
    struct blob_capture *found = scanned(b); /* stores nothing, but needs everything */
    uint64_t stored = chunks_stored(b);
    assert_true(stored > FILES);
    collect(b);
    assert_int_equal(chunks_stored(b), stored);
    struct blob_capture_result result;
    blob_image_free(bench_finish(b, found, &result));
    assert_int_equal(result.new_chunks, 0);
    blob_capture_free(found);
    collect(b);
    assert_int_equal(chunks_stored(b), 0);
    blob_capture_free(before);
}

static void what_was_removed_is_read_again(void **state)
{
    struct bench *b = *state;
    make_files(b);
    struct blob_capture *c = scanned(b);
    blob_capture_rest(c);
    collect(b);
    assert_int_equal(chunks_stored(b), 0);

    struct blob_capture_result result;
    struct err err = {0};
    assert_int_equal(blob_store_commit_begin(b->store), 0);
    assert_int_equal(blob_capture_finish(c, &result, &err), -ESTALE);
    assert_int_equal(blob_capture_rescan(c, NULL, 0, &err), 0);
    struct blob_image *image = bench_finish(b, c, &result);
    blob_store_commit_end(b->store);
    bench_compare(b, image, b->tree);
    blob_image_free(image);
    blob_capture_free(c);
}

struct late {
    struct bench *b;
    struct blob_capture *capture;
    struct blob_image *image;
    enum gc_step at;
    bool was_stale;
};

static int finish_now(void *arg, enum gc_step step)
{
    struct late *late = arg;
    struct blob_capture_result result;
    struct err err = {0};
    if (step != late->at || late->image)
        return 0;
    assert_int_equal(blob_store_commit_begin(late->b->store), 0);
    int r = blob_capture_finish(late->capture, &result, &err);
    if (r == -ESTALE) {
        late->was_stale = true;
        assert_int_equal(blob_capture_rescan(late->capture, NULL, 0, &err), 0);
    }
    late->image = bench_finish(late->b, late->capture, &result);
    blob_store_commit_end(late->b->store);
    return 0;
}

static void finish_at(struct bench *b, enum gc_step at, bool rested)
{
    struct late late = {.b = b, .capture = scanned(b), .at = at};
    const struct gc_hook hook = {.at = finish_now, .arg = &late};
    struct blob_gc_result result;
    if (rested)
        blob_capture_rest(late.capture);
    assert_int_equal(store_gc(b->store, &none, 1, &all, &hook, &result, NULL), 0);
    assert_non_null(late.image);
    assert_true(!late.was_stale || (rested && at == GC_REMOVED));
    bench_compare(b, late.image, b->tree);
    blob_image_free(late.image);
    blob_capture_free(late.capture);
}

static void finished_while_one_is_under_way(void **state)
{
    struct bench *b = *state;
    make_files(b);
    for (enum gc_step at = GC_BEGUN; at <= GC_REMOVED; at++)
        finish_at(b, at, true);
    for (enum gc_step at = GC_BEGUN; at <= GC_MARKED; at++) /* it finds no garbage then */
        finish_at(b, at, false);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BENCH(what_is_at_work_keeps_its_chunks),
        WITH_BENCH(what_was_removed_is_read_again),
        WITH_BENCH(finished_while_one_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
