#include "connection.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/container.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/names.h"
#include "resolve.h"
#include "wire/link.h"

#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS 2000
#define DIAL_MAX_MS 10000          /* from the first packet to both welcomes */
#define IN_BYTES (64u << 10)       /* read at a time */
#define BULK_IN_BYTES (256u << 10) /* on bulk: fewer turns for each chunk */
#define ADDRESS_MAX_MS 2000        /* for one of several addresses to take a connection */
#define HEARTBEAT_MIN_MS 50
#define TICK_MAX_MS 250

enum state { PAUSED, RESOLVING, DIAL_CONTROL, DIAL_BULK, UP, FAILED, STOPPED };

struct pipe {
    struct connection *c;
    enum wire_role role;
    int fd;
    struct wire_link *link;
    bool hello_sent, welcome;
    struct loop_op connecting, reading, writing;
    uint8_t *in;
    uint32_t in_bytes; /* of room */
    struct buf out;    /* what the kernel is reading */
    size_t out_done;
};

struct connection {
    struct loop *loop;
    struct connection_options options;
    struct connection_events events;
    enum state state;
    struct pipe control, bulk;
    struct addrinfo *addresses, *at; /* `at`: what is dialled */
    struct resolve *resolving;
    struct loop_op pause, tick;
    int64_t pause_ms, dial_began_ms, address_began_ms, heard_ms, sent_ms;
    uint64_t ping;
    char reason[512]; /* of the last failure, as logged */

    struct wire_welcome welcome;
    char slot[NAME_MAX_BYTES + 1];
};

static void pump_out(struct pipe *p);
static void take_messages(struct pipe *p);

/* ---- ending an attempt ---- */

static int64_t jitter(int64_t ms)
{
    uint16_t random = 0;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
        random = 0;
    return ms * 3 / 4 + ms / 4 * random / UINT16_MAX; /* 75 to 100% */
}

static void shut(struct pipe *p)
{
    struct loop *loop = p->c->loop;
    if (p->fd >= 0)
        shutdown(p->fd, SHUT_RDWR);
    loop_cancel(loop, &p->connecting);
    loop_cancel(loop, &p->reading);
    loop_cancel(loop, &p->writing);
}

static bool is_quiet(const struct pipe *p)
{
    return !p->connecting.busy && !p->reading.busy && !p->writing.busy;
}

static void clear(struct pipe *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    wire_link_free(p->link);
    p->link = NULL;
    p->hello_sent = p->welcome = false;
    p->out.len_bytes = p->out_done = 0;
}

/* The sockets are shut at once; what they are made of goes when the pause is over and no operation is under
 * way: this is called from within their callbacks. */
static void fail(struct connection *c, const char *why)
{
    if (c->state == FAILED || c->state == STOPPED || c->state == PAUSED)
        return;
    bool was_up = c->state == UP;
    c->state = FAILED;
    shut(&c->control);
    shut(&c->bulk);
    loop_cancel(c->loop, &c->tick);
    if (strcmp(c->reason, why) != 0) {
        snprintf(c->reason, sizeof(c->reason), "%s", why);
        log_warn("%s the controller %s:%s: %s; trying again until it works", was_up ? "lost" : "cannot reach",
                 c->options.host, c->options.port, why);
    }
    if (!c->pause.busy)
        loop_timer(c->loop, &c->pause, jitter(c->pause_ms));
    c->pause_ms = c->pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : c->pause_ms * 2;
    if (was_up)
        c->events.down(c->events.arg);
}

static void fail_sys(struct connection *c, const char *what, int code)
{
    struct err err = {0};
    err_sys(&err, code, "%s", what);
    fail(c, err.message);
}

/* ---- bytes ---- */

static void pump_in(struct pipe *p)
{
    if (!p->reading.busy && p->fd >= 0)
        loop_read(p->c->loop, &p->reading, p->fd, p->in, p->in_bytes, LOOP_STREAM);
}

static void write_done(struct loop_op *op, int result)
{
    struct pipe *p = CONTAINER_OF(op, struct pipe, writing);
    struct connection *c = p->c;
    if (c->state == FAILED || c->state == STOPPED)
        return;
    if (result < 0 && result != -EINTR && result != -EAGAIN) {
        fail_sys(c, "sending failed", -result);
        return;
    }
    if (result > 0) {
        p->out_done += (size_t)result;
        if (p->role == WIRE_ROLE_CONTROL)
            c->sent_ms = loop_now_ms(c->loop);
    }
    pump_out(p);
    if (p->role == WIRE_ROLE_BULK && !p->writing.busy && c->state == UP)
        c->events.drained(c->events.arg);
}

