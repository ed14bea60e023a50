/* bladefs: opens the store, mounts, serves, and ends in order. */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "command_line.h"
#include "daemon.h"
#include "fsck.h"
#include "mountpoint.h"
#include "session.h"

#define NOFILE_WANTED ((rlim_t)1 << 20)

static int fail(const struct err *err)
{
    if (err->message[0])
        fprintf(stderr, "bladefs: %s\n", err->message);
    return 1;
}

static void raise_file_limit(void)
{
    struct rlimit limit, wanted;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    wanted = limit;
    wanted.rlim_cur = wanted.rlim_max < NOFILE_WANTED ? wanted.rlim_max : NOFILE_WANTED;
    if (geteuid() == 0 && wanted.rlim_max < NOFILE_WANTED) {
        wanted.rlim_cur = wanted.rlim_max = NOFILE_WANTED;
        if (setrlimit(RLIMIT_NOFILE, &wanted) == 0)
            return;
        wanted.rlim_cur = wanted.rlim_max = limit.rlim_max;
    }
    (void)setrlimit(RLIMIT_NOFILE, &wanted);
}

/* Threads inherit it: the ending signals go to the one thread of the session that waits for them. */
static void prepare_process(void)
{
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &ending, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGIO, SIG_IGN); /* somebody opened what lingering.c looks at */
    umask(0);
    raise_file_limit();
}

static int serve(struct options *options, const char *mountpoint, struct daemon *daemon, struct fs *fs,
                 struct session **session, struct err *err)
{
    OWNED char *log_path = NULL;
    if (asprintf(&log_path, "%s.log", options->store) < 0) {
        log_path = NULL;
        return err_set(err, ENOMEM, "no memory");
    }
    int r = session_open(fs, &options->args, mountpoint, session, err);
    if (r == 0)
        r = daemon_ready(daemon, log_path, err);
    if (r < 0)
        return r;
    log_info("%s is mounted on %s, agents dial %s port %s", options->store, mountpoint, options->listen_host,
             options->listen_port);
    r = session_serve(*session);
    return r < 0 ? err_sys(err, -r, "serving %s failed", mountpoint) : 0;
}

static struct mountpoint_wish wish_of(const struct options *options)
{
    return (struct mountpoint_wish){.may_be_full = options->nonempty, .takes_stale = options->remount_stale};
}

static int run(struct options *options, const char *mountpoint, bool stale, struct daemon *daemon,
               struct err *err)
{
    const struct mountpoint_wish wish = wish_of(options);
    const struct engine_options engine_options = {
        .store_path = options->store,
        .listen_host = options->listen_host,
        .listen_port = options->listen_port,
        .keep = options->keep_runnings,
        .no_eager = options->no_eager,
    };
    struct engine *engine = NULL;
    struct session *session = NULL;
    struct fs *fs = NULL;
    int r = engine_open(&engine_options, &engine, err);
    if (r < 0)
        return r;
    if (stale)
        r = mountpoint_take_over(mountpoint, &wish, err);
    if (r == 0)
        r = fs_new(engine, &(struct fs_options){.passthrough = !options->no_passthrough}, &fs, err);
    if (r == 0)
        fs->max_read_bytes = options->max_read_bytes;
    if (r == 0)
        r = serve(options, mountpoint, daemon, fs, &session, err);
    if (session)
        session_unmount(session);
    if (fs)
        fs_release(fs);
    engine_close(engine); /* answers what still waits, so the session goes after it */
    session_free(session);
    fs_free(fs);
    return r;
}

static int start(struct options *options, struct err *err)
{
    OWNED char *mountpoint = NULL;
    struct daemon daemon = {.tell_fd = -1};
    const struct mountpoint_wish wish = wish_of(options);
    bool stale;
    int r = mountpoint_check(options->mountpoint, &wish, &mountpoint, &stale, err);
    if (r < 0 || options->fake)
        return r;
    if (!options->foreground && !options->debug)
        r = daemon_begin(&daemon, err);
    if (r < 0)
        return r;
    if (options->debug)
        log_set_level(LOG_LEVEL_DEBUG);
    prepare_process();
    return run(options, mountpoint, stale, &daemon, err);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct options options;
    if (options_parse(argc, argv, &options, &err) < 0)
        return fail(&err);
    int result = 0;
    if (options.help) {
        options_usage(stdout);
    } else if (options.version) {
        printf("bladefs %s (libfuse %s)\n", BLADEFS_VERSION, fuse_pkgversion());
    } else if (options.fsck) {
        result = fsck_command(options.store);
    } else if (start(&options, &err) < 0) {
        result = fail(&err);
    }
    options_free(&options);
    return result;
}
