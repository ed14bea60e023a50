#include "base/loop.h"

#include <assert.h>
#include <liburing.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "base/fdio.h"

/* An op that could not be handed to the kernel: its `done` is called on the next turn. */
struct refused {
    struct loop_op *op;
    int result;
};

struct loop {
    struct io_uring ring;
    int64_t now_ms;
    unsigned in_flight; /* ops with the kernel, without the wake-up read and cancellations */
    bool fixed;         /* buffers are registered */
    bool closing;
    atomic_bool stopping;

    struct refused *refused;
    size_t refused_count, refused_cap;

    pthread_mutex_t posted_lock;
    struct loop_task *posted_first, **posted_end;
    int wake_fd;
    uint64_t wake_count;
    bool waiting_for_wake;
};

/* What marks completions that belong to no op. */
#define CANCELLATION NULL
static struct loop_op wake_mark;

int loop_new(unsigned entries, struct loop **out, struct err *err)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return err_set(err, ENOMEM, "no memory for an event loop");

    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE | IORING_SETUP_COOP_TASKRUN |
                                              IORING_SETUP_SUBMIT_ALL,
                                     .cq_entries = entries * 4};
    int r = io_uring_queue_init_params(entries, &loop->ring, &params);
    if (r == -EINVAL) { /* a kernel before 5.19 knows less */
        params = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE, .cq_entries = entries * 4};
        r = io_uring_queue_init_params(entries, &loop->ring, &params);
    }
    if (r < 0) {
        free(loop);
        if (r == -ENOSYS || r == -EPERM)
            return err_set(err, -r,
                           "io_uring is not to be had here (kernel.io_uring_disabled, or a seccomp filter): "
                           "it is a requirement");
        return err_sys(err, -r, "cannot set up an io_uring of %u entries", entries);
    }
    loop->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (loop->wake_fd < 0) {
        r = -errno;
        io_uring_queue_exit(&loop->ring);
        free(loop);
        return err_sys(err, -r, "cannot make an eventfd");
    }
    io_uring_ring_dontfork(&loop->ring);
    pthread_mutex_init(&loop->posted_lock, NULL);
    loop->posted_end = &loop->posted_first;
    loop->now_ms = clock_boot_ms();
    *out = loop;
    return 0;
}

int64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ms;
}

/* ---- submitting ---- */

/* When even this has no memory the op is answered at once: `done` from within a submission, the lesser evil.
 */
static void refuse(struct loop *loop, struct loop_op *op, int result)
{
    if (loop->refused_count == loop->refused_cap) {
        size_t cap = loop->refused_cap ? loop->refused_cap * 2 : 16;
        struct refused *more = realloc(loop->refused, cap * sizeof(*more));
        if (!more) {
            op->busy = false;
            op->done(op, result);
            return;
        }
        loop->refused = more;
        loop->refused_cap = cap;
    }
    loop->refused[loop->refused_count++] = (struct refused){.op = op, .result = result};
}

static struct io_uring_sqe *sqe_get(struct loop *loop)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
    for (int tries = 0; !sqe && tries < 8; tries++) {
        /* The queue is full: hand it over early. */
        io_uring_submit(&loop->ring);
        sqe = io_uring_get_sqe(&loop->ring);
    }
    return sqe;
}

static struct io_uring_sqe *begin(struct loop *loop, struct loop_op *op)
{
    op->busy = true;
    if (loop->closing) {
        refuse(loop, op, -ECANCELED);
        return NULL;
    }
    struct io_uring_sqe *sqe = sqe_get(loop);
    if (!sqe) {
        refuse(loop, op, -EAGAIN);
        return NULL;
    }
    loop->in_flight++;
    return sqe;
}

void loop_read(struct loop *loop, struct loop_op *op, int fd, void *buf, uint32_t len_bytes, uint64_t offset)
{
    struct io_uring_sqe *sqe = begin(loop, op);
    if (sqe) {
        io_uring_prep_read(sqe, fd, buf, len_bytes, offset);
        io_uring_sqe_set_data(sqe, op);
    }
}

void loop_write(struct loop *loop, struct loop_op *op, int fd, const void *buf, uint32_t len_bytes,
                uint64_t offset)
{
    struct io_uring_sqe *sqe = begin(loop, op);
    if (sqe) {
        io_uring_prep_write(sqe, fd, buf, len_bytes, offset);
        io_uring_sqe_set_data(sqe, op);
    }
}

void loop_poll(struct loop *loop, struct loop_op *op, int fd, short events)
{
    struct io_uring_sqe *sqe = begin(loop, op);
    if (sqe) {
        io_uring_prep_poll_add(sqe, fd, (unsigned)events);
        io_uring_sqe_set_data(sqe, op);
    }
}

void loop_timer(struct loop *loop, struct loop_op *op, int64_t after_ms)
{
    struct io_uring_sqe *sqe = begin(loop, op);
    if (!sqe)
        return;
    if (after_ms < 0)
        after_ms = 0;
    /* The kernel reads the time when the op is submitted, later than this call: it lies in the op. */
    static_assert(sizeof(op->timeout_at) == sizeof(struct __kernel_timespec), "a timespec fits");
    struct __kernel_timespec when = {.tv_sec = after_ms / 1000, .tv_nsec = (after_ms % 1000) * 1000000};
    memcpy(op->timeout_at, &when, sizeof(when));
    io_uring_prep_timeout(sqe, (struct __kernel_timespec *)(void *)op->timeout_at, 0,
                          IORING_TIMEOUT_BOOTTIME);
    io_uring_sqe_set_data(sqe, op);
}

