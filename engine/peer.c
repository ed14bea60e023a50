#include "peer.h"

#include <string.h>
#include <sys/socket.h>

#include "base/container.h"

#define IN_BYTES (64u << 10)
#define FINISH_MS 1000

static void flush(struct peer *peer);

static void reap(struct loop_task *task)
{
    struct peer *peer = CONTAINER_OF(task, struct peer, reap_task);
    struct peer_events events = peer->events;
    close(peer->fd);
    wire_link_free(peer->link);
    free(peer->in);
    buf_free(&peer->out);
    free(peer);
    events.freed(events.arg);
}

static void reap_if_idle(struct peer *peer)
{
    if (!peer->closing || peer->reaping || peer->read_op.busy || peer->write_op.busy)
        return;
    peer->reaping = true;
    peer->reap_task.run = reap;
    loop_post(peer->loop, &peer->reap_task); /* a caller further up may still be looking at it */
}

void peer_close(struct peer *peer, const char *why)
{
    if (peer->closing)
        return;
    peer->closing = true;
    shutdown(peer->fd, SHUT_RDWR);
    loop_cancel(peer->loop, &peer->read_op);
    loop_cancel(peer->loop, &peer->write_op);
    peer->events.closed(peer, why);
    reap_if_idle(peer);
}

void peer_finish(struct peer *peer, const char *why)
{
    if (peer->closing || peer->finish_ms)
        return;
    flush(peer);
    peer->finish_ms = loop_now_ms(peer->loop) + FINISH_MS;
    snprintf(peer->finish_why, sizeof peer->finish_why, "%s", why);
    if (peer_pending(peer) == 0)
        peer_close(peer, peer->finish_why);
}

void peer_tick(struct peer *peer)
{
    if (peer->finish_ms && loop_now_ms(peer->loop) >= peer->finish_ms)
        peer_close(peer, peer->finish_why);
}

static void receive(struct peer *peer, size_t len_bytes)
{
    struct err err = {0};
    if (wire_link_feed(peer->link, peer->in, len_bytes, &err) < 0) {
        peer_finish(peer, err.message); /* an alert for the other side may be waiting */
        return;
    }
    struct wire_message message;
    while (!peer->closing && !peer->finish_ms) {
        int rc = wire_link_next(peer->link, &message, &err);
        if (rc < 0) {
            peer_close(peer, err.message);
            return;
        }
        if (rc == 0)
            break;
        peer->events.message(peer, &message);
    }
    if (!peer->closing)
        flush(peer);
}

static void start_read(struct peer *peer)
{
    loop_read(peer->loop, &peer->read_op, peer->fd, peer->in, IN_BYTES, LOOP_STREAM);
}

static void read_done(struct loop_op *op, int result)
{
    struct peer *peer = CONTAINER_OF(op, struct peer, read_op);
    if (peer->closing) {
        reap_if_idle(peer);
        return;
    }
    if (result == -EINTR || result == -EAGAIN) {
        start_read(peer);
        return;
    }
    if (peer->finish_ms) {
        if (result <= 0)
            peer_close(peer, peer->finish_why);
        return;
    }
    if (result <= 0) {
        peer_close(peer, result < 0 ? strerror(-result) : "");
        return;
    }
    peer->heard_ms = loop_now_ms(peer->loop);
    receive(peer, (size_t)result);
    if (peer->closing)
        reap_if_idle(peer);
    else if (!peer->finish_ms)
        start_read(peer);
}

static void write_rest(struct peer *peer)
{
    loop_write(peer->loop, &peer->write_op, peer->fd, peer->out.bytes + peer->out_off_bytes,
               (uint32_t)(peer->out.len_bytes - peer->out_off_bytes), LOOP_STREAM);
}

/* The link's output moves when more is queued behind it: what the kernel is given is taken out first. */
static void flush(struct peer *peer)
{
    if (peer->closing || peer->write_op.busy)
        return;
    const uint8_t *bytes = NULL;
    if (wire_link_output(peer->link, &bytes) == 0)
        return;
    wire_link_take(peer->link, &peer->out);
    peer->out_off_bytes = 0;
    peer->sent_ms = loop_now_ms(peer->loop);
    write_rest(peer);
}

static void write_done(struct loop_op *op, int result)
{
    struct peer *peer = CONTAINER_OF(op, struct peer, write_op);
    if (peer->closing) {
        reap_if_idle(peer);
        return;
    }
    if (result < 0 && result != -EINTR && result != -EAGAIN) {
        peer_close(peer, strerror(-result));
        return;
    }
    if (result > 0)
        peer->out_off_bytes += (size_t)result;
    if (peer->out_off_bytes < peer->out.len_bytes) {
        write_rest(peer);
        return;
    }
    peer->out_off_bytes = peer->out.len_bytes = 0;
    flush(peer);
    if (peer->finish_ms && peer_pending(peer) == 0) {
        peer_close(peer, peer->finish_why);
        return;
    }
    peer->events.drained(peer);
}

int peer_new(struct loop *loop, int fd, const char *address, wire_find_key find, void *find_arg,
             const struct peer_events *events, struct peer **out)
{
    struct peer *peer = calloc(1, sizeof *peer);
    uint8_t *in = malloc(IN_BYTES);
    struct wire_link *link = NULL;
    if (!peer || !in || wire_link_new_controller(find, find_arg, &link, NULL) < 0) {
        free(peer);
        free(in);
        close(fd);
        return -ENOMEM;
    }
    *peer = (struct peer){.loop = loop,
                          .events = *events,
                          .link = link,
                          .fd = fd,
                          .in = in,
                          .out = BUF_EMPTY,
                          .read_op.done = read_done,
                          .write_op.done = write_done};
    snprintf(peer->address, sizeof peer->address, "%s", address);
    peer->opened_ms = peer->heard_ms = peer->sent_ms = loop_now_ms(loop);
    start_read(peer);
    *out = peer;
    return 0;
}

int peer_send(struct peer *peer, const struct wire_message *message)
{
    if (peer->closing)
        return -EPIPE;
    struct err err = {0};
    int rc = wire_link_send(peer->link, message, &err);
    if (rc < 0) {
        peer_close(peer, err.message);
        return rc;
    }
    flush(peer);
    return 0;
}

size_t peer_pending(const struct peer *peer)
{
    const uint8_t *bytes;
    return wire_link_output(peer->link, &bytes) + (peer->out.len_bytes - peer->out_off_bytes);
}
