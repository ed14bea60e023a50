#include "session.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "opens.h"
#include "passthrough.h"
#include "waits.h"
#include "workers.h"

enum { BACKGROUND_MAX = 64, ANSWER_ALL_MS = 5000 };
/* Of one request. libfuse's pipes must hold it with its header, or it makes a new one for each request. */
enum { WRITE_MAX_BYTES = 1 << 20, WRITE_MIN_BYTES = 128 << 10, HEADER_BYTES = 4096 };

/* TSan takes what one thread writes to a descriptor and another reads from it as ordered, as it is; of
 * splices it cannot tell. */
#ifdef __SANITIZE_THREAD__
enum { SPLICE = 0 };
#else
enum { SPLICE = 1 };
#endif

struct session {
    struct fs *fs;
    struct fuse_session *fuse;
    const char *mountpoint;  /* borrowed */
    struct workers *workers; /* while it serves */
};

static void want(struct fuse_conn_info *conn, uint64_t flag)
{
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    fuse_set_feature_flag(conn, flag);
#else
    if (conn->capable & flag)
        conn->want |= (unsigned)flag;
#endif
}

static bool have(const struct fuse_conn_info *conn, uint64_t flag)
{
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    return fuse_get_feature_flag((struct fuse_conn_info *)conn, flag);
#else
    return conn->want & flag;
#endif
}

static void do_not_want(struct fuse_conn_info *conn, uint64_t flag)
{
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    fuse_unset_feature_flag(conn, flag);
#else
    conn->want &= ~(unsigned)flag;
#endif
}

