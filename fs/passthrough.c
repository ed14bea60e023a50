#include "passthrough.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "base/log.h"

/* FUSE_DEV_IOC_BACKING_OPEN and _CLOSE of linux/fuse.h, which Debian 12's does not have yet. */
struct backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};
#define BACKING_OPEN _IOW(229, 1, struct backing_map)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)

struct passthrough {
    pthread_mutex_t lock; /* and of the nodes' counts of opens */
    bool possible;
    bool on;
    int fuse_fd;
};

/* Whether a read lease tells of writers: fcntl(2), F_SETLEASE. */
static bool has_leases(int dir)
{
    char path[40];
    OWNED_FD writes = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (writes < 0)
        return false;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", writes);
    OWNED_FD reads = open(path, O_RDONLY | O_CLOEXEC);
    if (reads < 0 || fcntl(reads, F_SETLEASE, F_RDLCK) == 0 || errno != EAGAIN)
        return false;
    close(steal_fd(&writes));
    return fcntl(reads, F_SETLEASE, F_RDLCK) == 0;
}

int passthrough_new(const struct backing *backing, bool wanted, struct passthrough **out)
{
    struct passthrough *passthrough = calloc(1, sizeof(*passthrough));
    if (!passthrough)
        return -ENOMEM;
    pthread_mutex_init(&passthrough->lock, NULL);
    passthrough->fuse_fd = -1;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    passthrough->possible = wanted && geteuid() == 0 && has_leases(backing->fd);
#else
    (void)has_leases;
    (void)backing;
    (void)wanted;
#endif
    *out = passthrough;
    return 0;
}

void passthrough_free(struct passthrough *passthrough)
{
    if (!passthrough)
        return;
    pthread_mutex_destroy(&passthrough->lock);
    free(passthrough);
}

void passthrough_start(struct passthrough *passthrough, int fuse_fd)
{
    HOLD_LOCK(&passthrough->lock);
    passthrough->fuse_fd = fuse_fd;
    passthrough->on = passthrough->possible;
}

bool passthrough_possible(const struct passthrough *passthrough)
{
    return passthrough->possible;
}

bool passthrough_is_on(struct passthrough *passthrough)
{
    HOLD_LOCK(&passthrough->lock);
    return passthrough->on;
}

/* Under the lock. The kernel may have no right to give, or the store lies on a stacked file system: then it
 * is so for every file. */
static int register_file(struct passthrough *passthrough, int fd)
{
    struct backing_map map = {.fd = fd};
    int id = ioctl(passthrough->fuse_fd, BACKING_OPEN, &map);
    if (id > 0)
        return id;
    if (errno != ENOMEM && errno != ENFILE && errno != EMFILE && errno != EBADF) {
        log_info("reads and writes of snapshots pass through this process: the kernel refuses (errno %d)",
                 errno);
        passthrough->on = false;
    }
    return 0;
}

int passthrough_open(struct passthrough *passthrough, struct node *node, int fd)
{
    HOLD_LOCK(&passthrough->lock);
    if (node->passed_opens == 0) {
        int id = passthrough->on && node->other_opens == 0 ? register_file(passthrough, fd) : 0;
        if (id == 0) {
            node->other_opens++;
            return 0;
        }
        node->backing_id = id;
    }
    node->passed_opens++;
    return node->backing_id;
}

void passthrough_close(struct passthrough *passthrough, struct node *node, bool passed)
{
    HOLD_LOCK(&passthrough->lock);
    if (!passed) {
        node->other_opens--;
    } else if (--node->passed_opens == 0) {
        uint32_t id = (uint32_t)node->backing_id;
        node->backing_id = 0;
        (void)ioctl(passthrough->fuse_fd, BACKING_CLOSE, &id); /* ENOTCONN after the unmount: gone with it */
    }
}
