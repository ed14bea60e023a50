/* The agent against a controller of the test's, with a stand-in for the instance: greeting, loads, breaks,
 * refusals, silence. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <zstd.h>

#include <cmocka.h>

#include "agent.h"
#include "base/container.h"
#include "base/fdio.h"
#include "blob/record.h"
#include "controller.h"
#include "instance.h"
#include "tree_image.h"
#include "treecmp.h"

/* ---- the stand-in ---- */

struct instance {
    struct loop *loop;
    struct images *images;
    struct instance_events events;
    struct instance_state state;
    instance_done done;
    void *arg;
    int result;
    struct loop_op later;
};

static _Atomic(struct instance *) the_instance;
static atomic_int next_result; /* of the next load */

static void answer(struct loop_op *op, int r)
{
    struct instance *i = CONTAINER_OF(op, struct instance, later);
    struct err err = {0};
    (void)r;
    if (i->result < 0)
        err_set(&err, -i->result, "the program did not start");
    i->events.changed(i->events.arg);
    i->done(i->arg, i->result, &err);
}

int instance_open(struct loop *loop, struct images *images, const struct instance_options *options,
                  const struct instance_events *events, struct instance **out, struct err *err)
{
    struct instance *i = calloc(1, sizeof(*i));
    (void)options;
    if (!i)
        return err_set(err, ENOMEM, "no memory");
    i->loop = loop;
    i->images = images;
    i->events = *events;
    i->later.done = answer;
    *out = i;
    the_instance = i;
    return 0;
}

void instance_close(struct instance *instance)
{
    loop_cancel(instance->loop, &instance->later);
}

void instance_set_slot(struct instance *instance, const char *slot)
{
    (void)instance;
    assert_string_equal(slot, "web-1");
}

const struct instance_state *instance_state(const struct instance *instance)
{
    return &instance->state;
}

const char *instance_runtime(const struct instance *instance)
{
    (void)instance;
    return "stand-in 1.0";
}

int instance_load(struct instance *instance, uint64_t image, const char *snapshot, instance_done done,
                  void *arg)
{
    instance->done = done;
    instance->arg = arg;
    instance->result = next_result;
    if (instance->result == 0) {
        images_hold(instance->images, image);
        instance->state.image = image;
        instance->state.phase = WIRE_PHASE_RUNNING;
        snprintf(instance->state.snapshot, sizeof(instance->state.snapshot), "%s", snapshot);
    }
    loop_timer(instance->loop, &instance->later, 1);
    return 0;
}

int instance_run(struct instance *instance, enum wire_verb verb, instance_done done, void *arg)
{
    struct err err = {0};
    if (verb == WIRE_RUN_RESTART)
        return -EBUSY;
    instance->state.phase = WIRE_PHASE_STOPPED;
    instance->events.changed(instance->events.arg);
    instance->events.output(instance->events.arg, "bye\n", 4);
    done(arg, 0, &err);
    return 0;
}

/* ---- the rig ---- */

struct state {
    struct controller controller;
    char dir[128], sample[128];
    int dirfd, sample_fd;
    struct tree_image image;
    struct options options;
    struct wire_key key; /* the agent's */
    struct loop *loop;
    struct agent *agent;
    pthread_t thread;
};

static void *run(void *arg)
{
    struct state *s = arg;
    return loop_run(s->loop) == 0 ? NULL : s;
}

static void start(struct state *s)
{
    struct err err = {0};
    assert_int_equal(loop_new(64, &s->loop, &err), 0);
    assert_int_equal(agent_new(s->loop, &s->options, &s->key, s->dirfd, s->dir, &s->agent, &err), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, run, s), 0);
}

static void stop(struct state *s)
{
    void *failed;
    loop_stop(s->loop);
    pthread_join(s->thread, &failed);
    assert_null(failed);
    agent_stop(s->agent);
    loop_free(s->loop);
    agent_free(s->agent);
    free(the_instance);
}