static void pump_out(struct pipe *p)
{
    if (p->writing.busy || !p->link)
        return;
    if (p->out_done == p->out.len_bytes) {
        const uint8_t *bytes;
        p->out.len_bytes = p->out_done = 0;
        if (wire_link_output(p->link, &bytes) == 0)
            return;
        wire_link_take(p->link, &p->out); /* the link's own bytes may move while the kernel reads them */
    }
    loop_write(p->c->loop, &p->writing, p->fd, p->out.bytes + p->out_done,
               (uint32_t)(p->out.len_bytes - p->out_done), LOOP_STREAM);
}

static void send_on(struct pipe *p, const struct wire_message *message)
{
    struct err err = {0};
    if (!p->link || p->c->state == FAILED || p->c->state == STOPPED)
        return;
    if (wire_link_send(p->link, message, &err) < 0)
        fail(p->c, err.message);
    else
        pump_out(p);
}

/* Why the peer ended the TLS session is said in an alert that may still wait to go out. */
static void last_words(struct pipe *p)
{
    const uint8_t *bytes;
    size_t n = wire_link_output(p->link, &bytes);
    if (n > 0 && !p->writing.busy)
        (void)!send(p->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void read_done(struct loop_op *op, int result)
{
    struct pipe *p = CONTAINER_OF(op, struct pipe, reading);
    struct connection *c = p->c;
    if (c->state == FAILED || c->state == STOPPED)
        return;
    if (result == -EINTR || result == -EAGAIN) {
        pump_in(p);
        return;
    }
    if (result < 0) {
        fail_sys(c, "receiving failed", -result);
        return;
    }
    if (result == 0) {
        fail(c, wire_link_is_up(p->link)
                    ? "it closed the connection"
                    : "it closed the connection before the handshake was done (is the key "
                      "this slot's?)");
        return;
    }
    if (p->role == WIRE_ROLE_CONTROL)
        c->heard_ms = loop_now_ms(c->loop);
    struct err err = {0};
    if (wire_link_feed(p->link, p->in, (size_t)result, &err) < 0) {
        last_words(p);
        fail(c, err.message);
        return;
    }
    take_messages(p);
    if (p->role == WIRE_ROLE_BULK && c->state == UP)
        c->events.taken(c->events.arg);
    if (c->state != FAILED && c->state != STOPPED && p->link) {
        pump_out(p);
        /* Until bulk is up, control waits: what it says then may be about bulk. */
        if (p->role == WIRE_ROLE_BULK || c->state != DIAL_BULK)
            pump_in(p);
    }
}

/* ---- greeting ---- */

static void read_boot_id(uint8_t id[16])
{
    OWNED_BUF struct buf text = BUF_EMPTY;
    memset(id, 0, 16);
    if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text) < 0)
        return;
    size_t nibbles = 0;
    for (size_t i = 0; i < text.len_bytes && nibbles < 32; i++) {
        uint8_t ch = text.bytes[i];
        int digit = ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
        if (digit < 0)
            continue;
        id[nibbles / 2] = (uint8_t)(id[nibbles / 2] << 4 | digit);
        nibbles++;
    }
}

static void send_hello(struct pipe *p)
{
    struct wire_message m = {.type = WIRE_HELLO,
                             .hello = {.version_min = WIRE_VERSION,
                                       .version_max = WIRE_VERSION,
                                       .role = (uint8_t)p->role,
                                       .session = p->role == WIRE_ROLE_BULK ? p->c->welcome.session : 0,
                                       .agent_version = wire_text(BLADEFS_VERSION)}};
    read_boot_id(m.hello.boot_id);
    p->hello_sent = true;
    send_on(p, &m);
}

static int dial(struct pipe *p, const struct addrinfo *to, struct err *err);

static void be_up(struct connection *c)
{
    c->state = UP;
    c->pause_ms = PAUSE_FIRST_MS;
    c->reason[0] = '\0';
    c->heard_ms = c->sent_ms = loop_now_ms(c->loop);
    log_info("connected to the controller %s:%s as slot %s", c->options.host, c->options.port, c->slot);
    struct wire_welcome welcome = c->welcome;
    welcome.slot = wire_text(c->slot);
    c->events.up(c->events.arg, &welcome);
    if (c->state != UP)
        return;
    take_messages(&c->control);
    if (c->state == UP)
        pump_in(&c->control);
}

static void take_welcome(struct pipe *p, const struct wire_welcome *welcome)
{
    struct connection *c = p->c;
    p->welcome = true;
    if (p->role == WIRE_ROLE_BULK) {
        be_up(c);
        return;
    }
    if (welcome->version != WIRE_VERSION || welcome->heartbeat_ms < HEARTBEAT_MIN_MS ||
        welcome->dead_ms < welcome->heartbeat_ms) {
        fail(c, "its welcome makes no sense");
        return;
    }
    c->welcome = *welcome;
    wire_text_copy(&welcome->slot, c->slot, sizeof(c->slot));
    c->state = DIAL_BULK;
    struct err err = {0};
    if (dial(&c->bulk, c->at, &err) < 0)
        fail(c, err.message);
}

