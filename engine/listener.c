#include "listener.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/container.h"
#include "base/log.h"

#define BACKLOG 512
#define ACCEPTS_A_TURN 64

struct listener {
    struct loop *loop;
    struct loop_op poll_op;
    int fd;
    bool stopping;
    listener_accepted accepted;
    void *arg;
};

static void address_format(const struct sockaddr_storage *from, socklen_t len, char out[64])
{
    char host[INET6_ADDRSTRLEN] = "", port[8] = "";
    if (getnameinfo((const struct sockaddr *)from, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        snprintf(out, 64, "an unknown address");
        return;
    }
    snprintf(out, 64, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static void wait_for_more(struct listener *listener)
{
    if (!listener->stopping && !listener->poll_op.busy)
        loop_poll(listener->loop, &listener->poll_op, listener->fd, POLLIN);
}

static void readable(struct loop_op *op, int result)
{
    struct listener *listener = CONTAINER_OF(op, struct listener, poll_op);
    if (listener->stopping || result < 0)
        return;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        /* Not O_NONBLOCK: the ring waits for what is not ready, and gives EAGAIN on a socket that is. */
        int fd = accept4(listener->fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC);
        if (fd >= 0) {
            char address[64];
            address_format(&from, len, address);
            listener->accepted(listener->arg, fd, address);
            continue;
        }
        if (errno == EAGAIN)
            break;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_error("no connection can be accepted: %s", strerror(errno));
            return; /* the next tick tries again */
        }
    }
    wait_for_more(listener);
}

static int listen_on(const struct addrinfo *ai)
{
    OWNED_FD fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);
    if (fd < 0)
        return -errno;
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    return steal_fd(&fd);
}

static int open_socket(const char *host, const char *port, struct err *err)
{
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0) {
        return err_set(err, rc == EAI_SYSTEM ? errno : EINVAL, "cannot listen on %s:%s: %s",
                       host ? host : "*", port, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
    }
    int fd = -EADDRNOTAVAIL;
    for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
        fd = listen_on(ai);
    freeaddrinfo(list);
    if (fd == -EADDRINUSE) {
        return err_set(
            err, EADDRINUSE,
            "cannot listen on %s:%s: the port is in use, perhaps by another controller; choose one "
            "with listen=HOST:PORT",
            host ? host : "*", port);
    }
    if (fd < 0)
        return err_sys(err, -fd, "cannot listen on %s:%s", host ? host : "*", port);
    return fd;
}

int listener_new(struct loop *loop, const char *host, const char *port, listener_accepted accepted, void *arg,
                 struct listener **out, struct err *err)
{
    OWNED_FD fd = open_socket(host, port, err);
    if (fd < 0)
        return fd;
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return err_set(err, ENOMEM, "no memory to listen");
    *listener = (struct listener){
        .loop = loop, .poll_op.done = readable, .fd = steal_fd(&fd), .accepted = accepted, .arg = arg};
    *out = listener;
    return 0;
}

void listener_start(struct listener *listener)
{
    wait_for_more(listener);
}

void listener_tick(struct listener *listener)
{
    wait_for_more(listener);
}

void listener_stop(struct listener *listener)
{
    listener->stopping = true;
    loop_cancel(listener->loop, &listener->poll_op);
}

bool listener_stopped(const struct listener *listener)
{
    return listener->stopping && !listener->poll_op.busy;
}

void listener_free(struct listener *listener)
{
    if (!listener)
        return;
    close(listener->fd);
    free(listener);
}

int listener_port(const struct listener *listener)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at;
    socklen_t len = sizeof at;
    memset(&at, 0, sizeof at);
    if (getsockname(listener->fd, &at.any, &len) < 0)
        return -errno;
    return ntohs(at.any.sa_family == AF_INET6 ? at.v6.sin6_port : at.v4.sin_port);
}