void loop_register(struct loop *loop, void *region, unsigned count, uint32_t each_bytes)
{
    OWNED struct iovec *buffers = calloc(count, sizeof(*buffers));
    if (!buffers)
        return;
    for (unsigned i = 0; i < count; i++)
        buffers[i] =
            (struct iovec){.iov_base = (char *)region + (size_t)i * each_bytes, .iov_len = each_bytes};
    loop->fixed = io_uring_register_buffers(&loop->ring, buffers, count) == 0;
}

void loop_read_fixed(struct loop *loop, struct loop_op *op, int fd, void *buf, uint32_t len_bytes,
                     uint64_t offset, unsigned index)
{
    if (!loop->fixed) {
        loop_read(loop, op, fd, buf, len_bytes, offset);
        return;
    }
    struct io_uring_sqe *sqe = begin(loop, op);
    if (sqe) {
        io_uring_prep_read_fixed(sqe, fd, buf, len_bytes, offset, (int)index);
        io_uring_sqe_set_data(sqe, op);
    }
}

void loop_cancel(struct loop *loop, struct loop_op *op)
{
    if (!op->busy || loop->closing)
        return;
    struct io_uring_sqe *sqe = sqe_get(loop);
    if (!sqe)
        return;
    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_data(sqe, CANCELLATION);
}

/* ---- posting ---- */

static void wake(struct loop *loop)
{
    uint64_t one = 1;
    while (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void loop_post(struct loop *loop, struct loop_task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&loop->posted_lock);
    bool first = !loop->posted_first;
    *loop->posted_end = task;
    loop->posted_end = &task->next;
    pthread_mutex_unlock(&loop->posted_lock);
    if (first)
        wake(loop);
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stopping, true);
    wake(loop);
}

static void run_posted(struct loop *loop)
{
    pthread_mutex_lock(&loop->posted_lock);
    struct loop_task *task = loop->posted_first;
    loop->posted_first = NULL;
    loop->posted_end = &loop->posted_first;
    pthread_mutex_unlock(&loop->posted_lock);

    while (task) {
        struct loop_task *next = task->next; /* run() may free or post the task again */
        task->run(task);
        task = next;
    }
}

static void watch_for_wake(struct loop *loop)
{
    if (loop->waiting_for_wake || loop->closing)
        return;
    struct io_uring_sqe *sqe = sqe_get(loop);
    if (!sqe)
        return; /* the next turn tries again */
    io_uring_prep_read(sqe, loop->wake_fd, &loop->wake_count, sizeof(loop->wake_count), 0);
    io_uring_sqe_set_data(sqe, &wake_mark);
    loop->waiting_for_wake = true;
}

/* ---- running ---- */

static void run_refused(struct loop *loop)
{
    /* Only those that are there now: a `done` that submits again may be refused again. */
    size_t count = loop->refused_count;
    for (size_t i = 0; i < count; i++) {
        struct refused refused = loop->refused[i];
        refused.op->busy = false;
        refused.op->done(refused.op, refused.result);
    }
    memmove(loop->refused, loop->refused + count, (loop->refused_count - count) * sizeof(*loop->refused));
    loop->refused_count -= count;
}

static void complete(struct loop *loop, struct io_uring_cqe *cqe)
{
    struct loop_op *op = io_uring_cqe_get_data(cqe);
    int result = cqe->res;
    io_uring_cqe_seen(&loop->ring, cqe);

    if (op == &wake_mark) {
        loop->waiting_for_wake = false;
    } else if (op != CANCELLATION) {
        loop->in_flight--;
        op->busy = false;
        op->done(op, result);
    }
}

static int turn(struct loop *loop)
{
    bool must_wait = loop->refused_count == 0;
    int r = must_wait ? io_uring_submit_and_wait(&loop->ring, 1) : io_uring_submit(&loop->ring);
    if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
        return r;

    loop->now_ms = clock_boot_ms();
    struct io_uring_cqe *cqe;
    while (io_uring_peek_cqe(&loop->ring, &cqe) == 0)
        complete(loop, cqe);
    if (loop->refused_count)
        run_refused(loop);
    run_posted(loop);
    return 0;
}

int loop_run(struct loop *loop)
{
    while (!atomic_load(&loop->stopping)) {
        watch_for_wake(loop);
        int r = turn(loop);
        if (r < 0)
            return r;
    }
    atomic_store(&loop->stopping, false);
    return 0;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    loop->closing = true;
    while (loop->in_flight || loop->waiting_for_wake || loop->refused_count) {
        struct io_uring_sqe *sqe =
            loop->in_flight || loop->waiting_for_wake ? io_uring_get_sqe(&loop->ring) : NULL;
        if (sqe) {
            io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
            io_uring_sqe_set_data(sqe, CANCELLATION);
        }
        if (turn(loop) < 0)
            break;
    }
    io_uring_queue_exit(&loop->ring);
    close(loop->wake_fd);
    pthread_mutex_destroy(&loop->posted_lock);
    free(loop->refused);
    free(loop);
}
