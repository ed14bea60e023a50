/*
 * Requests that are answered later: once, whoever comes first, and cancelled by the right signals alone. The
 * caller is a child that is stopped, so that what is sent to it stays pending.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "waits.h"

struct request {
    struct fuse_ctx ctx;
    fuse_interrupt_func_t on_interrupt;
    void *data;
    atomic_int answers;
    int result; /* bytes written, or -errno */
};

static struct request *request_of(fuse_req_t req)
{
    return (struct request *)(void *)req;
}

static fuse_req_t req_of(struct request *request)
{
    return (fuse_req_t)(void *)request;
}

const struct fuse_ctx *__wrap_fuse_req_ctx(fuse_req_t req);
void __wrap_fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t func, void *data);
int __wrap_fuse_reply_write(fuse_req_t req, size_t count);
int __wrap_fuse_reply_err(fuse_req_t req, int err);
void __wrap_engine_cancel(struct engine *engine, uint64_t request);

const struct fuse_ctx *__wrap_fuse_req_ctx(fuse_req_t req)
{
    return &request_of(req)->ctx;
}

void __wrap_fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t func, void *data)
{
    request_of(req)->on_interrupt = func;
    request_of(req)->data = data;
}

static void answered(fuse_req_t req, int result)
{
    assert_null(request_of(req)->on_interrupt); /* libfuse frees it now */
    request_of(req)->result = result;
    request_of(req)->answers++;
}

int __wrap_fuse_reply_write(fuse_req_t req, size_t count)
{
    answered(req, (int)count);
    return 0;
}

int __wrap_fuse_reply_err(fuse_req_t req, int err)
{
    answered(req, -err);
    return 0;
}

/* The engine: it cancels by calling `done`. */
struct fake_engine {
    struct wait *waiting;
    uint64_t number;
    atomic_int cancels;
};

void __wrap_engine_cancel(struct engine *engine, uint64_t request)
{
    struct fake_engine *fake = (struct fake_engine *)(void *)engine;
    if (request != fake->number)
        return;
    fake->cancels++;
    if (fake->waiting)
        wait_done(fake->waiting, -EINTR, "");
    fake->waiting = NULL;
}

static void pause_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

static bool within_ms(int ms, atomic_int *counter)
{
    for (; ms > 0 && *counter == 0; ms -= 10)
        pause_ms(10);
    return *counter > 0;
}

static void nothing(int number)
{
    (void)number;
}

static pid_t stopped_child(void)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGCHLD, nothing);
        signal(SIGTERM, nothing);
        raise(SIGSTOP);
        for (;;)
            pause();
    }
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    return child;
}

static void end_child(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static struct waits *waits_over(struct fake_engine *fake)
{
    struct waits *waits = NULL;
    assert_int_equal(waits_new((struct engine *)(void *)fake, &waits), 0);
    return waits;
}

static const struct control_write a_write = {
    .owner = 1, .value = "web", .value_bytes = 3, .written = "web\n", .written_bytes = 4};

static struct wait *start(struct waits *waits, struct request *request)
{
    struct control_write write = a_write;
    write.req = req_of(request);
    struct wait *wait = wait_new(waits, &write);
    assert_non_null(wait);
    return wait;
}

static void an_answer_may_come_before_the_number(void **state)
{
    (void)state;
    struct fake_engine fake = {.number = 1};
    struct request request = {0};
    struct waits *waits = waits_over(&fake);
    struct wait *wait = start(waits, &request);
    wait_done(wait, 0, "");
    assert_int_equal(wait_started(wait, 0, 1), CONTROL_LATER);
    assert_int_equal(request.answers, 1);
    assert_int_equal(request.result, 4);
    waits_free(waits);
}

static void what_was_not_taken_is_answered_by_who_asked(void **state)
{
    (void)state;
    struct fake_engine fake = {0};
    struct request request = {0};
    struct waits *waits = waits_over(&fake);
    struct wait *wait = start(waits, &request);
    assert_int_equal(wait_started(wait, -EINVAL, 0), -EINVAL);
    assert_int_equal(request.answers, 0);
    assert_null(request.on_interrupt);
    waits_free(waits);
}

static void odd_errors_become_eio(void **state)
{
    (void)state;
    struct fake_engine fake = {.number = 1};
    struct request request = {0};
    struct waits *waits = waits_over(&fake);
    struct wait *wait = start(waits, &request);
    assert_int_equal(wait_started(wait, 0, 1), CONTROL_LATER);
    wait_done(wait, -EBUSY, "");
    assert_int_equal(request.result, -EIO);
    waits_free(waits);
}

static void only_an_ending_signal_cancels(void **state)
{
    (void)state;
    pid_t child = stopped_child();
    struct fake_engine fake = {.number = 7};
    struct request request = {.ctx.pid = child};
    struct waits *waits = waits_over(&fake);
    fake.waiting = start(waits, &request);
    assert_int_equal(wait_started(fake.waiting, 0, 7), CONTROL_LATER);
    /* The kernel tells of the first signal only. */
    kill(child, SIGCHLD);
    request.on_interrupt(req_of(&request), request.data);
    pause_ms(350);
    assert_int_equal(fake.cancels, 0);
    assert_int_equal(request.answers, 0);
    kill(child, SIGTERM);
    assert_true(within_ms(2000, &request.answers));
    assert_int_equal(request.result, -EINTR);
    pause_ms(250);
    assert_int_equal(fake.cancels, 1);
    assert_int_equal(request.answers, 1);
    waits_free(waits);
    end_child(child);
}

static void an_interrupt_before_the_number_is_not_lost(void **state)
{
    (void)state;
    pid_t child = stopped_child();
    struct fake_engine fake = {.number = 9};
    struct request request = {.ctx.pid = child};
    struct waits *waits = waits_over(&fake);
    fake.waiting = start(waits, &request);
    kill(child, SIGTERM);
    request.on_interrupt(req_of(&request), request.data);
    pause_ms(150);
    assert_int_equal(fake.cancels, 0);
    assert_int_equal(wait_started(fake.waiting, 0, 9), CONTROL_LATER);
    assert_true(within_ms(2000, &request.answers));
    assert_int_equal(request.result, -EINTR);
    waits_free(waits);
    end_child(child);
}

static void the_end_answers_all_and_refuses_more(void **state)
{
    (void)state;
    struct fake_engine fake = {.number = 3};
    struct request first = {0}, second = {0};
    struct waits *waits = waits_over(&fake);
    fake.waiting = start(waits, &first);
    assert_int_equal(wait_started(fake.waiting, 0, 3), CONTROL_LATER);
    waits_end(waits, 2000);
    assert_int_equal(first.result, -EINTR);
    fake.number = 4;
    fake.waiting = start(waits, &second);
    assert_int_equal(wait_started(fake.waiting, 0, 4), CONTROL_LATER);
    assert_int_equal(second.result, -EINTR);
    waits_free(waits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_may_come_before_the_number),
        cmocka_unit_test(what_was_not_taken_is_answered_by_who_asked),
        cmocka_unit_test(odd_errors_become_eio),
        cmocka_unit_test(only_an_ending_signal_cancels),
        cmocka_unit_test(an_interrupt_before_the_number_is_not_lost),
        cmocka_unit_test(the_end_answers_all_and_refuses_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
