#include "slot_log.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fdio.h"

#define HALF_BYTES (SLOT_LOG_MAX_BYTES / 2)

struct names {
    char now[16], before[16];
};

static struct names names_of(uint32_t slot)
{
    struct names n;
    snprintf(n.now, sizeof n.now, "%u", slot);
    snprintf(n.before, sizeof n.before, "%u.1", slot);
    return n;
}

int slot_log_open(int store_fd, struct err *err)
{
    if (mkdirat(store_fd, "logs", 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "cannot make the store's logs directory");
    int fd = openat(store_fd, "logs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "cannot open the store's logs directory");
    return fd;
}

static int append_piece(int logs_fd, const struct names *n, const uint8_t *bytes, size_t len_bytes)
{
    OWNED_FD fd = openat(logs_fd, n->now, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    size_t room = st.st_size < HALF_BYTES ? HALF_BYTES - (size_t)st.st_size : 0;
    size_t fits = len_bytes < room ? len_bytes : room;
    int rc = fd_write(fd, bytes, fits);
    if (rc < 0)
        return rc;
    if (fits < len_bytes && renameat(logs_fd, n->now, logs_fd, n->before) < 0)
        return -errno;
    return (int)fits;
}

int slot_log_append(int logs_fd, uint32_t slot, const void *bytes, size_t len_bytes)
{
    struct names n = names_of(slot);
    const uint8_t *at = bytes;
    while (len_bytes > 0) {
        int done = append_piece(logs_fd, &n, at, len_bytes);
        if (done < 0)
            return done;
        at += done;
        len_bytes -= (size_t)done;
    }
    return 0;
}

void slot_log_remove(int logs_fd, uint32_t slot)
{
    struct names n = names_of(slot);
    unlinkat(logs_fd, n.now, 0);
    unlinkat(logs_fd, n.before, 0);
}

/* Opens one half; an absent one is -1 and empty. */
static int half_open(int logs_fd, const char *name, struct stat *st)
{
    OWNED_FD fd = openat(logs_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    *st = (struct stat){0};
    if (fd < 0)
        return errno == ENOENT ? -1 : -errno;
    if (fstat(fd, st) < 0)
        return -errno;
    return steal_fd(&fd);
}

struct halves {
    int fds[2];
    struct stat st[2];
};

static int halves_open(int logs_fd, uint32_t slot, struct halves *h)
{
    struct names n = names_of(slot);
    h->fds[0] = half_open(logs_fd, n.before, &h->st[0]);
    h->fds[1] = half_open(logs_fd, n.now, &h->st[1]);
    for (int i = 0; i < 2; i++) {
        if (h->fds[i] < -1) {
            int rc = h->fds[i];
            if (h->fds[1 - i] >= 0)
                close(h->fds[1 - i]);
            return rc;
        }
    }
    return 0;
}

static void halves_close(struct halves *h)
{
    for (int i = 0; i < 2; i++) {
        if (h->fds[i] >= 0)
            close(h->fds[i]);
    }
}

static int64_t mtime_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

int slot_log_stat(int logs_fd, uint32_t slot, uint64_t *size_bytes, int64_t *changed_ns)
{
    struct halves h;
    int rc = halves_open(logs_fd, slot, &h);
    if (rc < 0)
        return rc;
    *size_bytes = (uint64_t)h.st[0].st_size + (uint64_t)h.st[1].st_size;
    *changed_ns = mtime_ns(h.fds[1] >= 0 ? &h.st[1] : &h.st[0]);
    halves_close(&h);
    return 0;
}

ssize_t slot_log_read(int logs_fd, uint32_t slot, void *out, size_t len_bytes, uint64_t offset)
{
    struct halves h;
    int rc = halves_open(logs_fd, slot, &h);
    if (rc < 0)
        return rc;
    uint8_t *at = out;
    ssize_t total = 0;
    for (int i = 0; i < 2 && len_bytes > 0; i++) {
        uint64_t size = (uint64_t)h.st[i].st_size;
        if (offset >= size) {
            offset -= size;
            continue;
        }
        size_t want = size - offset < len_bytes ? (size_t)(size - offset) : len_bytes;
        ssize_t got = fd_read_at(h.fds[i], at, want, offset);
        if (got < 0) {
            total = total ? total : got;
            break;
        }
        at += got;
        total += got;
        len_bytes -= (size_t)got;
        offset = 0;
        if ((size_t)got < want)
            break;
    }
    halves_close(&h);
    return total;
}
