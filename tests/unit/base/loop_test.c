#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/container.h"
#include "base/fdio.h"
#include "base/loop.h"

struct fixture {
    struct loop *loop;
    int results[1024];
    unsigned done, expected;
    struct loop_op op, other;
    struct loop_task task;
    char bytes[64];
    int64_t started_ms;
};

static struct fixture *of_op(struct loop_op *op)
{
    return CONTAINER_OF(op, struct fixture, op);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err = {0};
    if (!f || loop_new(8, &f->loop, &err) < 0) {
        print_error("%s\n", err.message);
        free(f);
        return -1;
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    loop_free(f->loop);
    free(f);
    return 0;
}

static void note(struct loop_op *op, int result)
{
    struct fixture *f = of_op(op);
    f->results[f->done++] = result;
    if (f->done == f->expected)
        loop_stop(f->loop);
}

static void a_timer_ends_with_etime(void **state)
{
    struct fixture *f = *state;
    f->op.done = note;
    f->expected = 1;
    int64_t before = clock_boot_ms();
    loop_timer(f->loop, &f->op, 30);
    assert_true(f->op.busy);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->results[0], -ETIME);
    assert_false(f->op.busy);
    assert_true(clock_boot_ms() - before >= 29);
}

static void bytes_go_through_a_socket(void **state)
{
    struct fixture *f = *state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    f->op.done = note;
    f->expected = 1;
    loop_read(f->loop, &f->op, pair[0], f->bytes, sizeof(f->bytes), LOOP_STREAM);
    assert_int_equal(write(pair[1], "hello", 5), 5);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->results[0], 5);
    assert_memory_equal(f->bytes, "hello", 5);
    close(pair[0]);
    close(pair[1]);
}

static void a_cancelled_op_is_done_once(void **state)
{
    struct fixture *f = *state;
    int pair[2];
    assert_int_equal(pipe(pair), 0);
    f->op.done = note;
    f->expected = 1;
    loop_read(f->loop, &f->op, pair[0], f->bytes, sizeof(f->bytes), LOOP_STREAM);
    loop_cancel(f->loop, &f->op);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->results[0], -ECANCELED);
    assert_int_equal(f->done, 1);
    close(pair[0]);
    close(pair[1]);
}

struct post {
    struct loop_task task;
    struct fixture *f;
    unsigned number;
};

static void posted(struct loop_task *task)
{
    struct post *post = (struct post *)task;
    struct fixture *f = post->f;
    f->results[f->done++] = (int)post->number;
    if (f->done == f->expected)
        loop_stop(f->loop);
}

static void *post_many(void *arg)
{
    struct post *posts = arg;
    for (unsigned i = 0; i < 1000; i++)
        loop_post(posts[i].f->loop, &posts[i].task);
    return NULL;
}

static void tasks_run_in_the_order_of_posting(void **state)
{
    struct fixture *f = *state;
    struct post *posts = calloc(1000, sizeof(*posts));
    assert_non_null(posts);
    for (unsigned i = 0; i < 1000; i++)
        posts[i] = (struct post){.task = {.run = posted}, .f = f, .number = i};
    f->expected = 1000;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, post_many, posts), 0);
    assert_int_equal(loop_run(f->loop), 0);
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(f->results[i], i);
    free(posts);
}

#define MANY 500

struct many {
    struct loop_op op;
    unsigned *left;
    struct loop *loop;
};

static void count_down(struct loop_op *op, int result)
{
    struct many *one = (struct many *)op;
    assert_int_equal(result, -ETIME);
    if (--*one->left == 0)
        loop_stop(one->loop);
}

static void more_ops_than_entries_all_end(void **state)
{
    struct fixture *f = *state;
    unsigned left = MANY;
    struct many *ops = calloc(MANY, sizeof(*ops));
    assert_non_null(ops);
    for (unsigned i = 0; i < MANY; i++) {
        ops[i] = (struct many){.op = {.done = count_down}, .left = &left, .loop = f->loop};
        loop_timer(f->loop, &ops[i].op, i % 7);
    }
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(left, 0);
    free(ops);
}

static void submit_again_once(struct loop_op *op, int result)
{
    struct fixture *f = of_op(op);
    f->results[f->done++] = result;
    if (f->done == 1)
        loop_timer(f->loop, op, 10000);
}

static void freeing_ends_what_is_under_way(void **state)
{
    struct fixture *f = *state;
    f->op.done = submit_again_once;
    loop_timer(f->loop, &f->op, 10000);
    loop_free(f->loop);
    f->loop = NULL;
    assert_int_equal(f->done, 2);
    assert_int_equal(f->results[0], -ECANCELED);
    assert_int_equal(f->results[1], -ECANCELED);
}

static void fixed_buffers_read_as_others(void **state)
{
    struct fixture *f = *state;
    static char region[2][4096] __attribute__((aligned(4096)));
    char path[] = "/tmp/loop_test.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(fd_write(fd, "0123456789", 10), 0);
    loop_register(f->loop, region, 2, sizeof(region[0]));
    f->op.done = note;
    f->expected = 1;
    loop_read_fixed(f->loop, &f->op, fd, region[1] + 8, 4, 3, 1);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->results[0], 4);
    assert_memory_equal(region[1] + 8, "3456", 4);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_timer_ends_with_etime, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_go_through_a_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cancelled_op_is_done_once, setup, teardown),
        cmocka_unit_test_setup_teardown(tasks_run_in_the_order_of_posting, setup, teardown),
        cmocka_unit_test_setup_teardown(more_ops_than_entries_all_end, setup, teardown),
        cmocka_unit_test_setup_teardown(freeing_ends_what_is_under_way, setup, teardown),
        cmocka_unit_test_setup_teardown(fixed_buffers_read_as_others, setup, teardown),
    };
    return cmocka_run_group_tests_name("base/loop", tests, NULL, NULL);
}
