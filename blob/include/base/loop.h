/*
 * An event loop over io_uring (io_uring(7)). One thread runs it; every callback is made on that thread; only
 * loop_post and loop_stop may be called from others. It knows fds, offsets and times, not what they mean: a
 * socket is read and written as any other fd.
 *
 * An operation is a `struct loop_op` inside the caller's own object. It must stay where it is, and so must
 * the buffer or path that it names, from submission until its `done` was called, which happens exactly once
 * for each submission, also after loop_cancel (result -ECANCELED, or the true result if that came first).
 * `done` may submit again, the same op included. Submissions are gathered and handed to the kernel once a
 * turn of the loop.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;

struct loop_op {
    void (*done)(struct loop_op *op, int result); /* result: 0 or more, or -errno */
    bool busy;                                    /* submitted and not done; read only */
    int64_t timeout_at[2];                        /* the loop's own */
};

struct loop_task {
    void (*run)(struct loop_task *task);
    struct loop_task *next; /* the loop's own */
};

#define LOOP_STREAM UINT64_MAX /* the offset of what has none: sockets, pipes */

/*
 * Makes a loop with a ring of `entries` (a power of two). -ENOSYS or -EPERM when io_uring is not to be had
 * here (seccomp, kernel.io_uring_disabled): the sentence says so. The caller frees it, when it does not run,
 * with loop_free; operations still under way are cancelled and waited for, their `done` being called.
 */
int loop_new(unsigned entries, struct loop **out, struct err *err) MUST_CHECK;
void loop_free(struct loop *loop);

/* Runs until loop_stop. Returns 0, or -errno when the ring itself failed. Blocks. */
int loop_run(struct loop *loop) MUST_CHECK;
void loop_stop(struct loop *loop); /* any thread */

/* Has `task->run` called on the loop's thread, in the order of posting. Any thread; the task must live until
 * it ran. */
void loop_post(struct loop *loop, struct loop_task *task);

/* CLOCK_BOOTTIME in ms, read once a turn. */
int64_t loop_now_ms(const struct loop *loop);

void loop_read(struct loop *loop, struct loop_op *op, int fd, void *buf, uint32_t len_bytes, uint64_t offset);
void loop_write(struct loop *loop, struct loop_op *op, int fd, const void *buf, uint32_t len_bytes,
                uint64_t offset);
void loop_poll(struct loop *loop, struct loop_op *op, int fd, short events); /* once; result: revents */
void loop_timer(struct loop *loop, struct loop_op *op, int64_t after_ms);    /* result: -ETIME when it came */

/*
 * Registers one region as `count` fixed buffers of `each_bytes` (io_uring_register_buffers(3)); once a loop.
 * The region is the caller's and must outlive the loop. When registration is refused (RLIMIT_MEMLOCK)
 * loop_read_fixed still works, as an ordinary read. `index` is the buffer that `buf` lies in.
 */
void loop_register(struct loop *loop, void *region, unsigned count, uint32_t each_bytes);
void loop_read_fixed(struct loop *loop, struct loop_op *op, int fd, void *buf, uint32_t len_bytes,
                     uint64_t offset, unsigned index);

/* Asks that a busy op end soon; its `done` still comes. Not busy: nothing happens. */
void loop_cancel(struct loop *loop, struct loop_op *op);

#endif
