/* The fleet with a real engine below it and blades that the test plays: loads from request to answer, and
 * what breaks in between. */
#include "scratch.h"

#include <pthread.h>
#include <time.h>

#include "base/log.h"
#include "fake_blade.h"
#include "fleet_parts.h"
#include "parts.h"

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t come;
    bool done;
    int result;
    char line[160];
};

struct fixture {
    const struct scratch *scratch;
    struct engine *engine;
    int port;
};

#define ANSWER                                                                                               \
    {                                                                                                        \
        .lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER                                  \
    }

static void take_answer(void *arg, int result, const char *line)
{
    struct answer *a = arg;
    HOLD_LOCK(&a->lock);
    assert_false(a->done);
    a->done = true;
    a->result = result;
    snprintf(a->line, sizeof a->line, "%s", line);
    pthread_cond_signal(&a->come);
}

static bool wait_answer(struct answer *a, int timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    HOLD_LOCK(&a->lock);
    while (!a->done) {
        if (pthread_cond_timedwait(&a->come, &a->lock, &until) != 0)
            break;
    }
    return a->done;
}

static void expect_answer(struct answer *a, int result, const char *line)
{
    if (!wait_answer(a, 8000))
        fail_msg("no answer came");
    assert_int_equal(a->result, result);
    assert_string_equal(a->line, line);
}

static void engine_begin(struct fixture *f)
{
    char path[512];
    struct err err = {0};
    struct engine_options options = {.store_path = scratch_path(f->scratch, "store", path),
                                     .listen_host = "127.0.0.1",
                                     .listen_port = "0"};
    if (engine_open(&options, &f->engine, &err) < 0)
        fail_msg("%s", err.message);
    f->port = listener_port(f->engine->fleet->listener);
}

