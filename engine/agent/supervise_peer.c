#include "supervise.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/log.h"

int supervise_listen(struct supervisor *s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    /* By its fd: the path of the directory may be longer than an address. */
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/sock", s->current_fd);
    if (unlinkat(s->current_fd, "sock", 0) < 0 && errno != ENOENT)
        return -errno;
    OWNED_FD fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 4) < 0)
        return -errno;
    s->listen_fd = steal_fd(&fd);
    return 0;
}

static void drop_client(struct supervisor *s)
{
    cleanup_fd(&s->client_fd);
    s->client_fd = -1;
    s->attached = s->full = false;
    int r = instance_log_save(&s->log);
    if (r < 0)
        log_warn("%s/log.pos cannot be written: %s", s->current, strerror(-r));
}

void supervise_accept(struct supervisor *s)
{
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (s->client_fd >= 0)
        drop_client(s);
    s->client_fd = fd;
}

/* false: not now. */
static bool send_packet(struct supervisor *s, const struct buf *packet)
{
    if (packet->error)
        return false;
    ssize_t n = send(s->client_fd, packet->bytes, packet->len_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0)
        return true;
    s->full = errno == EAGAIN || errno == ENOBUFS;
    if (!s->full && errno != EINTR)
        drop_client(s);
    return false;
}

static bool send_state(struct supervisor *s)
{
    OWNED_BUF struct buf packet = BUF_EMPTY;
    supervise_state_encode(&s->state, &packet);
    return send_packet(s, &packet);
}

static void obey(struct supervisor *s, const uint8_t *bytes, size_t len_bytes)
{
    struct rd r = rd_over(bytes, len_bytes);
    uint8_t type = rd_u8(&r);
    uint64_t value = type == SUPERVISE_STOP ? rd_u32(&r) : type == SUPERVISE_GOT ? rd_u64(&r) : 0;
    if (rd_end(&r) < 0)
        return;
    if (type == SUPERVISE_ASK) {
        send_state(s);
    } else if (type == SUPERVISE_ATTACH) {
        s->attached = s->tell = true;
        s->sent = s->log.handed_on;
    } else if (type == SUPERVISE_STOP) {
        supervise_stop(s, (int64_t)value);
    } else if (type == SUPERVISE_GOT && value <= s->sent && value > s->log.handed_on) {
        s->log.handed_on = value;
    }
}

void supervise_receive(struct supervisor *s)
{
    uint8_t packet[64];
    while (s->client_fd >= 0) {
        ssize_t n = recv(s->client_fd, packet, sizeof(packet), MSG_DONTWAIT);
        if (n > 0) {
            obey(s, packet, (size_t)n);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            drop_client(s);
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

static bool send_output(struct supervisor *s, struct buf *packet)
{
    uint64_t offset = s->sent;
    packet->len_bytes = 0;
    buf_put_u8(packet, SUPERVISE_OUTPUT);
    buf_put_u64(packet, 0);
    uint8_t *room = buf_room(packet, SUPERVISE_OUTPUT_MAX_BYTES);
    ssize_t n = room ? instance_log_read(&s->log, &offset, room, SUPERVISE_OUTPUT_MAX_BYTES) : -ENOMEM;
    if (n <= 0)
        return false;
    le64_to(packet->bytes + 1, offset);
    buf_grew(packet, (size_t)n);
    if (!send_packet(s, packet))
        return false;
    s->sent = offset + (uint64_t)n;
    return true;
}

void supervise_pump(struct supervisor *s)
{
    OWNED_BUF struct buf packet = BUF_EMPTY;
    s->full = false;
    while (s->attached && s->sent < instance_log_end(&s->log) &&
           s->sent - s->log.handed_on < SUPERVISE_WINDOW_BYTES)
        if (!send_output(s, &packet))
            break;
    if (s->attached && s->tell && !s->full && send_state(s))
        s->tell = false;
}
