#include "command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "base/fdio.h"

int command_start(char *const argv[], int out_fd, int err_fd, struct err *err)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);

    int r = posix_spawn_file_actions_init(&files);
    if (r)
        return err_sys(err, r, "cannot start %s", argv[0]);
    r = posix_spawnattr_init(&attributes);
    if (r == 0) {
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setsigdefault(&attributes, &all);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
        if (out_fd < 0)
            posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
        else
            posix_spawn_file_actions_adddup2(&files, out_fd, 1);
        if (err_fd < 0)
            posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
        else
            posix_spawn_file_actions_adddup2(&files, err_fd, 2);
        posix_spawn_file_actions_addclosefrom_np(&files, 3);
        pid_t pid;
        r = posix_spawn(&pid, argv[0], &files, &attributes, argv, environ);
        posix_spawnattr_destroy(&attributes);
        if (r == 0) {
            posix_spawn_file_actions_destroy(&files);
            return pid;
        }
    }
    posix_spawn_file_actions_destroy(&files);
    return err_sys(err, r, "cannot start %s", argv[0]);
}

static int keep(struct buf *output, int fd)
{
    char bytes[4096];
    ssize_t n = read(fd, bytes, sizeof(bytes));
    if (n <= 0)
        return n < 0 && (errno == EINTR || errno == EAGAIN) ? 1 : 0;
    size_t room = COMMAND_OUTPUT_MAX_BYTES - output->len_bytes;
    buf_put(output, bytes, (size_t)n < room ? (size_t)n : room);
    return 1;
}

/* Until the process has ended; its output up to then. Somebody else may hold the pipe open for longer. */
static int wait_and_read(int pidfd, int pipe_fd, int64_t until_ms, struct buf *output)
{
    bool open = output && pipe_fd >= 0;
    for (;;) {
        int64_t left = until_ms - clock_boot_ms();
        struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN},
                                {.fd = open ? pipe_fd : -1, .events = POLLIN}};
        if (left <= 0)
            return -ETIMEDOUT;
        int r = poll(fds, 2, (int)left);
        if (r < 0 && errno != EINTR)
            return -errno;
        if (r <= 0)
            continue;
        if (open && fds[1].revents)
            open = keep(output, pipe_fd) > 0;
        else if (fds[0].revents)
            return 0;
    }
}

int command_run(char *const argv[], int timeout_ms, struct buf *output, struct err *err)
{
    OWNED_FD read_end = -1;
    OWNED_FD write_end = -1;
    if (output) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
            return err_sys(err, errno, "cannot start %s", argv[0]);
        read_end = ends[0];
        write_end = ends[1];
    }
    int pid = command_start(argv, write_end, write_end, err);
    if (pid < 0)
        return pid;
    if (output)
        close(steal_fd(&write_end));
    OWNED_FD pidfd = pidfd_open(pid, 0);
    int r = pidfd < 0 ? -errno : wait_and_read(pidfd, read_end, clock_boot_ms() + timeout_ms, output);
    if (r < 0)
        kill(pid, SIGKILL); /* not reaped yet: the pid is still its own */
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (r == -ETIMEDOUT)
        return err_set(err, ETIMEDOUT, "%s did not end within %d ms", argv[0], timeout_ms);
    if (r < 0)
        return err_sys(err, -r, "cannot wait for %s", argv[0]);
    if (output) {
        buf_put_u8(output, 0);
        if (output->error)
            return err_set(err, ENOMEM, "no memory for the output of %s", argv[0]);
        output->len_bytes--;
    }
    return status;
}
