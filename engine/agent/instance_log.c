#include "instance_log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"

static void end_line(struct last_line *l)
{
    while (l->partial_bytes > 0 && l->partial[l->partial_bytes - 1] == ' ')
        l->partial_bytes--;
    if (l->partial_bytes > 0) {
        memcpy(l->line, l->partial, l->partial_bytes);
        l->line[l->partial_bytes] = '\0';
    }
    l->partial_bytes = 0;
}

void last_line_feed(struct last_line *l, const void *bytes, size_t len_bytes)
{
    for (const unsigned char *p = bytes, *end = p + len_bytes; p < end; p++) {
        if (*p == '\n') {
            end_line(l);
        } else if (l->partial_bytes + 1 < sizeof(l->partial)) {
            /* Control characters have no place in a sentence; leading blanks neither. */
            char c = *p < 0x20 || *p == 0x7F ? ' ' : (char)*p;
            if (c != ' ' || l->partial_bytes > 0)
                l->partial[l->partial_bytes++] = c;
        }
        l->partial[l->partial_bytes] = '\0';
    }
}

const char *last_line_get(const struct last_line *l)
{
    return l->partial_bytes > 0 ? l->partial : l->line;
}

static int read_position(struct instance_log *log)
{
    OWNED_BUF struct buf text = BUF_EMPTY;
    int r = file_read(log->dirfd, "log.pos", 128, &text);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    buf_put_u8(&text, 0);
    if (text.error)
        return text.error;
    uint64_t base = 0, handed_on = 0;
    char *end;
    base = strtoull((const char *)text.bytes, &end, 10);
    if (*end == ' ')
        handed_on = strtoull(end, &end, 10);
    log->base = base;
    log->handed_on = handed_on;
    return 0;
}

static int open_older(struct instance_log *log)
{
    log->older_bytes = 0;
    log->older_fd = openat(log->dirfd, "log.1", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (log->older_fd < 0)
        return errno == ENOENT ? 0 : -errno;
    struct stat st;
    if (fstat(log->older_fd, &st) < 0)
        return -errno;
    /* A log.pos that was lost counts from 0: then the older file is out of reach. */
    log->older_bytes = (uint64_t)st.st_size <= log->base ? (uint64_t)st.st_size : 0;
    return 0;
}

int instance_log_open(int dirfd, struct instance_log *log)
{
    *log = (struct instance_log){.dirfd = dirfd, .fd = -1, .older_fd = -1};
    int r = read_position(log);
    if (r < 0)
        return r;
    struct stat st = {0};
    log->fd = openat(dirfd, "log", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    r = log->fd < 0 || fstat(log->fd, &st) < 0 ? -errno : open_older(log);
    if (r < 0) {
        cleanup_fd(&log->fd);
        cleanup_fd(&log->older_fd);
        log->fd = log->older_fd = -1;
        return r;
    }
    log->bytes = (uint64_t)st.st_size;
    if (log->handed_on > instance_log_end(log))
        log->handed_on = instance_log_end(log);
    return 0;
}

void instance_log_close(struct instance_log *log)
{
    if (log->fd < 0)
        return;
    (void)!instance_log_save(log); /* else some of it is handed on twice */
    cleanup_fd(&log->fd);
    cleanup_fd(&log->older_fd);
    log->fd = log->older_fd = -1;
}

uint64_t instance_log_end(const struct instance_log *log)
{
    return log->base + log->bytes;
}

int instance_log_save(const struct instance_log *log)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64 "\n", log->base, log->handed_on);
    OWNED_FD fd =
        openat(log->dirfd, "log.pos.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int r = fd_write(fd, text, (size_t)n);
    if (r < 0)
        return r;
    return renameat(log->dirfd, "log.pos.new", log->dirfd, "log.pos") < 0 ? -errno : 0;
}

static int rotate(struct instance_log *log)
{
    if (renameat(log->dirfd, "log", log->dirfd, "log.1") < 0)
        return -errno;
    int fd = openat(log->dirfd, "log", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        int r = -errno;
        if (renameat(log->dirfd, "log.1", log->dirfd, "log") < 0)
            return r;
        return r;
    }
    cleanup_fd(&log->older_fd);
    log->older_fd = log->fd;
    log->older_bytes = log->bytes;
    log->fd = fd;
    log->base += log->bytes;
    log->bytes = 0;
    return instance_log_save(log);
}

int instance_log_append(struct instance_log *log, const void *bytes, size_t len_bytes)
{
    const char *at = bytes;
    while (len_bytes > 0) {
        if (log->bytes >= INSTANCE_LOG_FILE_BYTES) {
            int r = rotate(log);
            if (r < 0)
                return r;
        }
        uint64_t room = INSTANCE_LOG_FILE_BYTES - log->bytes;
        size_t n = len_bytes < room ? len_bytes : (size_t)room;
        ssize_t wrote = write(log->fd, at, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return -errno;
        log->bytes += (uint64_t)wrote;
        at += wrote;
        len_bytes -= (size_t)wrote;
    }
    return 0;
}

ssize_t instance_log_read(const struct instance_log *log, uint64_t *offset, void *bytes, size_t len_bytes)
{
    uint64_t oldest = log->base - log->older_bytes;
    uint64_t from = *offset < oldest ? oldest : *offset;
    ssize_t n = 0;
    if (from < log->base) {
        uint64_t left = log->base - from;
        n = fd_read_at(log->older_fd, bytes, len_bytes < left ? len_bytes : (size_t)left, from - oldest);
    } else if (from < instance_log_end(log)) {
        uint64_t left = instance_log_end(log) - from;
        n = fd_read_at(log->fd, bytes, len_bytes < left ? len_bytes : (size_t)left, from - log->base);
    }
    if (n >= 0)
        *offset = from;
    return n;
}