static void greet(struct pipe *p, const struct wire_message *m)
{
    if (m->type == WIRE_WELCOME) {
        take_welcome(p, &m->welcome);
    } else if (m->type == WIRE_REFUSED) {
        char sentence[WIRE_SENTENCE_MAX_BYTES + 1];
        wire_text_copy(&m->refused.sentence, sentence, sizeof(sentence));
        struct err err = {0};
        err_set(&err, EACCES, "it refused: %.400s", sentence);
        fail(p->c, err.message);
    } else {
        fail(p->c, "it began with something else than a welcome");
    }
}

static void take_message(struct pipe *p, const struct wire_message *m)
{
    struct connection *c = p->c;
    if (m->type == WIRE_PING && p->role == WIRE_ROLE_CONTROL) {
        struct wire_message pong = {.type = WIRE_PONG, .ping = m->ping};
        send_on(p, &pong);
    } else if (m->type == WIRE_REFUSED) {
        greet(p, m);
    } else if (m->type != WIRE_PONG) {
        c->events.message(c->events.arg, p->role, m);
    }
}

static void take_messages(struct pipe *p)
{
    struct connection *c = p->c;
    if (wire_link_is_up(p->link) && !p->hello_sent)
        send_hello(p);
    for (;;) {
        struct wire_message m;
        struct err err = {0};
        if (c->state == FAILED || c->state == STOPPED || (p->welcome && c->state != UP))
            return;
        int r = wire_link_next(p->link, &m, &err);
        if (r < 0)
            fail(c, err.message);
        if (r <= 0)
            return;
        if (p->welcome)
            take_message(p, &m);
        else
            greet(p, &m);
    }
}

/* ---- dialling ---- */

static void connect_done(struct loop_op *op, int result)
{
    struct pipe *p = CONTAINER_OF(op, struct pipe, connecting);
    struct connection *c = p->c;
    if (c->state == FAILED || c->state == STOPPED)
        return;
    int code = 0;
    socklen_t len = sizeof(code);
    if (result < 0)
        code = -result;
    else if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
        code = errno;
    if (code && p->role == WIRE_ROLE_CONTROL && c->at->ai_next) {
        struct err err = {0};
        c->at = c->at->ai_next;
        clear(p);
        if (dial(p, c->at, &err) < 0)
            fail(c, err.message);
        return;
    }
    if (code) {
        fail_sys(c, "connecting failed", code);
        return;
    }
    /* The ring waits by itself where the socket would block; with O_NONBLOCK it would give EAGAIN. */
    int flags = fcntl(p->fd, F_GETFL);
    if (flags >= 0)
        (void)!fcntl(p->fd, F_SETFL, flags & ~O_NONBLOCK);
    pump_out(p);
    pump_in(p);
}

static int dial(struct pipe *p, const struct addrinfo *to, struct err *err)
{
    int r = wire_link_new_agent(p->c->options.key, &p->link, err);
    if (r < 0)
        return r;
    p->fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->fd < 0)
        return err_sys(err, errno, "cannot make a socket");
    p->c->address_began_ms = loop_now_ms(p->c->loop);
    int one = 1;
    (void)!setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)!setsockopt(p->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    if (connect(p->fd, to->ai_addr, to->ai_addrlen) < 0 && errno != EINPROGRESS && errno != EINTR) {
        connect_done(&p->connecting, -errno);
        return 0;
    }
    loop_poll(p->c->loop, &p->connecting, p->fd, POLLOUT);
    return 0;
}

static void resolved(void *arg, int result, struct addrinfo *addresses, const struct err *err)
{
    struct connection *c = arg;
    c->resolving = NULL;
    if (result < 0) {
        fail(c, err->message);
        return;
    }
    c->addresses = c->at = addresses;
    c->state = DIAL_CONTROL;
    c->dial_began_ms = loop_now_ms(c->loop);
    loop_timer(c->loop, &c->tick, TICK_MAX_MS);
    struct err why = {0};
    if (dial(&c->control, c->at, &why) < 0)
        fail(c, why.message);
}

static void begin(struct connection *c)
{
    clear(&c->control);
    clear(&c->bulk);
    if (c->addresses)
        freeaddrinfo(c->addresses);
    c->addresses = c->at = NULL;
    c->state = RESOLVING;
    struct err err = {0};
    if (resolve_start(c->loop, c->options.host, c->options.port, resolved, c, &c->resolving, &err) < 0)
        fail(c, err.message);
}