static int open_temporary(char path[128])
{
    const char *tmp = getenv("TMPDIR");
    snprintf(path, 128, "%s/bladed-test-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(path));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int set_up(void **out)
{
    struct state *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    s->dirfd = open_temporary(s->dir);
    s->sample_fd = open_temporary(s->sample);
    tree_sample_make(s->sample_fd, 1);
    tree_image_make(s->sample_fd, &s->image);
    controller_open(&s->controller);
    s->key = s->controller.key;
    s->options = (struct options){.keep = 2};
    snprintf(s->options.host, sizeof(s->options.host), "localhost");
    snprintf(s->options.port, sizeof(s->options.port), "%s", s->controller.port);
    next_result = 0;
    *out = s;
    return 0;
}

static int tear_down(void **in)
{
    struct state *s = *in;
    controller_close(&s->controller);
    tree_image_free(&s->image);
    close(s->dirfd);
    close(s->sample_fd);
    assert_int_equal(tree_remove(AT_FDCWD, s->dir), 0);
    assert_int_equal(tree_remove(AT_FDCWD, s->sample), 0);
    free(s);
    return 0;
}

static void greet(struct state *s)
{
    controller_welcome(&s->controller, 1, 1000, 4000);
}

static void send_prepare(struct state *s, uint64_t load, uint64_t image, bool held)
{
    static uint8_t packed[1 << 20];
    size_t n =
        held ? 0
             : ZSTD_compress(packed, sizeof(packed), s->image.stripped.bytes, s->image.stripped.len_bytes, 1);
    struct wire_message m = {.type = WIRE_PREPARE,
                             .prepare = {.load = load,
                                         .image = image,
                                         .descriptor_raw_bytes = held ? 0 : s->image.stripped.len_bytes,
                                         .descriptor_bytes = n,
                                         .snapshot = wire_text("web@3")}};
    controller_send(&s->controller.control, &m);
    if (held)
        return;
    assert_true(controller_expect(&s->controller.control, WIRE_PROGRESS, &m));
    assert_int_equal(m.progress.load, load);
    m = (struct wire_message){.type = WIRE_DESCRIPTOR,
                              .descriptor = {.load = load, .piece = {packed, (uint32_t)n}}};
    controller_send(&s->controller.bulk, &m);
    m = (struct wire_message){.type = WIRE_SEEDS, .seeds = {.load = load, .last = true}};
    controller_send(&s->controller.bulk, &m);
}

/* Sends at most `most` of what is wanted; the credit of one window is enough for the sample. */
static uint32_t send_wanted(struct state *s, uint64_t load, uint32_t most)
{
    struct wire_message m;
    OWNED_BUF struct buf ranges = BUF_EMPTY;
    uint32_t sent = 0;
    assert_true(controller_expect(&s->controller.bulk, WIRE_WANT, &m));
    assert_true(m.want.last && m.want.load == load);
    buf_put(&ranges, m.want.ranges.at, (size_t)m.want.ranges.count * 8);
    struct wire_list list = {.at = ranges.bytes, .count = m.want.ranges.count};
    assert_true(controller_expect(&s->controller.bulk, WIRE_CREDIT, &m));
    for (uint32_t i = 0; i < list.count; i++) {
        struct wire_range range = wire_range_at(&list, i);
        for (uint32_t c = range.first; c < range.first + range.count && sent < most; c++, sent++) {
            const struct buf *content = tree_image_chunk(&s->image, c);
            struct wire_message chunk = {
                .type = WIRE_CHUNK,
                .chunk = {.load = load,
                          .chunk = c,
                          .codec = BLOB_CODEC_RAW,
                          .payload = {content->bytes, (uint32_t)content->len_bytes}}};
            controller_send(&s->controller.bulk, &chunk);
        }
    }
    return sent;
}

static void expect_load(struct state *s, enum wire_type type, uint64_t load)
{
    struct wire_message m;
    assert_true(controller_expect(&s->controller.control, type, &m));
    assert_int_equal(m.load.load, load);
}

/* ---- the tests ---- */

static void greets_and_tells(void **in)
{
    struct state *s = *in;
    struct wire_message m;
    start(s);
    greet(s);
    assert_true(controller_expect(&s->controller.control, WIRE_INFO, &m));
    assert_true(m.info.cores > 0 && m.info.memory_bytes > 0 && m.info.disk_bytes > 0);
    assert_int_equal(m.info.runtime.len_bytes, strlen("stand-in 1.0"));
    assert_true(controller_expect(&s->controller.control, WIRE_HOLDINGS, &m));
    assert_int_equal(m.holdings.images.count, 0);
    assert_true(controller_expect(&s->controller.control, WIRE_REPORT, &m));
    assert_int_equal(m.report.phase, WIRE_PHASE_EMPTY);
    struct wire_message ping = {.type = WIRE_PING, .ping = {.number = 5, .sent_ms = 6}};
    controller_send(&s->controller.control, &ping);
    assert_true(controller_expect(&s->controller.control, WIRE_PONG, &m));
    assert_int_equal(m.ping.number, 5);
    assert_true(controller_expect(&s->controller.control, WIRE_PING, &m)); /* by itself, a second later */
    stop(s);
}

static void loads_and_runs(void **in)
{
    struct state *s = *in;
    struct wire_message m;
    start(s);
    greet(s);
    send_prepare(s, 1, 9, false);
    send_wanted(s, 1, UINT32_MAX);
    expect_load(s, WIRE_PREPARED, 1);
    OWNED_FD tree = openat(s->dirfd, "images/9/tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char why[512];
    if (!treecmp(s->sample_fd, tree, NULL, why))
        fail_msg("%s", why);
    m = (struct wire_message){.type = WIRE_START, .load = {.load = 1}};
    controller_send(&s->controller.control, &m);
    assert_true(controller_expect(&s->controller.control, WIRE_REPORT, &m));
    assert_int_equal(m.report.image, 9);
    assert_int_equal(m.report.phase, WIRE_PHASE_RUNNING);
    expect_load(s, WIRE_STARTED, 1);

    send_prepare(s, 2, 9, true); /* it is there */
    expect_load(s, WIRE_PREPARED, 2);
    next_result = -EIO;
    m = (struct wire_message){.type = WIRE_START, .load = {.load = 2}};
    controller_send(&s->controller.control, &m);
    assert_true(controller_expect(&s->controller.control, WIRE_FAILED, &m));
    assert_int_equal(m.failed.code, EIO);
    assert_int_equal(m.failed.sentence.len_bytes, strlen("the program did not start"));

    m = (struct wire_message){.type = WIRE_RUN, .run = {.request = 77, .verb = WIRE_RUN_STOP}};
    controller_send(&s->controller.control, &m);
    assert_true(controller_expect(&s->controller.control, WIRE_RUN_DONE, &m));
    assert_int_equal(m.run_done.request, 77);
    assert_int_equal(m.run_done.code, 0);
    assert_true(controller_expect(&s->controller.bulk, WIRE_LOG, &m));
    assert_memory_equal(m.log.output.at, "bye\n", 4);
    m = (struct wire_message){.type = WIRE_RUN, .run = {.request = 78, .verb = WIRE_RUN_RESTART}};
    controller_send(&s->controller.control, &m);
    assert_true(controller_expect(&s->controller.control, WIRE_RUN_DONE, &m));
    assert_int_equal(m.run_done.code, EBUSY);
    stop(s);
}

static void refuses_what_it_has_not(void **in)
{
    struct state *s = *in;
    struct wire_message m;
    start(s);
    greet(s);
    send_prepare(s, 1, 9, true);
    assert_true(controller_expect(&s->controller.control, WIRE_FAILED, &m));
    assert_int_equal(m.failed.load, 1);
    m = (struct wire_message){.type = WIRE_START, .load = {.load = 1}};
    controller_send(&s->controller.control, &m);
    assert_true(controller_expect(&s->controller.control, WIRE_FAILED, &m));
    m = (struct wire_message){.type = WIRE_PREPARE,
                              .prepare = {.load = 2,
                                          .image = 3,
                                          .descriptor_raw_bytes = 10,
                                          .descriptor_bytes = 100000, /* no frame of 10 bytes has that */
                                          .snapshot = wire_text("web@3")}};
    controller_send(&s->controller.control, &m);
    assert_true(controller_expect(&s->controller.control, WIRE_FAILED, &m));
    assert_int_equal(m.failed.load, 2);
    stop(s);
}

static void goes_on_after_the_link_broke(void **in)
{
    struct state *s = *in;
    struct wire_message m;
    start(s);
    greet(s);
    send_prepare(s, 1, 9, false);
    uint32_t sent = send_wanted(s, 1, 20);
    controller_hang_up(&s->controller.bulk); /* takes control with it */
    assert_false(controller_expect(&s->controller.control, WIRE_PREPARED, &m));
    controller_hang_up(&s->controller.control);
    greet(s);
    assert_true(controller_expect(&s->controller.control, WIRE_HOLDINGS, &m));
    assert_int_equal(m.holdings.partial, 9);
    send_prepare(s, 1, 9, false);
    sent += send_wanted(s, 1, UINT32_MAX);
    expect_load(s, WIRE_PREPARED, 1);
    /* What was still on its way when the link broke may have come twice. */
    assert_in_range(sent, blob_image_chunks(s->image.full), blob_image_chunks(s->image.full) + 20);
    stop(s);
    start(s); /* and after a restart of the agent it is held */
    controller_hang_up(&s->controller.bulk);
    controller_hang_up(&s->controller.control);
    greet(s);
    assert_true(controller_expect(&s->controller.control, WIRE_HOLDINGS, &m));
    assert_int_equal(m.holdings.images.count, 1);
    assert_int_equal(wire_u64_at(&m.holdings.images, 0), 9);
    stop(s);
}

static void a_new_load_takes_the_place(void **in)
{
    struct state *s = *in;
    struct wire_message m;
    start(s);
    greet(s);
    send_prepare(s, 1, 8, false);
    send_wanted(s, 1, 5);
    m = (struct wire_message){.type = WIRE_CANCEL, .load = {.load = 1}};
    controller_send(&s->controller.control, &m);
    send_prepare(s, 2, 9, false);
    send_wanted(s, 2, 5);
    send_prepare(s, 3, 9, false); /* without a cancel */
    send_wanted(s, 3, UINT32_MAX);
    expect_load(s, WIRE_PREPARED, 3);
    stop(s);
}

static void a_silent_link_is_dropped(void **in)
{
    struct state *s = *in;
    struct wire_message m;
    start(s);
    controller_welcome(&s->controller, 1, 100, 400);
    while (wire_link_is_up(s->controller.control.link)) { /* reads, answers nothing */
        uint8_t bytes[4096];
        if (read(s->controller.control.fd, bytes, sizeof(bytes)) <= 0)
            break;
    }
    controller_hang_up(&s->controller.control);
    controller_hang_up(&s->controller.bulk);
    greet(s);
    assert_true(controller_expect(&s->controller.control, WIRE_REPORT, &m));
    stop(s);
}

static void a_refusal_is_tried_again(void **in)
{
    struct state *s = *in;
    struct wire_message m = {
        .type = WIRE_REFUSED,
        .refused = {.code = WIRE_REFUSED_BUSY, .sentence = wire_text("another agent answers for web-1")}};
    start(s);
    for (int i = 0; i < 3; i++) {
        struct wire_message hello;
        assert_true(controller_accept(&s->controller, &s->controller.control));
        assert_true(controller_expect(&s->controller.control, WIRE_HELLO, &hello));
        controller_send(&s->controller.control, &m);
        controller_hang_up(&s->controller.control);
    }
    greet(s);
    assert_true(controller_expect(&s->controller.control, WIRE_INFO, &m));
    stop(s);
}

static void a_wrong_key_gets_nowhere(void **in)
{
    struct state *s = *in;
    struct err err = {0};
    struct wire_key other;
    assert_int_equal(wire_key_make(s->key.id, &other, &err), 0);
    s->key = other;
    start(s);
    for (int i = 0; i < 2; i++)
        assert_false(controller_accept(&s->controller, &s->controller.control));
    stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(greets_and_tells, set_up, tear_down),
        cmocka_unit_test_setup_teardown(loads_and_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_what_it_has_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(goes_on_after_the_link_broke, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_load_takes_the_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_silent_link_is_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_refusal_is_tried_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_key_gets_nowhere, set_up, tear_down),
    };
    if (geteuid() != 0) {
        print_message("writing a tree with its owners needs root\n");
        return 77;
    }
    (void)signal(SIGPIPE, SIG_IGN); /* a ring's write to a closed socket raises it */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
