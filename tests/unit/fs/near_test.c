/* How a thread that answers is scheduled beside its client, and that no other thread is left so. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/thread.h"
#include "near.h"

static cpu_set_t all;

static unsigned first_processor(void)
{
    unsigned cpu = 0;
    while (!CPU_ISSET(cpu, &all))
        cpu++;
    return cpu;
}

static void expect_scheduled(int policy, int processors)
{
    cpu_set_t set;
    assert_int_equal(sched_getscheduler(0), policy);
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    assert_int_equal(CPU_COUNT(&set), processors);
}

static void *is_as_all(void *arg)
{
    (void)arg;
    expect_scheduled(SCHED_OTHER, CPU_COUNT(&all));
    return NULL;
}

static void *goes_and_comes(void *arg)
{
    pthread_t thread;
    (void)arg;
    assert_int_equal(near_go(gettid(), (int)first_processor()), 0);
    expect_scheduled(SCHED_IDLE, 1);
    assert_int_equal(near_processor_of(gettid()), (int)first_processor());
    assert_int_equal(thread_start(&thread, is_as_all, NULL), 0); /* it would be so for ever */
    pthread_join(thread, NULL);
    near_leave(gettid(), &all);
    expect_scheduled(SCHED_OTHER, CPU_COUNT(&all));
    near_leave(gettid(), &all);
    near_keep_off(gettid(), (int)first_processor(), &all);
    expect_scheduled(SCHED_OTHER, CPU_COUNT(&all) > 1 ? CPU_COUNT(&all) - 1 : 1);
    return NULL;
}

static void a_thread_goes_and_comes(void **state)
{
    pthread_t thread;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    if (!near_is_possible())
        skip(); /* it needs CAP_SYS_NICE, or its limit */
    assert_int_equal(pthread_create(&thread, NULL, goes_and_comes, NULL), 0);
    pthread_join(thread, NULL);
    expect_scheduled(SCHED_OTHER, CPU_COUNT(&all));
}

static void what_cannot_be_is_told(void **state)
{
    (void)state;
    assert_int_equal(near_processor_of(0x7ffffff), -ENOENT);
    assert_int_equal(near_go(gettid(), -1), -EINVAL);
    assert_int_equal(near_go(gettid(), CPU_SETSIZE), -EINVAL);
    assert_true(near_go(gettid(), CPU_SETSIZE - 1) < 0);
    assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_goes_and_comes),
        cmocka_unit_test(what_cannot_be_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
