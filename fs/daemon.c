#include "daemon.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { LOG_MAX_BYTES = 16 << 20 };

/* The parent: 0 when the child says so; else 1, after the child said why. */
static void wait_for(pid_t child, int fd)
{
    char byte;
    ssize_t n;
    int status;
    do
        n = read(fd, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        _exit(0);
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        fprintf(stderr, "bladefs: ended by signal %d before it was up\n", WTERMSIG(status));
    _exit(1);
}

int daemon_begin(struct daemon *out, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "cannot make a pipe");
    pid_t child = fork();
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        return err_sys(err, errno, "cannot go into the background");
    }
    if (child > 0) {
        close(ends[1]);
        wait_for(child, ends[0]);
    }
    close(ends[0]);
    setsid();
    out->tell_fd = ends[1];
    return 0;
}

int daemon_ready(struct daemon *daemon, const char *log_path, struct err *err)
{
    struct stat st;
    OWNED char *older = NULL;
    if (daemon->tell_fd < 0)
        return 0;
    /* One older log is kept. */
    if (stat(log_path, &st) == 0 && st.st_size > LOG_MAX_BYTES && asprintf(&older, "%s.1", log_path) > 0)
        (void)rename(log_path, older);
    OWNED_FD log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (log < 0)
        return err_sys(err, errno, "cannot write the log %s", log_path);
    OWNED_FD null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return err_sys(err, errno, "cannot open /dev/null");
    if (chdir("/") < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
        return err_sys(err, errno, "cannot go into the background");
    /* stderr last: until then an error reaches whoever waits. */
    if (dup2(log, 2) < 0 || write(daemon->tell_fd, "", 1) != 1)
        return err_sys(err, errno, "cannot tell that the mount is up");
    close(daemon->tell_fd);
    daemon->tell_fd = -1;
    return 0;
}