/* What a pipe may hold: pipe(7). */
static uint32_t pipe_max_bytes(void)
{
    char text[16] = "";
    OWNED_FD fd = open("/proc/sys/fs/pipe-max-size", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    unsigned long bytes = n > 0 ? strtoul(text, NULL, 10) : 0;
    return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

/* Content is spliced between the kernel and the backing files, unless passthrough takes it around here: what
 * comes then is small, and one read is cheaper than two splices. */
static void set_splice(struct fs *fs, struct fuse_conn_info *conn)
{
    uint32_t room = pipe_max_bytes();
    bool small = room < WRITE_MIN_BYTES + HEADER_BYTES;
    if (passthrough_is_on(fs->passthrough) || small || !SPLICE) {
        do_not_want(conn, FUSE_CAP_SPLICE_READ);
        do_not_want(conn, FUSE_CAP_SPLICE_WRITE);
        do_not_want(conn, FUSE_CAP_SPLICE_MOVE);
        conn->max_write = WRITE_MIN_BYTES;
        return;
    }
    want(conn, FUSE_CAP_SPLICE_READ);
    want(conn, FUSE_CAP_SPLICE_WRITE);
    want(conn, FUSE_CAP_SPLICE_MOVE);
    fs->features.splice = have(conn, FUSE_CAP_SPLICE_READ) && have(conn, FUSE_CAP_SPLICE_WRITE);
    conn->max_write = room - HEADER_BYTES < WRITE_MAX_BYTES ? room - HEADER_BYTES : WRITE_MAX_BYTES;
}

void session_init(void *userdata, struct fuse_conn_info *conn)
{
    static const uint64_t wanted[] = {
        FUSE_CAP_ASYNC_READ,  FUSE_CAP_ATOMIC_O_TRUNC,   FUSE_CAP_EXPORT_SUPPORT,
        FUSE_CAP_DONT_MASK,   FUSE_CAP_POSIX_ACL,        FUSE_CAP_PARALLEL_DIROPS,
        FUSE_CAP_READDIRPLUS, FUSE_CAP_READDIRPLUS_AUTO, FUSE_CAP_EXPLICIT_INVAL_DATA,
        FUSE_CAP_ASYNC_DIO,
    };
    struct fs *fs = userdata;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        want(conn, wanted[i]);
    if (!(conn->capable & FUSE_CAP_POSIX_ACL))
        log_error("this kernel's FUSE knows no POSIX ACLs: what they deny is allowed, as modes say");
    /* Every change passes through the kernel, so its pages are right: it need not drop them when a time
     * changes. */
    do_not_want(conn, FUSE_CAP_AUTO_INVAL_DATA);
    /* The kernel clears set-id bits; to the backing file system it is root who writes. */
    do_not_want(conn, FUSE_CAP_HANDLE_KILLPRIV);
    do_not_want(conn, FUSE_CAP_IOCTL_DIR);
    do_not_want(conn, FUSE_CAP_WRITEBACK_CACHE);
    if (fs->max_read_bytes)
        conn->max_read = fs->max_read_bytes; /* libfuse wants it said twice */
#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2
    /* Else the kernel asks for security.capability before each write. */
    want(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
    fs->features.kill_set_id = have(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
#endif
#ifdef FUSE_CAP_PASSTHROUGH
    if (passthrough_possible(fs->passthrough)) {
        want(conn, FUSE_CAP_PASSTHROUGH);
        if (have(conn, FUSE_CAP_PASSTHROUGH))
            passthrough_start(fs->passthrough, fuse_session_fd(fs->session));
    }
#endif
#ifdef FUSE_CAP_OVER_IO_URING
    fs->features.io_uring = have(conn, FUSE_CAP_OVER_IO_URING);
#endif
    fs->features.no_opendir = conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT;
    set_splice(fs, conn);
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
}

/* What libfuse says on the way to a mount becomes the reason; later it goes to the log. */
static char libfuse_reason[256];
static bool libfuse_reason_kept;

PRINTF_LIKE(2, 0) static void on_libfuse_log(enum fuse_log_level level, const char *format, va_list words)
{
    char line[sizeof(libfuse_reason)];
    vsnprintf(line, sizeof(line), format, words);
    line[strcspn(line, "\n")] = '\0';
    if (libfuse_reason_kept)
        snprintf(libfuse_reason, sizeof(libfuse_reason), "%s", line);
    else if (level <= FUSE_LOG_WARNING)
        log_warn("libfuse: %s", line);
    else if (level == FUSE_LOG_DEBUG)
        log_debug("libfuse: %s", line);
    else
        log_info("libfuse: %s", line);
}

int session_open(struct fs *fs, struct fuse_args *args, const char *mountpoint, struct session **out,
                 struct err *err)
{
    struct session *session = calloc(1, sizeof(*session));
    if (!session)
        return err_set(err, ENOMEM, "no memory");
    session->fs = fs;
    session->mountpoint = mountpoint;
    libfuse_reason_kept = true;
    fuse_set_log_func(on_libfuse_log);
    session->fuse = fuse_session_new(args, &dispatch_ops, sizeof(dispatch_ops), fs);
    if (!session->fuse) {
        free(session);
        return err_set(err, EINVAL, "libfuse refused the mount options: %s", libfuse_reason);
    }
    fs->session = session->fuse;
    if (fuse_session_mount(session->fuse, mountpoint) != 0) {
        int code = errno ? errno : EIO;
        fuse_session_destroy(session->fuse);
        free(session);
        return err_set(err, code, "cannot mount on %s: %s", mountpoint,
                       libfuse_reason[0] ? libfuse_reason : "is /dev/fuse there, and may this user mount?");
    }
    libfuse_reason_kept = false;
    *out = session;
    return 0;
}

/*
 * What was stored through mappings is still in the kernel: it must come in while there is somebody to take
 * it. syncfs(2) may be back before it has (FUSE has no data integrity there since Linux 6.16); dropping a
 * file's pages waits for them to be written.
 */
static void sync_mount(const struct session *session)
{
    OWNED_FD fd = open(session->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OWNED uint64_t *nodes = NULL;
    size_t count = 0;
    if (fd >= 0 && syncfs(fd) < 0)
        log_warn("syncing %s failed: errno %d", session->mountpoint, errno);
    int r = opens_written(session->fs->opens, &nodes, &count);
    for (size_t i = 0; r == 0 && i < count; i++)
        (void)fuse_lowlevel_notify_inval_inode(session->fuse, nodes[i], 0, 0); /* it may be closed by now */
    if (r < 0)
        log_warn("syncing %s failed: errno %d", session->mountpoint, -r);
}

static void ending_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGUSR1); /* from session_serve: nothing is left to do */
}

static void *end_on_signal(void *arg)
{
    struct session *session = arg;
    sigset_t set;
    int number = 0;
    ending_signals(&set);
    while (sigwait(&set, &number) != 0)
        ;
    if (number == SIGUSR1)
        return NULL;
    log_info("ending: signal %d", number);
    waits_end(session->fs->waits, ANSWER_ALL_MS);
    sync_mount(session);
    fuse_session_exit(session->fuse);
    workers_end(session->workers);
    return NULL;
}

int session_serve(struct session *session)
{
    pthread_t ender;
    sigset_t set;
    ending_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    int r = workers_new(session->fuse, &session->workers);
    if (r < 0)
        return r;
    r = -pthread_create(&ender, NULL, end_on_signal, session);
    if (r == 0) {
        r = workers_serve(session->workers);
        pthread_kill(ender, SIGUSR1);
        pthread_join(ender, NULL);
        waits_end(session->fs->waits, ANSWER_ALL_MS);
    }
    workers_free(session->workers);
    session->workers = NULL;
    return r;
}

void session_unmount(struct session *session)
{
    fuse_session_unmount(session->fuse);
}

void session_free(struct session *session)
{
    if (!session)
        return;
    fuse_session_destroy(session->fuse);
    free(session);
}