static void begin(void **state, struct fixture *f)
{
    *f = (struct fixture){.scratch = *state};
    log_set_level(getenv("VERBOSE") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
    engine_begin(f);
}

static void end(struct fixture *f)
{
    engine_close(f->engine);
}

static uint32_t slot_new(struct fixture *f, const char *name, struct wire_key *key)
{
    const struct engine_attr attr = {.mode = 0755};
    struct err err = {0};
    uint32_t id;
    OWNED_BUF struct buf text = BUF_EMPTY;
    if (engine_slot_create(f->engine, name, &attr, &id, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(engine_show(f->engine, id, ENGINE_TEXT_KEY, &text, NULL), 0);
    assert_int_equal(wire_key_parse((char *)text.bytes, text.len_bytes, key, &err), 0);
    return id;
}

static const char *show(struct fixture *f, uint32_t slot, enum engine_text what)
{
    static char out[1024];
    OWNED_BUF struct buf text = BUF_EMPTY;
    assert_int_equal(engine_show(f->engine, slot, what, &text, NULL), 0);
    assert_true(text.len_bytes < sizeof out);
    snprintf(out, sizeof out, "%.*s", (int)text.len_bytes, text.bytes ? (char *)text.bytes : "");
    return out;
}

static void expect_show(struct fixture *f, uint32_t slot, enum engine_text what, const char *text)
{
    for (int i = 0; i < 600 && strcmp(show(f, slot, what), text) != 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_string_equal(show(f, slot, what), text);
}

static void expect_error(struct fixture *f, uint32_t slot, const char *words)
{
    if (!strstr(show(f, slot, ENGINE_TEXT_ERROR), words))
        fail_msg("\"%s\" is not in: %s", words, show(f, slot, ENGINE_TEXT_ERROR));
}

/* Noise does not compress, and makes chunks of its own. */
static void write_noise(int dirfd, const char *name, size_t bytes, unsigned seed)
{
    uint8_t *noise = malloc(bytes);
    assert_non_null(noise);
    uint64_t x = seed * 2654435761u + 1;
    for (size_t i = 0; i < bytes; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        noise[i] = (uint8_t)(x >> 56);
    }
    int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    assert_true(fd >= 0);
    assert_int_equal(fd_write(fd, noise, bytes), 0);
    close(fd);
    free(noise);
}

/* As the mount does it: every change is told. */
static void source_write(struct fixture *f, const char *name, const char *file, size_t bytes, unsigned seed)
{
    int snapshots = engine_snapshots_fd(f->engine);
    if (mkdirat(snapshots, name, 0755) < 0)
        assert_int_equal(errno, EEXIST);
    OWNED_FD fd = openat(snapshots, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    struct engine_source *source = engine_source_get(f->engine, name, st.st_ino);
    assert_non_null(source);
    struct stat file_st;
    uint64_t inodes[2] = {st.st_ino};
    size_t count = 1;
    if (fstatat(fd, file, &file_st, 0) == 0)
        inodes[count++] = file_st.st_ino;
    assert_int_equal(engine_change_begin(source, inodes, count), 0);
    write_noise(fd, file, bytes, seed);
    engine_change_end(source);
    engine_source_put(source);
}

static void request(struct fixture *f, uint32_t slot, const char *value, struct answer *a, uint64_t *number)
{
    uint64_t ignored;
    assert_int_equal(
        engine_load(f->engine, slot, value, strlen(value), take_answer, a, number ? number : &ignored), 0);
}

/* PREPARE to STARTED, everything wanted that is not seeded at the front. */
static uint64_t play_load(struct fixture *f, struct fake_blade *b, uint32_t slot, const char *value)
{
    (void)f;
    (void)slot;
    (void)value;
    struct blob_image *image = fake_take_descriptor(b);
    if (image) {
        fake_take_chunks(b, image, 0, blob_image_chunks(image));
        blob_image_free(image);
    }
    fake_send_load(b, WIRE_PREPARED);
    fake_expect(b, &b->control, WIRE_START);
    assert_int_equal(b->control.message.load.load, b->load);
    fake_report(b, WIRE_PHASE_RUNNING, b->prepare.image, b->snapshot, "");
    fake_send_load(b, WIRE_STARTED);
    return b->prepare.image;
}

static void connect_empty(struct fixture *f, struct fake_blade *b, uint32_t slot, const struct wire_key *key)
{
    fake_connect(b, f->port, key, NULL, 0, WIRE_PHASE_EMPTY, 0, "");
    expect_show(f, slot, ENGINE_TEXT_STATE, "ready\n");
}

/* ---- */

static void loads_and_runs(void **state)
{
    struct fixture f;
    struct wire_key key;
    struct fake_blade b;
    begin(state, &f);
    uint32_t slot = slot_new(&f, "1", &key);
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "absent\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_PROGRESS), "");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_LOAD), "\n");
    connect_empty(&f, &b, slot, &key);
    assert_non_null(strstr(show(&f, slot, ENGINE_TEXT_INFO), "kernel 6.1?[0m\n"));

    source_write(&f, "web", "program", 3000000, 1);
    source_write(&f, "web", "small", 100, 2);
    source_write(&f, "db", "program", 100, 3);
    struct answer first = ANSWER, joined = ANSWER, other = ANSWER;
    request(&f, slot, "web", &first, NULL);
    request(&f, slot, "web", &joined, NULL);
    request(&f, slot, "db", &other, NULL);
    expect_answer(&other, -EEXIST, "");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "loading\n");
    uint64_t image = play_load(&f, &b, slot, "web");
    assert_true(b.got_bytes > 3000000);
    expect_answer(&first, 0, "1 web@1\n");
    expect_answer(&joined, 0, "1 web@1\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "running\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_LOAD), "web@1\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_ERROR), "");
    assert_non_null(strstr(show(&f, slot, ENGINE_TEXT_PROGRESS), "100% 2.9MiB/2.9MiB sent 2.9MiB "));

    /* what runs already is a success at once; the blade hears nothing */
    struct answer again = ANSWER;
    request(&f, slot, "web", &again, NULL);
    expect_answer(&again, 0, "1 web@1\n");
    assert_false(fake_next(&b, &b.control, 100));

    /* a change: only what is new is not seeded */
    fake_holdings(&b, &image, 1);
    source_write(&f, "web", "small", 100, 3);
    struct answer changed = ANSWER;
    request(&f, slot, "web", &changed, NULL);
    struct blob_image *next = fake_take_descriptor(&b);
    assert_int_equal(b.seeded_chunks, blob_image_chunks(next) - 1);
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "running\n");
    blob_image_free(next);
    fake_send_load(&b, WIRE_PREPARED);
    fake_expect(&b, &b.control, WIRE_START);
    /* its answer first, its report behind */
    fake_send_load(&b, WIRE_STARTED);
    expect_answer(&changed, 0, "1 web@2\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "running\n");
    fake_report(&b, WIRE_PHASE_RUNNING, b.prepare.image, b.snapshot, "");

    /* going back to what the blade holds: without a descriptor */
    uint64_t both[2] = {image, b.prepare.image};
    fake_holdings(&b, both, 2);
    struct answer back = ANSWER;
    request(&f, slot, "web@1", &back, NULL);
    assert_int_equal(play_load(&f, &b, slot, "web@1"), image);
    assert_int_equal(b.prepare.descriptor_bytes, 0);
    expect_answer(&back, 0, "1 web@1\n");

    fake_drop(&b);
    expect_show(&f, slot, ENGINE_TEXT_STATE, "lost\n");
    end(&f);

    /* acknowledged is acknowledged */
    engine_begin(&f);
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "lost\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_LOAD), "web@1\n");
    struct err err;
    assert_int_equal(engine_slot_remove(f.engine, slot, &err), -ENOTEMPTY);
    fake_connect(&b, f.port, &key, &image, 1, WIRE_PHASE_RUNNING, image, "web@1");
    expect_show(&f, slot, ENGINE_TEXT_STATE, "running\n");
    fake_drop(&b);
    end(&f);
}

static void refuses(void **state)
{
    struct fixture f;
    struct wire_key key;
    struct fake_blade b;
    uint64_t number;
    begin(state, &f);
    uint32_t slot = slot_new(&f, "1", &key), id;
    struct err err;
    const struct engine_attr attr = {0};
    assert_int_equal(engine_slot_create(f.engine, "1", &attr, &id, &err), -EEXIST);
    assert_int_equal(engine_slot_create(f.engine, "any", &attr, &id, &err), -EINVAL);
    assert_int_equal(engine_slot_create(f.engine, "a/b", &attr, &id, &err), -EINVAL);
    assert_int_equal(engine_load(f.engine, slot, "a b", 3, take_answer, NULL, &number), -EINVAL);
    assert_int_equal(engine_load(f.engine, slot, "a\0b", 3, take_answer, NULL, &number), -EINVAL);
    assert_int_equal(engine_load(f.engine, 999, "web", 3, take_answer, NULL, &number), -ENOENT);

    struct answer absent = ANSWER, none = ANSWER, unknown = ANSWER, version = ANSWER;
    request(&f, slot, "nothing", &unknown, NULL); /* whatever the blade does */
    expect_answer(&unknown, -ENOENT, "");
    expect_error(&f, slot, "no snapshots/nothing");
    unknown = (struct answer)ANSWER;
    source_write(&f, "web", "a", 10, 1);
    request(&f, slot, "web", &absent, NULL);
    expect_answer(&absent, -ENXIO, "");
    expect_error(&f, slot, "not connected");
    request(&f, ENGINE_ANY, "web", &none, NULL);
    expect_answer(&none, -ENXIO, "");
    expect_error(&f, ENGINE_ANY, "no blade is available");

    connect_empty(&f, &b, slot, &key);
    request(&f, slot, "nothing", &unknown, NULL);
    expect_answer(&unknown, -ENOENT, "");
    request(&f, slot, "web@7", &version, NULL);
    expect_answer(&version, -ENOENT, "");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "ready\n");

    assert_int_equal(engine_slot_remove(f.engine, slot, &err), 0);
    assert_false(fake_next(&b, &b.control, 3000)); /* it is disconnected */
    assert_int_equal(engine_slot_find(f.engine, "1", &id), -ENOENT);
    fake_drop(&b);
    end(&f);
}

static void breaks(void **state)
{
    struct fixture f;
    struct wire_key key;
    struct fake_blade b;
    begin(state, &f);
    uint32_t slot = slot_new(&f, "3", &key);
    connect_empty(&f, &b, slot, &key);
    source_write(&f, "web", "program", 1000000, 1);

    /* in the middle of the stream */
    struct answer broken = ANSWER;
    request(&f, slot, "web", &broken, NULL);
    struct blob_image *image = fake_take_descriptor(&b);
    fake_take_chunks(&b, image, 0, 3);
    struct wire_message half = {.type = WIRE_PROGRESS,
                                .progress = {.load = b.load, .done_bytes = 620000, .total_bytes = 1000000}};
    fake_send(&b.control, &half);
    for (int i = 0; i < 200 && !strstr(show(&f, slot, ENGINE_TEXT_PROGRESS), "62% "); i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    blob_image_free(image);
    fake_drop(&b);
    expect_answer(&broken, -EIO, "");
    expect_error(&f, slot, "blade 3: connection lost after 62%");
    expect_error(&f, slot, "load again to send the rest");
    expect_show(&f, slot, ENGINE_TEXT_STATE, "absent\n");

    /* the blade fails it */
    connect_empty(&f, &b, slot, &key);
    struct answer full = ANSWER;
    request(&f, slot, "web", &full, NULL);
    blob_image_free(fake_take_descriptor(&b));
    struct wire_message failed = {
        .type = WIRE_FAILED,
        .failed = {.load = b.load, .code = ENOSPC, .sentence = wire_text("the disk is full")}};
    fake_send(&b.control, &failed);
    expect_answer(&full, -ENOSPC, "");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_ERROR), "blade 3: the disk is full\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "ready\n");

    /* nobody waits any more */
    struct answer cancelled = ANSWER;
    uint64_t number;
    request(&f, slot, "web", &cancelled, &number);
    blob_image_free(fake_take_descriptor(&b));
    engine_cancel(f.engine, number);
    expect_answer(&cancelled, -EINTR, "");
    fake_expect(&b, &b.control, WIRE_CANCEL);
    assert_int_equal(b.control.message.load.load, b.load);

    /* told to start, then away, then back: what it says then is the answer */
    struct answer away = ANSWER;
    request(&f, slot, "web", &away, &number);
    blob_image_free(fake_take_descriptor(&b));
    fake_send_load(&b, WIRE_PREPARED);
    fake_expect(&b, &b.control, WIRE_START);
    engine_cancel(f.engine, 0); /* unknown: ignored */
    fake_drop(&b);
    assert_false(wait_answer(&away, 300));
    uint64_t held = b.prepare.image;
    fake_connect(&b, f.port, &key, &held, 1, WIRE_PHASE_STARTING, held, "web@1");
    assert_false(wait_answer(&away, 300));
    fake_report(&b, WIRE_PHASE_RUNNING, held, "web@1", "");
    expect_answer(&away, 0, "3 web@1\n");

    /* a program that does not start: the old one runs again */
    source_write(&f, "web", "program", 1000, 9);
    struct answer bad = ANSWER;
    request(&f, slot, "web", &bad, NULL);
    blob_image_free(fake_take_descriptor(&b));
    fake_send_load(&b, WIRE_PREPARED);
    fake_expect(&b, &b.control, WIRE_START);
    fake_report(&b, WIRE_PHASE_STARTING, b.prepare.image, "web@2", "");
    struct wire_message no = {.type = WIRE_FAILED,
                              .failed = {.load = b.load, .code = EIO, .sentence = wire_text("exit code 3")}};
    fake_send(&b.control, &no);
    fake_report(&b, WIRE_PHASE_RUNNING, held, "web@1", "");
    expect_answer(&bad, -EIO, "");
    expect_show(&f, slot, ENGINE_TEXT_STATE, "running\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_LOAD), "web@1\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_ERROR), "blade 3: exit code 3\n");

    /* the last waiter wants to go when it is too late: it is told how it ends */
    struct answer late = ANSWER;
    request(&f, slot, "web", &late, &number);
    blob_image_free(fake_take_descriptor(&b));
    fake_send_load(&b, WIRE_PREPARED);
    fake_expect(&b, &b.control, WIRE_START);
    engine_cancel(f.engine, number);
    assert_false(wait_answer(&late, 300));
    fake_send_load(&b, WIRE_STARTED);
    expect_answer(&late, 0, "3 web@2\n");
    expect_show(&f, slot, ENGINE_TEXT_LOAD, "web@2\n");
    fake_drop(&b);
    end(&f);
}

static void runs_and_unloads(void **state)
{
    struct fixture f;
    struct wire_key key;
    struct fake_blade b;
    uint64_t number;
    begin(state, &f);
    uint32_t slot = slot_new(&f, "1", &key);
    connect_empty(&f, &b, slot, &key);
    source_write(&f, "web", "program", 1000, 1);
    struct answer load = ANSWER, stop = ANSWER, start = ANSWER, unload = ANSWER, nothing = ANSWER;
    request(&f, slot, "web", &load, NULL);
    uint64_t image = play_load(&f, &b, slot, "web");
    expect_answer(&load, 0, "1 web@1\n");

    assert_int_equal(engine_run(f.engine, slot, ENGINE_RUN_STOP, take_answer, &stop, &number), 0);
    fake_expect(&b, &b.control, WIRE_RUN);
    assert_int_equal(b.control.message.run.verb, WIRE_RUN_STOP);
    uint64_t order = b.control.message.run.request;
    fake_report(&b, WIRE_PHASE_STOPPED, image, "web@1", "");
    fake_send(&b.control, &(struct wire_message){.type = WIRE_RUN_DONE, .run_done = {.request = order}});
    expect_answer(&stop, 0, "");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "stopped\n");

    assert_int_equal(engine_run(f.engine, slot, ENGINE_RUN_START, take_answer, &start, &number), 0);
    fake_expect(&b, &b.control, WIRE_RUN);
    fake_send(&b.control, &(struct wire_message){.type = WIRE_RUN_DONE,
                                                 .run_done = {.request = b.control.message.run.request,
                                                              .code = EIO,
                                                              .sentence = wire_text("no such program")}});
    expect_answer(&start, -EIO, "");
    expect_error(&f, slot, "no such program");

    /* it ends by itself */
    fake_report(&b, WIRE_PHASE_FAILED, image, "web@1", "killed by signal 9");
    expect_show(&f, slot, ENGINE_TEXT_ERROR, "blade 1: killed by signal 9\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "failed\n");

    assert_int_equal(engine_run(f.engine, slot, ENGINE_UNLOAD, take_answer, &unload, &number), 0);
    fake_expect(&b, &b.control, WIRE_RUN);
    order = b.control.message.run.request;
    fake_report(&b, WIRE_PHASE_EMPTY, 0, "", "");
    fake_send(&b.control, &(struct wire_message){.type = WIRE_RUN_DONE, .run_done = {.request = order}});
    expect_answer(&unload, 0, "");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "ready\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_LOAD), "\n");
    assert_int_equal(engine_run(f.engine, slot, ENGINE_RUN_START, take_answer, &nothing, &number), 0);
    expect_answer(&nothing, -EIO, "");

    /* output */
    struct wire_message log = {.type = WIRE_LOG,
                               .log.output = {.at = (const uint8_t *)"hello\n", .len_bytes = 6}};
    fake_send(&b.bulk, &log);
    uint64_t size = 0;
    int64_t changed;
    for (int i = 0; i < 200 && size == 0; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        assert_int_equal(engine_log_stat(f.engine, slot, &size, &changed), 0);
    }
    char out[16] = "";
    assert_int_equal(engine_log_read(f.engine, slot, out, sizeof out, 1), 5);
    assert_string_equal(out, "ello\n");

    /* no running snapshot has the image any more: the blade need not keep it */
    fake_holdings(&b, &image, 1);
    uint32_t running;
    struct err err;
    assert_int_equal(engine_running_find(f.engine, "web@1", &running), 0);
    assert_int_equal(engine_running_remove(f.engine, running, &err), 0);
    fake_expect(&b, &b.control, WIRE_DROP);
    assert_int_equal(b.control.message.drop.image, image);

    /* unload and slot's removal */
    fake_drop(&b);
    expect_show(&f, slot, ENGINE_TEXT_STATE, "absent\n");
    assert_int_equal(engine_slot_remove(f.engine, slot, &err), 0);
    end(&f);
}

static void chooses(void **state)
{
    struct fixture f;
    struct wire_key keys[3];
    struct fake_blade b[3];
    uint32_t slots[3];
    begin(state, &f);
    const char *const names[] = {"1", "2", "3"};
    for (int i = 0; i < 3; i++) {
        slots[i] = slot_new(&f, names[i], &keys[i]);
        connect_empty(&f, &b[i], slots[i], &keys[i]);
    }
    source_write(&f, "web", "program", 500000, 1);
    struct answer two[2] = {ANSWER, ANSWER}, third = ANSWER, fourth = ANSWER;
    request(&f, ENGINE_ANY, "web", &two[0], NULL);
    request(&f, ENGINE_ANY, "web", &two[1], NULL);
    /* side by side, on the two that were ready first */
    struct blob_image *images[2];
    for (int i = 0; i < 2; i++)
        images[i] = fake_take_descriptor(&b[i]);
    for (int i = 0; i < 2; i++) {
        fake_take_chunks(&b[i], images[i], 0, blob_image_chunks(images[i]));
        blob_image_free(images[i]);
        fake_send_load(&b[i], WIRE_PREPARED);
        fake_expect(&b[i], &b[i].control, WIRE_START);
        fake_send_load(&b[i], WIRE_STARTED);
        fake_report(&b[i], WIRE_PHASE_RUNNING, b[i].prepare.image, "web@1", "");
    }
    for (int i = 0; i < 2; i++) {
        assert_true(wait_answer(&two[i], 5000));
        assert_int_equal(two[i].result, 0);
    }
    assert_string_not_equal(two[0].line, two[1].line);

    /* the only one left is lost in the middle: none is left then */
    request(&f, ENGINE_ANY, "web", &third, NULL);
    blob_image_free(fake_take_descriptor(&b[2]));
    request(&f, ENGINE_ANY, "web", &fourth, NULL);
    expect_answer(&fourth, -ENXIO, "");
    fake_drop(&b[2]);
    expect_answer(&third, -EIO, "");
    expect_error(&f, ENGINE_ANY, "blade 3: connection lost");

    /* unloaded and with the image at hand, 2 is better than 3 that waits longer */
    connect_empty(&f, &b[2], slots[2], &keys[2]);
    uint64_t number, image = b[1].prepare.image;
    struct answer unload = ANSWER, best = ANSWER;
    fake_holdings(&b[1], &image, 1);
    assert_int_equal(engine_run(f.engine, slots[1], ENGINE_UNLOAD, take_answer, &unload, &number), 0);
    fake_expect(&b[1], &b[1].control, WIRE_RUN);
    fake_send(&b[1].control,
              &(struct wire_message){.type = WIRE_RUN_DONE,
                                     .run_done = {.request = b[1].control.message.run.request}});
    expect_answer(&unload, 0, "");
    request(&f, ENGINE_ANY, "web", &best, NULL);
    assert_int_equal(play_load(&f, &b[1], slots[1], "web"), image);
    expect_answer(&best, 0, "2 web@1\n");
    assert_string_equal(show(&f, ENGINE_ANY, ENGINE_TEXT_LOAD), "2 web@1\n");
    assert_string_equal(show(&f, ENGINE_ANY, ENGINE_TEXT_ERROR), "");

    /* lost in the middle with another at hand: that one takes it */
    struct wire_key key;
    struct fake_blade spare;
    struct answer moved = ANSWER;
    uint32_t slot = slot_new(&f, "9", &key);
    connect_empty(&f, &spare, slot, &key);
    request(&f, ENGINE_ANY, "web", &moved, NULL);
    blob_image_free(fake_take_descriptor(&b[2]));
    fake_drop(&b[2]);
    play_load(&f, &spare, slot, "web");
    expect_answer(&moved, 0, "9 web@1\n");

    OWNED_BUF struct buf table = BUF_EMPTY;
    assert_int_equal(engine_show_status(f.engine, &table, NULL), 0);
    buf_put_u8(&table, 0);
    assert_non_null(strstr((char *)table.bytes, "SLOT  STATE    IMAGE  SINCE"));
    assert_non_null(strstr((char *)table.bytes, "\n1     running  web@1  20"));
    fake_drop(&spare);
    fake_drop(&b[0]);
    fake_drop(&b[1]);
    end(&f);
}

/* The first connection's agent lives. */
static void *serve_pings(void *arg)
{
    struct fake_blade *b = arg;
    fake_next(b, &b->control, 700);
    return NULL;
}

static void lets_one_in(void **state)
{
    struct fixture f;
    struct wire_key key, wrong;
    struct fake_blade b, second;
    begin(state, &f);
    uint32_t slot = slot_new(&f, "1", &key);

    /* a key that is not this slot's */
    assert_int_equal(wire_key_make(key.id, &wrong, NULL), 0);
    second = (struct fake_blade){.port = f.port, .key = wrong};
    int rc = fake_dial(&second, &second.control, WIRE_ROLE_CONTROL);
    assert_true(rc != 0);
    fake_drop(&second);

    connect_empty(&f, &b, slot, &key);
    /* a bulk connection of no session */
    second = (struct fake_blade){.port = f.port, .key = key, .session = 12345};
    assert_int_equal(fake_dial(&second, &second.bulk, WIRE_ROLE_BULK), WIRE_REFUSED);
    assert_int_equal(second.bulk.message.refused.code, WIRE_REFUSED_SESSION);
    fake_drop(&second);

    /* a second one while the first answers: the test's thread must serve both */
    second = (struct fake_blade){.port = f.port, .key = key};
    pthread_t thread;
    struct fake_blade *first = &b;
    assert_int_equal(pthread_create(&thread, NULL, serve_pings, first), 0);
    assert_int_equal(fake_dial(&second, &second.control, WIRE_ROLE_CONTROL), WIRE_REFUSED);
    assert_int_equal(second.control.message.refused.code, WIRE_REFUSED_BUSY);
    pthread_join(thread, NULL);
    fake_drop(&second);
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "ready\n");

    /* and while it does not answer */
    int64_t since_ms = clock_boot_ms();
    second = (struct fake_blade){.port = f.port, .key = key};
    assert_int_equal(fake_dial(&second, &second.control, WIRE_ROLE_CONTROL), 0);
    assert_true(clock_boot_ms() - since_ms < 2000);
    fake_drop(&second);
    fake_drop(&b);
    end(&f);
}

static void ends_with_loads_under_way(void **state)
{
    struct fixture f;
    struct wire_key keys[2];
    struct fake_blade b[2];
    begin(state, &f);
    uint32_t one = slot_new(&f, "1", &keys[0]), two = slot_new(&f, "2", &keys[1]);
    connect_empty(&f, &b[0], one, &keys[0]);
    connect_empty(&f, &b[1], two, &keys[1]);
    source_write(&f, "web", "program", 5000000, 1);
    struct answer answers[2] = {ANSWER, ANSWER};
    request(&f, one, "web", &answers[0], NULL);
    blob_image_free(fake_take_descriptor(&b[0]));
    request(&f, two, "web", &answers[1], NULL);
    end(&f);
    expect_answer(&answers[0], -EINTR, "");
    expect_answer(&answers[1], -EINTR, "");
    fake_drop(&b[0]);
    fake_drop(&b[1]);
}

static void takes_over_what_runs(void **state)
{
    struct fixture f;
    struct wire_key key;
    struct fake_blade b;
    begin(state, &f);
    uint32_t slot = slot_new(&f, "1", &key);
    connect_empty(&f, &b, slot, &key);
    source_write(&f, "web", "program", 1000, 1);
    struct answer cut = ANSWER;
    request(&f, slot, "web", &cut, NULL);
    blob_image_free(fake_take_descriptor(&b));
    fake_send_load(&b, WIRE_PREPARED);
    fake_expect(&b, &b.control, WIRE_START);
    uint64_t image = b.prepare.image;
    end(&f); /* the controller dies before it could note it */
    expect_answer(&cut, -EINTR, "");
    fake_drop(&b);
    engine_begin(&f);
    assert_string_equal(show(&f, slot, ENGINE_TEXT_LOAD), "\n");
    fake_connect(&b, f.port, &key, &image, 1, WIRE_PHASE_RUNNING, image, "web@1");
    expect_show(&f, slot, ENGINE_TEXT_LOAD, "web@1\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "running\n");
    fake_drop(&b);
    expect_show(&f, slot, ENGINE_TEXT_STATE, "lost\n");

    /* another disk */
    fake_connect(&b, f.port, &key, NULL, 0, WIRE_PHASE_EMPTY, 0, "");
    expect_show(&f, slot, ENGINE_TEXT_STATE, "failed\n");
    expect_error(&f, slot, "without web@1");
    struct answer again = ANSWER;
    request(&f, slot, "web@1", &again, NULL);
    play_load(&f, &b, slot, "web@1");
    expect_answer(&again, 0, "1 web@1\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_ERROR), "");
    fake_drop(&b);
    end(&f);
}

static int remove_running(struct fixture *f, const char *name, uint64_t n)
{
    uint32_t id;
    int r = runnings_find(f->engine->runnings, name, n, &id);
    return r < 0 ? r : engine_running_remove(f->engine, id, NULL);
}

/* What a blade was told to start it may run, whatever happened since, until it says what it runs. */
static void what_may_run_is_not_removed(void **state)
{
    struct fixture f;
    struct wire_key key;
    struct fake_blade b;
    begin(state, &f);
    uint32_t slot = slot_new(&f, "1", &key);
    connect_empty(&f, &b, slot, &key);
    source_write(&f, "web", "program", 1000, 1);
    struct answer cut = ANSWER;
    request(&f, slot, "web", &cut, NULL);
    blob_image_free(fake_take_descriptor(&b));
    fake_send_load(&b, WIRE_PREPARED);
    fake_expect(&b, &b.control, WIRE_START);
    end(&f);
    expect_answer(&cut, -EINTR, "");
    fake_drop(&b);
    engine_begin(&f);
    assert_int_equal(remove_running(&f, "web", 1), -ENOTEMPTY);
    fake_connect(&b, f.port, &key, NULL, 0, WIRE_PHASE_EMPTY, 0, "");
    expect_show(&f, slot, ENGINE_TEXT_STATE, "ready\n");
    assert_int_equal(remove_running(&f, "web", 1), -ENOTEMPTY); /* the start may still be on its way */
    int r = -ENOTEMPTY;
    for (int i = 0; i < 1000 && r == -ENOTEMPTY; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        r = remove_running(&f, "web", 1);
    }
    assert_int_equal(r, 0);

    /* One that did not start holds nothing. */
    source_write(&f, "web", "program", 1000, 2);
    struct answer bad = ANSWER;
    request(&f, slot, "web", &bad, NULL);
    blob_image_free(fake_take_descriptor(&b));
    fake_send_load(&b, WIRE_PREPARED);
    fake_expect(&b, &b.control, WIRE_START);
    assert_int_equal(remove_running(&f, "web", 2), -ENOTEMPTY);
    const struct wire_message no = {
        .type = WIRE_FAILED, .failed = {.load = b.prepare.load, .code = EIO, .sentence = wire_text("no")}};
    fake_send(&b.control, &no);
    expect_answer(&bad, -EIO, "");
    for (int i = 0; i < 100 && remove_running(&f, "web", 2) == -ENOTEMPTY; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_int_equal(remove_running(&f, "web", 2), -ENOENT);
    fake_drop(&b);
    end(&f);
}

/* A store from a backup: what runs is shown by its name all the same. */
static void shows_what_it_does_not_have(void **state)
{
    struct fixture f;
    struct wire_key key;
    struct fake_blade b;
    const uint64_t image = 99;
    begin(state, &f);
    uint32_t slot = slot_new(&f, "1", &key);
    fake_connect(&b, f.port, &key, &image, 1, WIRE_PHASE_RUNNING, image, "web@7");
    expect_show(&f, slot, ENGINE_TEXT_LOAD, "web@7\n");
    assert_string_equal(show(&f, slot, ENGINE_TEXT_STATE), "running\n");
    expect_error(&f, slot, "web@7, which this store does not have");
    fake_drop(&b);
    end(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(loads_and_runs, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(refuses, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(breaks, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(runs_and_unloads, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(chooses, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(lets_one_in, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(ends_with_loads_under_way, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(takes_over_what_runs, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(what_may_run_is_not_removed, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(shows_what_it_does_not_have, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
