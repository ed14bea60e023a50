#include "supervise.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fdio.h"
#include "base/log.h"
#include "command.h"
#include "instance.h"
#include "runtime.h"

#define CURRENT_SUFFIX "/instance/current"

/* ---- the container ---- */

void supervise_signal_stop(struct supervisor *s)
{
    if (s->pid && kill(s->pid, s->plan.kind == EXEC_SYSTEMD ? SIGRTMIN + 3 : SIGTERM) < 0)
        log_warn("%s: pid 1 cannot be signalled: %s", s->spec.snapshot, strerror(errno));
}

void supervise_stop(struct supervisor *s, int64_t grace_ms)
{
    if (s->stage == STAGE_OVER)
        return;
    int64_t kill_at_ms = clock_boot_ms() + grace_ms;
    if (!s->kill_at_ms || kill_at_ms < s->kill_at_ms)
        s->kill_at_ms = kill_at_ms;
    s->state.asked = s->stop = true;
    supervise_signal_stop(s);
}

/* KILL of a pid namespace's first process ends them all (pid_namespaces(7)); no runtime is needed for it. */
static void kill_now(struct supervisor *s)
{
    if (s->pid)
        kill(s->pid, SIGKILL);
    else if (s->runtime_pid)
        kill(s->runtime_pid, SIGKILL);
    s->kill_at_ms = 0;
}

void supervise_over(struct supervisor *s)
{
    struct err err = {0};
    s->stage = STAGE_OVER;
    s->kill_at_ms = 0;
    s->state.since_ns = clock_wall_ns();
    s->tell = true;
    int r = supervise_status_write(s->current_fd, &s->state);
    if (r < 0)
        log_error("%s/status cannot be written: %s", s->current, strerror(-r));
    s->stage_until_ms = clock_boot_ms() + SUPERVISE_LEAVE_MS;
    supervise_pump(s);
    if (!s->made)
        return;
    const char *argv[] = {s->spec.runtime, "--root", runtime_root(), "delete", "--force", s->spec.id, NULL};
    int pid = command_start((char *const *)argv, -1, -1, &err);
    if (pid < 0)
        log_warn("%s", err.message);
    else
        s->delete_pid = pid;
}

/* Takes what the pipe has, at most a round of it; false at its end. */
static bool read_output(struct supervisor *s)
{
    char bytes[32768];
    for (int round = 0; round < 8; round++) {
        ssize_t n = read(s->pipe_fd, bytes, sizeof(bytes));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        if (n == 0)
            return false;
        last_line_feed(&s->last, bytes, (size_t)n);
        int r = instance_log_append(&s->log, bytes, (size_t)n);
        if (r < 0 && !s->log_failed)
            log_warn("%s/log cannot be written: %s", s->current, strerror(-r));
        s->log_failed = r < 0;
    }
    return true;
}

static void close_pipe(struct supervisor *s)
{
    cleanup_fd(&s->pipe_fd);
    s->pipe_fd = -1;
}

/* Everything in the pid namespace is dead when its pid 1 can be waited for: the pipe has its last words. */
static void drain(struct supervisor *s)
{
    struct pollfd p = {.fd = s->pipe_fd, .events = POLLIN};
    while (s->pipe_fd >= 0 && poll(&p, 1, 0) > 0)
        if (!read_output(s))
            close_pipe(s);
}

static void reaped(struct supervisor *s, pid_t pid, int wait_status)
{
    if (pid == s->runtime_pid) {
        drain(s);
        supervise_runtime_ended(s, wait_status);
    } else if (pid == s->delete_pid) {
        s->delete_pid = 0;
    } else if (pid == s->pid) {
        s->pid = 0;
        drain(s);
        supervise_state_ended(&s->state, s->spec.snapshot, wait_status, s->plan.kind == EXEC_PROGRAM,
                              last_line_get(&s->last));
        supervise_over(s);
    }
}

static void on_signal(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGCHLD && s->stage != STAGE_OVER) {
            /* The machine goes down: the program is told, but nobody asked for a stop. */
            s->stop = true;
            s->kill_at_ms = clock_boot_ms() + SUPERVISE_SHUTDOWN_GRACE_MS;
            supervise_signal_stop(s);
        }
    }
    int wait_status;
    pid_t pid;
    /* The runtime before what it left to us: until then the container's pid is not known. */
    while ((pid = waitpid(s->runtime_pid ? s->runtime_pid : -1, &wait_status, WNOHANG)) > 0)
        reaped(s, pid, wait_status);
}