static void pause_done(struct loop_op *op, int result)
{
    struct connection *c = CONTAINER_OF(op, struct connection, pause);
    (void)result;
    if (c->state == STOPPED)
        return;
    if (is_quiet(&c->control) && is_quiet(&c->bulk) && !c->tick.busy)
        begin(c);
    else
        loop_timer(c->loop, &c->pause, 10);
}

/* ---- the clock ---- */

static void tick_done(struct loop_op *op, int result)
{
    struct connection *c = CONTAINER_OF(op, struct connection, tick);
    (void)result;
    int64_t now = loop_now_ms(c->loop), every = TICK_MAX_MS;
    if (c->state == FAILED || c->state == STOPPED)
        return;
    if (c->state == UP) {
        if (now - c->heard_ms >= c->welcome.dead_ms) {
            fail(c, "it has been silent for too long");
            return;
        }
        if (now - c->sent_ms >= c->welcome.heartbeat_ms) {
            struct wire_message m = {.type = WIRE_PING,
                                     .ping = {.number = ++c->ping, .sent_ms = (uint64_t)clock_boot_ms()}};
            c->sent_ms = now;
            send_on(&c->control, &m);
        }
        if (c->welcome.heartbeat_ms / 4 < TICK_MAX_MS)
            every = c->welcome.heartbeat_ms / 4;
    } else if (c->control.connecting.busy && c->at->ai_next && now - c->address_began_ms >= ADDRESS_MAX_MS) {
        loop_cancel(c->loop, &c->control.connecting); /* connect_done goes on with the next one */
    } else if (now - c->dial_began_ms >= DIAL_MAX_MS) {
        fail(c, "it does not answer");
        return;
    }
    if (!c->tick.busy && c->state != FAILED)
        loop_timer(c->loop, &c->tick, every > 10 ? every : 10);
}

/* ---- outside ---- */

static int prepare_pipe(struct connection *c, struct pipe *p, enum wire_role role)
{
    p->in_bytes = role == WIRE_ROLE_BULK ? BULK_IN_BYTES : IN_BYTES;
    p->in = malloc(p->in_bytes);
    p->c = c;
    p->role = role;
    p->fd = -1;
    p->connecting.done = connect_done;
    p->reading.done = read_done;
    p->writing.done = write_done;
    return p->in ? 0 : -ENOMEM;
}

int connection_new(struct loop *loop, const struct connection_options *options,
                   const struct connection_events *events, struct connection **out, struct err *err)
{
    struct connection *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(err, ENOMEM, "no memory for a connection");
    c->loop = loop;
    c->options = *options;
    c->events = *events;
    c->pause_ms = PAUSE_FIRST_MS;
    c->pause.done = pause_done;
    c->tick.done = tick_done;
    if (prepare_pipe(c, &c->control, WIRE_ROLE_CONTROL) < 0 ||
        prepare_pipe(c, &c->bulk, WIRE_ROLE_BULK) < 0) {
        free(c->control.in);
        free(c->bulk.in);
        free(c);
        return err_set(err, ENOMEM, "no memory for a connection");
    }
    *out = c;
    return 0;
}

void connection_start(struct connection *connection)
{
    if (connection->state == PAUSED)
        begin(connection);
}

void connection_stop(struct connection *connection)
{
    connection->state = STOPPED;
    shut(&connection->control);
    shut(&connection->bulk);
    loop_cancel(connection->loop, &connection->tick);
    loop_cancel(connection->loop, &connection->pause);
    if (connection->resolving)
        resolve_abandon(STEAL(connection->resolving));
}

void connection_free(struct connection *connection)
{
    if (!connection)
        return;
    for (unsigned i = 0; i < 2; i++) {
        struct pipe *p = i ? &connection->bulk : &connection->control;
        clear(p);
        free(p->in);
        buf_free(&p->out);
    }
    if (connection->addresses)
        freeaddrinfo(connection->addresses);
    free(connection);
}

bool connection_is_up(const struct connection *connection)
{
    return connection->state == UP;
}

void connection_send(struct connection *connection, const struct wire_message *message)
{
    if (connection->state == UP)
        send_on(message->type >= WIRE_DESCRIPTOR ? &connection->bulk : &connection->control, message);
}

size_t connection_bulk_waiting(const struct connection *connection)
{
    const uint8_t *bytes;
    const struct pipe *p = &connection->bulk;
    return p->link ? wire_link_output(p->link, &bytes) + (p->out.len_bytes - p->out_done) : 0;
}

void connection_fail(struct connection *connection, const char *why)
{
    fail(connection, why);
}
