/* The program bladed: see options_usage. It checks what it was given, then runs the agent until a signal. */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "agent.h"
#include "base/container.h"
#include "base/fdio.h"
#include "base/log.h"
#include "instance.h"
#include "options.h"
#include "rights.h"
#include "runtime.h"

#define RING_ENTRIES 256

struct signals {
    struct loop *loop;
    int fd;
    struct loop_op poll;
};

static void signalled(struct loop_op *op, int result)
{
    struct signals *s = CONTAINER_OF(op, struct signals, poll);
    struct signalfd_siginfo info;
    if (result < 0 || read(s->fd, &info, sizeof(info)) != sizeof(info))
        return;
    log_info("ends on signal %u; what runs here goes on", info.ssi_signo);
    loop_stop(s->loop);
}

/* Blocked, not ignored: programs that are started here set their mask anew, but would inherit what is
 * ignored.
 */
static int block_signals(int *fd, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    *fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    sigaddset(&set, SIGPIPE);
    if (*fd < 0 || pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return err_sys(err, errno, "cannot take signals");
    return 0;
}

static int read_key(const char *path, struct wire_key *key, struct err *err)
{
    OWNED_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "cannot read the key file %.300s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, EINVAL, "the key file %.300s is no regular file", path);
    char text[WIRE_KEY_LINE_BYTES + 2];
    ssize_t n = fd_read_at(fd, text, sizeof(text), 0);
    if (n < 0)
        return err_sys(err, (int)-n, "cannot read the key file %.300s", path);
    int r = wire_key_parse(text, (size_t)n, key, err);
    explicit_bzero(text, sizeof(text));
    if (r < 0)
        return err_prefix(err, "the key file %.300s", path);
    if (st.st_mode & 077)
        log_warn("the key file %s can be read by others than its owner: chmod 600 it", path);
    return 0;
}

/* A directory with something in it must carry our lock file: nobody's data is taken for ours. */
static int check_ours(int dirfd, const char *dir, struct err *err)
{
    struct stat st;
    if (fstat(dirfd, &st) < 0)
        return err_sys(err, errno, "cannot look at %.300s", dir);
    if (st.st_uid != 0)
        return err_set(err, EPERM, "%.300s belongs to another user than root", dir);
    if (fstatat(dirfd, "lock", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
        return 0;
    OWNED_DIR list = NULL;
    int r = dir_list(dirfd, &list);
    if (r < 0)
        return err_sys(err, -r, "cannot read %.300s", dir);
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, "lost+found") != 0)
            return err_set(err, ENOTEMPTY,
                           "%.300s has something in it and is no directory of bladed's: name another", dir);
    return 0;
}

/* Makes, checks and locks the agent's directory. The lock lives as long as `*lock`. */
static int open_dir(const char *dir, char path[PATH_MAX], int *dirfd, int *lock, struct err *err)
{
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "cannot make the directory %.300s", dir);
    OWNED_FD fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || !realpath(dir, path))
        return err_sys(err, errno, "cannot open the directory %.300s", dir);
    int r = check_ours(fd, path, err);
    if (r < 0)
        return r;
    OWNED_FD file = openat(fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0)
        return err_sys(err, errno, "cannot make %.300s/lock", path);
    if (flock(file, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? err_set(err, EBUSY, "%.300s is in use by another bladed", path)
                                    : err_sys(err, errno, "cannot lock %.300s/lock", path);
    if (fchmod(fd, 0700) < 0)
        return err_sys(err, errno, "cannot make %.300s private", path);
    *dirfd = steal_fd(&fd);
    *lock = steal_fd(&file);
    return 0;
}

static void raise_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)!setrlimit(RLIMIT_NOFILE, &files);
    }
}

static int run(const struct options *options, struct err *err)
{
    char path[PATH_MAX];
    struct wire_key key;
    OWNED_FD dirfd = -1;
    OWNED_FD lock = -1;
    struct signals signals = {.fd = -1, .poll = {.done = signalled}};
    struct agent *agent = NULL;

    int r = rights_take(err);
    if (r == 0)
        r = read_key(options->key_file, &key, err);
    if (r == 0)
        r = open_dir(options->dir, path, &dirfd, &lock, err);
    if (r == 0)
        r = runtime_root_below(path, err);
    if (r == 0)
        r = block_signals(&signals.fd, err);
    if (r == 0)
        r = loop_new(RING_ENTRIES, &signals.loop, err);
    if (r == 0) {
        raise_limits();
        loop_poll(signals.loop, &signals.poll, signals.fd, POLLIN);
        r = agent_new(signals.loop, options, &key, dirfd, path, &agent, err);
    }
    if (r == 0) {
        log_info("bladed %s on %s, controller %s:%s", BLADEFS_VERSION, path, options->host, options->port);
        r = loop_run(signals.loop);
        if (r < 0)
            err_sys(err, -r, "the event loop failed");
        agent_stop(agent);
    }
    loop_free(signals.loop);
    agent_free(agent);
    if (signals.fd >= 0)
        close(signals.fd);
    explicit_bzero(&key, sizeof(key));
    return r;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--supervise") == 0)
        return supervise_main(argc, argv);

    struct err err = {0};
    struct options options = {0};
    int r = options_parse(argc, argv, &options, &err);
    if (r == 0 && options.help) {
        fputs(options_usage, stdout);
    } else if (r == 0 && options.version) {
        puts("bladed " BLADEFS_VERSION);
    } else if (r == 0) {
        if (options.verbose)
            log_set_level(LOG_LEVEL_DEBUG);
        r = run(&options, &err);
    }
    if (r < 0)
        fprintf(stderr, "bladed: %s\n", err.message);
    if (r == 0)
        r = fflush(stdout) == 0 ? 0 : -EIO;
    options_free(&options);
    return r < 0 ? 1 : 0;
}
