#include "instance_link.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/container.h"
#include "base/fdio.h"
#include "base/log.h"
#include "supervise.h"

#define FIND_MS 2000
#define PACKETS_A_TURN 32

static void tell(const struct instance_link *link, const struct buf *packet)
{
    ssize_t n = link->fd < 0 || packet->error
                    ? -1
                    : send(link->fd, packet->bytes, packet->len_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && link->fd >= 0)
        log_debug("a word to the supervisor was lost: %s", strerror(errno)); /* its end will be heard */
}

static void tell_word(const struct instance_link *link, enum supervise_message word)
{
    OWNED_BUF struct buf packet = BUF_EMPTY;
    buf_put_u8(&packet, (uint8_t)word);
    tell(link, &packet);
}

static void tell_got(const struct instance_link *link, uint64_t offset)
{
    OWNED_BUF struct buf packet = BUF_EMPTY;
    buf_put_u8(&packet, SUPERVISE_GOT);
    buf_put_u64(&packet, offset);
    tell(link, &packet);
}

void instance_link_stop(struct instance_link *link, unsigned grace_ms)
{
    OWNED_BUF struct buf packet = BUF_EMPTY;
    buf_put_u8(&packet, SUPERVISE_STOP);
    buf_put_u32(&packet, grace_ms);
    tell(link, &packet);
}

/* ---- hearing ---- */

static void hang_up(struct instance_link *link)
{
    /* The fd that the kernel polls for us is closed when that is over. */
    if (link->op.busy && link->watched == link->fd)
        loop_cancel(link->loop, &link->op);
    else
        cleanup_fd(&link->fd);
    link->fd = -1;
    cleanup_fd(&link->pidfd);
    link->pidfd = -1;
}

/* One packet; `got` grows with the output. -errno: there is no more. */
static int hear(struct instance_link *link, uint8_t *packet, uint64_t *got)
{
    ssize_t n = recv(link->fd, packet, SUPERVISE_PACKET_MAX_BYTES, MSG_DONTWAIT);
    if (n < 0)
        return -errno;
    if (n == 0)
        return -ECONNRESET;
    struct rd r = rd_over(packet, (size_t)n);
    uint8_t type = rd_u8(&r);
    if (type == SUPERVISE_OUTPUT) {
        uint64_t offset = rd_u64(&r);
        if (r.error == 0 && r.left_bytes > 0) {
            *got = offset + r.left_bytes;
            link->events.output(link->events.arg, r.at, r.left_bytes);
        }
    } else if (type == SUPERVISE_STATE) {
        struct supervise_state state;
        if (supervise_state_decode(packet, (size_t)n, &state) == 0)
            link->events.state(link->events.arg, &state);
    }
    return 0;
}

static void watch(struct instance_link *link);

static void on_readable(struct loop_op *op, int result)
{
    struct instance_link *link = CONTAINER_OF(op, struct instance_link, op);
    if (link->fd != link->watched) { /* hung up meanwhile: that fd was left to us */
        close(link->watched);
        link->watched = -1;
        if (link->closing)
            link->events.closed(link->events.arg);
        else if (link->fd >= 0)
            watch(link);
        return;
    }
    if (result == -ECANCELED) /* the loop ends */
        return;
    uint64_t got = 0;
    int r = 0;
    uint8_t packet[SUPERVISE_PACKET_MAX_BYTES];
    for (int i = 0; i < PACKETS_A_TURN && r == 0 && link->fd >= 0; i++)
        r = hear(link, packet, &got);
    if (got)
        tell_got(link, got);
    if (link->fd < 0)
        return;
    if (r == 0 || r == -EAGAIN || r == -EINTR) {
        watch(link);
        return;
    }
    hang_up(link);
    link->events.gone(link->events.arg);
}

static void watch(struct instance_link *link)
{
    if (link->op.busy)
        return; /* its end comes back here */
    link->watched = link->fd;
    loop_poll(link->loop, &link->op, link->fd, POLLIN);
}

void instance_link_attach(struct instance_link *link)
{
    tell_word(link, SUPERVISE_ATTACH);
    watch(link);
}

/* ---- beginning ---- */

void instance_link_init(struct instance_link *link, struct loop *loop, const struct link_events *events)
{
    *link = (struct instance_link){
        .loop = loop, .events = *events, .fd = -1, .watched = -1, .pidfd = -1, .op = {.done = on_readable}};
}

