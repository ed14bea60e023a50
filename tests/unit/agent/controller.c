#include "controller.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define WAIT_MS 10000

static int find_key(void *arg, const char *id, struct wire_key keys[2])
{
    const struct controller *c = arg;
    if (strcmp(id, c->key.id) != 0)
        return -ENOENT;
    keys[0] = c->key;
    return 1;
}

void controller_open(struct controller *c)
{
    struct err err = {0};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    *c = (struct controller){.session = 40, .control.fd = -1, .bulk.fd = -1};
    assert_int_equal(wire_key_make(NULL, &c->key, &err), 0);
    c->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(c->listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(c->listener, 8), 0);
    assert_int_equal(getsockname(c->listener, (struct sockaddr *)&at, &len), 0);
    snprintf(c->port, sizeof(c->port), "%u", ntohs(at.sin_port));
}

void controller_close(struct controller *c)
{
    controller_hang_up(&c->control);
    controller_hang_up(&c->bulk);
    close(c->listener);
}

void controller_hang_up(struct side *side)
{
    if (side->fd >= 0)
        close(side->fd);
    wire_link_free(side->link);
    *side = (struct side){.fd = -1};
}

static void flush(struct side *side)
{
    const uint8_t *bytes;
    for (size_t n; (n = wire_link_output(side->link, &bytes)) > 0;) {
        ssize_t sent = send(side->fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        wire_link_sent(side->link, (size_t)sent);
    }
}

/* Takes what comes next; false: it ended. */
static bool pump(struct side *side)
{
    uint8_t bytes[16384];
    struct err err = {0};
    struct pollfd p = {.fd = side->fd, .events = POLLIN};
    flush(side);
    if (poll(&p, 1, WAIT_MS) != 1)
        return false;
    ssize_t n = recv(side->fd, bytes, sizeof(bytes), 0);
    bool good = n > 0 && wire_link_feed(side->link, bytes, (size_t)n, &err) >= 0;
    flush(side);
    return good;
}

bool controller_accept(struct controller *c, struct side *side)
{
    struct err err = {0};
    struct pollfd p = {.fd = c->listener, .events = POLLIN};
    if (poll(&p, 1, WAIT_MS) != 1)
        return false;
    *side = (struct side){.fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC)};
    assert_true(side->fd >= 0);
    assert_int_equal(wire_link_new_controller(find_key, c, &side->link, &err), 0);
    while (!wire_link_is_up(side->link))
        if (!pump(side)) {
            controller_hang_up(side);
            return false;
        }
    return true;
}

void controller_send(struct side *side, const struct wire_message *m)
{
    struct err err = {0};
    assert_int_equal(wire_link_send(side->link, m, &err), 0);
    flush(side);
}

bool controller_expect(struct side *side, enum wire_type type, struct wire_message *out)
{
    for (;;) {
        struct err err = {0};
        int r = wire_link_next(side->link, out, &err);
        if (r < 0 || (r == 0 && !pump(side)))
            return false;
        if (r == 0)
            continue;
        if (out->type == type)
            return true;
        if (out->type == WIRE_PING) {
            struct wire_message pong = {.type = WIRE_PONG, .ping = out->ping};
            controller_send(side, &pong);
        }
    }
}

static void greet(struct controller *c, struct side *side, enum wire_role role, struct wire_message *welcome)
{
    struct wire_message m;
    assert_true(controller_accept(c, side));
    assert_true(controller_expect(side, WIRE_HELLO, &m));
    assert_int_equal(m.hello.role, role);
    assert_int_equal(m.hello.session, role == WIRE_ROLE_BULK ? c->session : 0);
    assert_true(m.hello.version_min <= WIRE_VERSION && m.hello.version_max >= WIRE_VERSION);
    controller_send(side, welcome);
}

void controller_welcome(struct controller *c, uint8_t uuid_byte, uint32_t heartbeat_ms, uint32_t dead_ms)
{
    struct wire_message m = {.type = WIRE_WELCOME,
                             .welcome = {.version = WIRE_VERSION,
                                         .session = ++c->session,
                                         .store_uuid = {uuid_byte},
                                         .heartbeat_ms = heartbeat_ms,
                                         .dead_ms = dead_ms,
                                         .slot = wire_text("web-1")}};
    greet(c, &c->control, WIRE_ROLE_CONTROL, &m);
    greet(c, &c->bulk, WIRE_ROLE_BULK, &m);
}
