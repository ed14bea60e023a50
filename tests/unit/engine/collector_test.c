/* Who asks for collections, and what is told of them. */
#include "scratch.h"

#include "collector.h"

struct fixture {
    struct blob_store *store;
    struct collector *collector;
    unsigned collected; /* atomic */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct blob_gc_roots roots;
    bool hold;    /* who lists roots waits */
    bool listing; /* and does */
    int root_fault;
    int answers, last;
    bool named;
};

static int list(void *cookie, blob_gc_root root, void *arg, struct err *err)
{
    struct fixture *f = cookie;
    HOLD_LOCK(&f->lock);
    f->listing = true;
    pthread_cond_broadcast(&f->changed);
    while (f->hold)
        pthread_cond_wait(&f->changed, &f->lock);
    f->listing = false;
    if (f->root_fault) {
        struct blob_id id = {.bytes = {9}};
        return root(arg, &id) < 0 ? err_set(err, ENOMEM, "no memory") : 0;
    }
    return 0;
}

static void told(void *arg)
{
    struct fixture *f = arg;
    __atomic_add_fetch(&f->collected, 1, __ATOMIC_RELAXED);
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

static bool name(void *arg, const struct blob_id *object, char out[RUNNING_NAME_MAX_BYTES + 1])
{
    struct fixture *f = arg;
    f->named = object->bytes[0] == 9;
    snprintf(out, RUNNING_NAME_MAX_BYTES + 1, "web@7");
    return true;
}

static void begin(void **state, struct fixture *f)
{
    struct err err = {0};
    struct scratch *s = *state;
    memset(f, 0, sizeof(*f));
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    const struct collector_events events = {.collected = told, .name = name, .arg = f};
    if (blob_store_open(s->fd, 1, &f->store, &err) < 0 ||
        collector_new(f->store, &events, &f->collector, &err) < 0)
        fail_msg("%s", err.message);
    f->roots = (struct blob_gc_roots){.list = list, .cookie = f};
    collector_start(f->collector, &f->roots, 1);
}

static void end(struct fixture *f)
{
    collector_free(f->collector);
    blob_store_close(f->store);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
}

static int wait_for(struct fixture *f, int answers)
{
    HOLD_LOCK(&f->lock);
    while (f->answers < answers)
        pthread_cond_wait(&f->changed, &f->lock);
    return f->last;
}

static void set_hold(struct fixture *f, bool hold)
{
    HOLD_LOCK(&f->lock);
    f->hold = hold;
    pthread_cond_broadcast(&f->changed);
}

static void wait_until_it_lists(struct fixture *f)
{
    HOLD_LOCK(&f->lock);
    while (!f->listing)
        pthread_cond_wait(&f->changed, &f->lock);
}

static void shows(struct fixture *f, const char *words, bool at_all)
{
    OWNED_BUF struct buf text = BUF_EMPTY;
    collector_show(f->collector, &text, NULL);
    buf_put_u8(&text, 0);
    assert_true((strstr((const char *)text.bytes, words) != NULL) == at_all);
}

static void asked_for_it_collects(void **state)
{
    struct fixture f;
    struct blob_id id;
    begin(state, &f);
    shows(&f, "never\n", true);
    assert_true(blob_store_put(f.store, NULL, "garbage", 7, &id, NULL) > 0);
    assert_int_equal(collector_request(f.collector, 1, answered, &f), 0);
    assert_int_equal(wait_for(&f, 1), 0);
    assert_false(blob_store_has(f.store, &id));
    assert_int_equal(__atomic_load_n(&f.collected, __ATOMIC_RELAXED), 1);
    shows(&f, "\nremoved_chunks 1\n", true);
    shows(&f, "never", false);
    shows(&f, "error", false);
    end(&f);
}

static void one_at_a_time(void **state)
{
    struct fixture f;
    begin(state, &f);
    set_hold(&f, true);
    assert_int_equal(collector_request(f.collector, 1, answered, &f), 0);
    wait_until_it_lists(&f);
    assert_int_equal(collector_request(f.collector, 2, answered, &f), -EEXIST);
    assert_false(collector_cancel(f.collector, 2));
    set_hold(&f, false);
    assert_int_equal(wait_for(&f, 1), 0);
    assert_int_equal(collector_request(f.collector, 3, answered, &f), 0);
    assert_int_equal(wait_for(&f, 2), 0);
    assert_false(collector_cancel(f.collector, 3));
    end(&f);
}

static void cancelled_it_ends(void **state)
{
    struct fixture f;
    begin(state, &f);
    f.root_fault = 1; /* it would be found, were it not cancelled before */
    set_hold(&f, true);
    assert_int_equal(collector_request(f.collector, 1, answered, &f), 0);
    wait_until_it_lists(&f);
    assert_true(collector_cancel(f.collector, 1));
    set_hold(&f, false);
    assert_int_equal(wait_for(&f, 1), -EINTR);
    end(&f);
}

static void a_fault_is_told_with_the_name(void **state)
{
    struct fixture f;
    begin(state, &f);
    f.root_fault = 1;
    assert_int_equal(collector_request(f.collector, 1, answered, &f), 0);
    assert_int_equal(wait_for(&f, 1), -EIO);
    assert_true(f.named);
    shows(&f, "\nerror web@7: ", true);
    end(&f);
}

static void the_end_answers_who_waits(void **state)
{
    struct fixture f;
    begin(state, &f);
    set_hold(&f, true);
    assert_int_equal(collector_request(f.collector, 1, answered, &f), 0);
    wait_until_it_lists(&f);
    set_hold(&f, false);
    collector_stop(f.collector);
    assert_int_equal(f.answers, 1);
    assert_int_equal(collector_request(f.collector, 2, answered, &f), -EINTR);
    end(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(asked_for_it_collects, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(one_at_a_time, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(cancelled_it_ends, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(a_fault_is_told_with_the_name, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(the_end_answers_who_waits, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