static void on_time(struct supervisor *s)
{
    int64_t now_ms = clock_boot_ms();
    if (s->kill_at_ms && now_ms >= s->kill_at_ms)
        kill_now(s);
    if (now_ms < s->stage_until_ms)
        return;
    if (s->stage == STAGE_RUNTIME) {
        kill_now(s);
        supervise_refuse(s, "the runtime did not start it within a minute");
    } else if (s->stage == STAGE_EXEC || s->stage == STAGE_SETTLING) {
        supervise_look(s);
    }
}

/* ---- the loop ---- */

/* When all is put away, and bladed, if there is one, has heard of the end and handed the output on. */
static bool may_leave(const struct supervisor *s)
{
    if (s->stage != STAGE_OVER || s->delete_pid)
        return false;
    bool heard = s->attached && !s->tell && s->log.handed_on == instance_log_end(&s->log);
    return heard || s->client_fd < 0 || clock_boot_ms() >= s->stage_until_ms;
}

static int timeout_ms(const struct supervisor *s)
{
    int64_t at_ms = s->stage == STAGE_RUNNING ? INT64_MAX : s->stage_until_ms;
    if (s->kill_at_ms && s->kill_at_ms < at_ms)
        at_ms = s->kill_at_ms;
    if (at_ms == INT64_MAX)
        return -1;
    int64_t left_ms = at_ms - clock_boot_ms();
    if (s->stage == STAGE_OVER && left_ms <= 0)
        return s->delete_pid ? -1 : 0;
    return left_ms < 0 ? 0 : (int)left_ms;
}

static void turn(struct supervisor *s)
{
    struct pollfd fds[] = {
        {.fd = s->signal_fd, .events = POLLIN},
        {.fd = s->pipe_fd, .events = POLLIN},
        {.fd = s->listen_fd, .events = POLLIN},
        {.fd = s->client_fd, .events = (short)(s->full ? POLLIN | POLLOUT : POLLIN)},
    };
    if (poll(fds, 4, timeout_ms(s)) < 0 && errno != EINTR)
        log_error("%s: poll: %s", s->current, strerror(errno));
    if (fds[1].revents && s->pipe_fd >= 0 && !read_output(s))
        close_pipe(s);
    if (fds[3].revents)
        supervise_receive(s);
    if (fds[2].revents)
        supervise_accept(s);
    if (fds[0].revents)
        on_signal(s);
    on_time(s);
    supervise_pump(s);
}

/* ---- setting up ---- */

/*
 * Out of bladed's own cgroup where systemd watches it, so that stopping the unit spares the instance (the
 * unit says KillMode=process as well); the runtime puts the container beside the supervisor. What cannot be
 * done is left: without systemd it does not matter.
 */
