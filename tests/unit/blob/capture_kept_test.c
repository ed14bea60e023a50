/*
 * Captures that are kept: they rest, are cancelled at any moment and gone on with, and whatever was done to
 * them, they make the image that a capture from nothing makes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "capture_tree.h"
#include "random.h"

#define DIRS 20
#define FILES_EACH 20

static void make_tree(int tree)
{
    char path[64];
    for (int d = 0; d < DIRS; d++) {
        snprintf(path, sizeof(path), "d%d", d);
        assert_int_equal(mkdirat(tree, path, 0755), 0);
        for (int f = 0; f < FILES_EACH; f++) {
            snprintf(path, sizeof(path), "d%d/f%d", d, f);
            put_random(tree, path, (uint64_t)(d * FILES_EACH + f), 0, (size_t)(f * 4000 + 1));
        }
    }
    put_random(tree, "big", 99999, 0, 3000000);
}

static struct blob_capture *capture_of(const struct bench *b)
{
    struct blob_capture_options options = {.threads = 2, .level = 1};
    struct blob_capture *c = NULL;
    struct err err = {0};
    if (blob_capture_new(b->store, b->tree, &options, &c, &err) < 0)
        fail_msg("new: %s", err.message);
    return c;
}

/* The image equals the tree, and that of a new capture; the capture goes on. */
static struct blob_capture_result check(struct bench *b, struct blob_capture *c)
{
    struct blob_capture_result result, fresh;
    struct blob_image *image = bench_finish(b, c, &result);
    bench_compare(b, image, b->tree);
    blob_image_free(image);
    blob_image_free(bench_capture(b, b->tree, 1, &fresh));
    assert_memory_equal(&result.image, &fresh.image, sizeof(fresh.image));
    return result;
}

static void it_rests_and_goes_on(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    make_tree(b->tree);
    struct blob_capture *c = capture_of(b);
    assert_int_equal(blob_capture_scan(c, &err), 0);
    struct blob_capture_result first = check(b, c);
    assert_true(first.new_chunks > DIRS);
    assert_true(blob_capture_bytes(c) > DIRS * FILES_EACH * 100);
    assert_true(blob_capture_bytes(c) < DIRS * FILES_EACH * 1000);
    blob_capture_count_anew(c);
    for (int round = 0; round < 3; round++) {
        blob_capture_rest(c);
        blob_capture_rest(c);
        put_random(b->tree, "d3/f3", 5000 + (uint64_t)round, 0, 20000);
        put_text(b->tree, "d4/new", "new");
        const uint64_t list[] = {inode_of(b->tree, "d3/f3"), inode_of(b->tree, "d4")};
        assert_int_equal(blob_capture_rescan(c, list, 2, &err), 0);
        struct blob_capture_result next = check(b, c);
        assert_int_equal(next.new_chunks, round == 0 ? 2 : 1);
        blob_capture_count_anew(c);
    }
    blob_capture_free(c);
}

struct canceller {
    struct blob_capture *c;
    unsigned after_us;
};

static void *cancel_soon(void *arg)
{
    const struct canceller *canceller = arg;
    usleep(canceller->after_us);
    blob_capture_cancel(canceller->c);
    return NULL;
}

/* What it returned: 0 or -ECANCELED. */
static int do_and_cancel(struct blob_capture *c, unsigned after_us, bool scan, const uint64_t *list,
                         size_t count)
{
    struct err err = {0};
    struct canceller canceller = {.c = c, .after_us = after_us};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &canceller), 0);
    int r = scan ? blob_capture_scan(c, &err) : blob_capture_rescan(c, list, count, &err);
    pthread_join(thread, NULL);
    if (r < 0 && r != -ECANCELED)
        fail_msg("%s", err.message);
    blob_capture_go_on(c);
    return r;
}

static void a_scan_is_cancelled_and_gone_on_with(void **state)
{
    struct bench *b = *state;
    make_tree(b->tree);
    unsigned cancelled = 0;
    for (unsigned i = 0; i < 12; i++) {
        struct err err = {0};
        struct blob_capture *c = capture_of(b);
        int r = do_and_cancel(c, i * i * 40, true, NULL, 0);
        for (unsigned again = 1; r < 0 && again < 5; again++, cancelled++) {
            if (again % 2)
                blob_capture_rest(c);
            r = do_and_cancel(c, i * again * 50, false, NULL, 0);
        }
        if (r < 0 && blob_capture_rescan(c, NULL, 0, &err) < 0)
            fail_msg("%s", err.message);
        check(b, c);
        blob_capture_free(c);
    }
    assert_true(cancelled > 0);
}

static void a_rescan_is_cancelled_and_gone_on_with(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    make_tree(b->tree);
    struct blob_capture *c = capture_of(b);
    assert_int_equal(blob_capture_scan(c, &err), 0);
    for (unsigned i = 0; i < 12; i++) {
        uint64_t list[DIRS + 1];
        char path[64];
        for (unsigned d = 0; d < DIRS; d++) {
            snprintf(path, sizeof(path), "d%u/f%u", d, i);
            list[d] = inode_of(b->tree, path);
            put_random(b->tree, path, 7000 + i * DIRS + d, 0, 50000);
        }
        snprintf(path, sizeof(path), "d0/f%u", i + 1);
        assert_int_equal(unlinkat(b->tree, path, 0), 0);
        put_text(b->tree, path, "made anew, perhaps with the same number");
        list[DIRS] = inode_of(b->tree, "d0");
        int r = do_and_cancel(c, i * 100, false, list, DIRS + 1);
        for (unsigned again = 1; r < 0 && again < 4; again++)
            r = do_and_cancel(c, again * i * 60, false, list, DIRS + 1);
        if (r < 0 && blob_capture_rescan(c, list, DIRS + 1, &err) < 0)
            fail_msg("%s", err.message);
        check(b, c);
    }
    blob_capture_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_rests_and_goes_on),
        TEST(a_scan_is_cancelled_and_gone_on_with),
        TEST(a_rescan_is_cancelled_and_gone_on_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