/* In the first child of two: everything here must be safe after fork in a program with threads. */
static void become_daemon(const char *current, int socket_fd, int log_fd, int pid_pipe)
{
    char *const argv[] = {(char[]){"bladed"}, (char[]){"--supervise"}, (char *)current, NULL};
    setsid();
    pid_t pid = fork();
    if (pid != 0) {
        ssize_t n = write(pid_pipe, &pid, sizeof(pid));
        _exit(n == (ssize_t)sizeof(pid) && pid > 0 ? 0 : 1);
    }
    /* Out of the way of the numbers that they are to have. */
    int high_log = fcntl(log_fd, F_DUPFD, 64);
    int high_socket = fcntl(socket_fd, F_DUPFD, 64);
    int null = open("/dev/null", O_RDWR);
    if (high_log < 0 || high_socket < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
        dup2(high_log, 2) < 0 || dup2(high_socket, SUPERVISE_CLIENT_FD) < 0 || chdir("/") < 0)
        _exit(1);
    closefrom(SUPERVISE_CLIENT_FD + 1);
    execve("/proc/self/exe", argv, environ);
    _exit(1);
}

static int start_daemon(const char *current, int socket_fd, int log_fd, pid_t *out)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    OWNED_FD read_end = ends[0];
    OWNED_FD write_end = ends[1];
    pid_t child = fork();
    if (child < 0)
        return -errno;
    if (child == 0)
        become_daemon(current, socket_fd, log_fd, write_end);
    close(steal_fd(&write_end));
    pid_t pid = -1;
    ssize_t n;
    while ((n = read(read_end, &pid, sizeof(pid))) < 0 && errno == EINTR)
        ;
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (n != (ssize_t)sizeof(pid) || pid <= 0)
        return -EAGAIN;
    *out = pid;
    return 0;
}

int instance_link_start(struct instance_link *link, const char *current, int current_fd, struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "cannot start a supervisor");
    OWNED_FD mine = pair[0];
    OWNED_FD its = pair[1];
    OWNED_FD log_fd =
        openat(current_fd, "supervisor.log", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log_fd < 0)
        return err_sys(err, errno, "cannot write %s/supervisor.log", current);
    pid_t pid = 0;
    int r = start_daemon(current, its, log_fd, &pid);
    if (r < 0)
        return err_sys(err, -r, "cannot start a supervisor");
    link->fd = steal_fd(&mine);
    link->pidfd = pidfd_open(pid, 0); /* -1: it is gone already, and we shall hear so */
    instance_link_attach(link);
    return 0;
}

static int connect_to(int current_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/sock", current_fd);
    OWNED_FD fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return steal_fd(&fd);
}

/* Somebody holds the lock: a supervisor lives, even if it does not listen yet. */
static bool is_held(int current_fd)
{
    OWNED_FD fd = openat(current_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

/* The answer to ASK. */
static int first_state(int fd, int64_t until_ms, struct supervise_state *state)
{
    uint8_t packet[SUPERVISE_PACKET_MAX_BYTES];
    for (;;) {
        int64_t left_ms = until_ms - clock_boot_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left_ms <= 0)
            return -ETIMEDOUT;
        if (poll(&p, 1, (int)left_ms) <= 0)
            continue;
        ssize_t n = recv(fd, packet, sizeof(packet), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return -ECONNRESET;
        if (n > 0)
            return supervise_state_decode(packet, (size_t)n, state);
    }
}

static int find_once(struct instance_link *link, int current_fd, int64_t until_ms,
                     struct supervise_state *state)
{
    int fd = connect_to(current_fd);
    if (fd < 0)
        return fd;
    struct ucred peer;
    socklen_t peer_bytes = sizeof(peer);
    link->fd = fd;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) == 0 && peer.pid > 0)
        link->pidfd = pidfd_open(peer.pid, 0);
    tell_word(link, SUPERVISE_ASK);
    int r = first_state(fd, until_ms, state);
    if (r < 0)
        hang_up(link);
    return r;
}

int instance_link_find(struct instance_link *link, int current_fd, struct supervise_state *state)
{
    int64_t until_ms = clock_boot_ms() + FIND_MS;
    struct timespec pause = {.tv_nsec = 5000000};
    while (is_held(current_fd)) {
        if (find_once(link, current_fd, until_ms, state) == 0)
            return 1;
        if (clock_boot_ms() >= until_ms)
            return 0;
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* ---- ending ---- */

void instance_link_kill(struct instance_link *link)
{
    if (link->pidfd >= 0 && pidfd_send_signal(link->pidfd, SIGKILL, NULL, 0) == 0)
        return;
    if (link->fd < 0)
        return;
    /* Not to be reached: as if it had hung up. */
    hang_up(link);
    link->events.gone(link->events.arg);
}

void instance_link_drop(struct instance_link *link)
{
    hang_up(link);
}

bool instance_link_close(struct instance_link *link)
{
    link->closing = true;
    hang_up(link);
    return !link->op.busy;
}