static void leave_cgroup(void)
{
    static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"};
    char line[512];
    bool inside = false;
    OWNED_FILE own = fopen("/proc/self/cgroup", "re");
    while (own && fgets(line, sizeof(line), own)) {
        bool watched = strncmp(line, "0::/", 4) == 0 || strstr(line, ":name=systemd:/");
        inside |= watched && strcmp(strrchr(line, ':'), ":/\n") != 0;
    }
    for (size_t i = 0; inside && i < sizeof(roots) / sizeof(roots[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/cgroup.procs", roots[i]);
        if (access(path, W_OK) < 0)
            continue;
        snprintf(path, sizeof(path), "%s/bladefs", roots[i]);
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            continue;
        snprintf(path, sizeof(path), "%s/bladefs/supervisors", roots[i]);
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            continue;
        snprintf(path, sizeof(path), "%s/bladefs/supervisors/cgroup.procs", roots[i]);
        OWNED_FD procs = open(path, O_WRONLY | O_CLOEXEC);
        if (procs < 0 || fd_write(procs, "0", 1) < 0)
            log_warn("%s: the supervisor stays in bladed's cgroup: %s", path, strerror(errno));
    }
}

static int open_directories(struct supervisor *s)
{
    size_t len = strlen(s->current), suffix = strlen(CURRENT_SUFFIX);
    char dir[PATH_MAX];
    if (len <= suffix || len >= sizeof(dir) || strcmp(s->current + len - suffix, CURRENT_SUFFIX) != 0)
        return -EINVAL;
    snprintf(dir, sizeof(dir), "%.*s", (int)(len - suffix), s->current);
    int r = runtime_root_below(dir, NULL);
    if (r < 0)
        return r;
    s->agent_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    s->current_fd = open(s->current, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->agent_fd < 0 || s->current_fd < 0)
        return -errno;
    return flock(s->current_fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

static int set_up(struct supervisor *s)
{
    sigset_t mine;
    sigemptyset(&mine);
    sigaddset(&mine, SIGCHLD);
    sigaddset(&mine, SIGTERM);
    if (sigprocmask(SIG_SETMASK, &mine, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return -errno;
    s->signal_fd = signalfd(-1, &mine, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signal_fd < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return -errno;
    /* Before anything is opened: an fd stays in the mount namespace that it was opened in. A slave, not
     * private: what the host unmounts must not stay busy because of us. */
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
        return -errno;
    int r = open_directories(s);
    if (r == 0)
        r = instance_spec_read(s->current_fd, INSTANCE_START, &s->spec);
    if (r == 0)
        supervise_let_mounts_go(s);
    if (r == 0)
        r = instance_log_open(s->current_fd, &s->log);
    if (r == 0)
        r = supervise_listen(s);
    if (r < 0)
        return r;
    if (unlinkat(s->current_fd, "status", 0) < 0 && errno != ENOENT)
        return -errno;
    return 0;
}

/* The bladed that asked for this start may be dead already: then nobody knows of it, and it is not made. */
static bool abandoned(const struct supervisor *s)
{
    struct pollfd p = {.fd = s->client_fd, .events = POLLIN};
    return s->client_fd >= 0 && poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

/* Said as a stop that was asked for, after which what is wanted is started again. */
static void tell_abandoned(const struct supervisor *s)
{
    struct supervise_state state = {
        .start = s->spec.start, .phase = SUPERVISE_ENDED, .asked = true, .since_ns = clock_wall_ns()};
    int r = supervise_status_write(s->current_fd, &state);
    if (r < 0)
        log_error("%s/status cannot be written: %s", s->current, strerror(-r));
}

static void take_down(struct supervisor *s)
{
    if (s->log.fd >= 0)
        instance_log_close(&s->log);
    if (s->current_fd >= 0 && s->listen_fd >= 0)
        (void)!unlinkat(s->current_fd, "sock", 0);
    exec_plan_free(&s->plan);
    instance_spec_free(&s->spec);
    int *fds[] = {&s->agent_fd, &s->current_fd, &s->signal_fd, &s->pipe_fd, &s->listen_fd, &s->client_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        cleanup_fd(fds[i]);
}

int supervise_main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct stat st;
    struct supervisor s = {.current = argv[2],
                           .agent_fd = -1,
                           .current_fd = -1,
                           .signal_fd = -1,
                           .pipe_fd = -1,
                           .listen_fd = -1,
                           .client_fd = -1,
                           .log = {.fd = -1, .older_fd = -1}};
    umask(0022);
    if (fstat(SUPERVISE_CLIENT_FD, &st) == 0 && S_ISSOCK(st.st_mode) &&
        fcntl(SUPERVISE_CLIENT_FD, F_SETFD, FD_CLOEXEC) == 0)
        s.client_fd = SUPERVISE_CLIENT_FD;
    int r = set_up(&s);
    if (r < 0)
        log_error("the supervisor of %s cannot begin: %s", s.current, strerror(-r));
    if (r == 0 && abandoned(&s)) {
        tell_abandoned(&s);
        r = -ECANCELED;
    }
    if (r < 0) {
        take_down(&s);
        return 1;
    }
    leave_cgroup();
    s.state = (struct supervise_state){.start = s.spec.start, .since_ns = clock_wall_ns()};
    supervise_start(&s);
    while (!may_leave(&s))
        turn(&s);
    take_down(&s);
    return 0;
}
