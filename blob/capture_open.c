/*
 * Opening what lies in the tree. Only fds and relative names are used, in steps that no path limit applies
 * to; the last directories stay open, so that a child is opened from its parent.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

#include "capture_parts.h"

#define STEP_BYTES 4096 /* PATH_MAX, path_resolution(7) */

int capture_openat(int dirfd, const char *path, uint64_t flags)
{
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
    };
    for (int again = 0;; again++) {
        long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
        if (fd >= 0)
            return (int)fd;
        if (errno == EPERM && how.flags & O_NOATIME) /* for the owner and root alone, open(2) */
            how.flags &= ~(uint64_t)O_NOATIME;
        else if ((errno != EAGAIN && errno != EINTR) || again > 100) /* EAGAIN: a rename came between */
            return -errno;
    }
}

int capture_statx(int fd, const char *name, struct statx *out)
{
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (name[0] ? 0 : AT_EMPTY_PATH);
    return syscall(SYS_statx, fd, name, flags, STATX_BASIC_STATS, out) < 0 ? -errno : 0;
}

static struct capture_open *find_open(struct blob_capture *c, uint32_t node)
{
    for (size_t i = 0; i < CAPTURE_DIRS_OPEN; i++)
        if (c->open[i].fd >= 0 && c->open[i].node == node)
            return &c->open[i];
    return NULL;
}

void capture_close_dirs(struct blob_capture *c)
{
    for (size_t i = 0; i < CAPTURE_DIRS_OPEN; i++) {
        cleanup_fd(&c->open[i].fd);
        c->open[i].fd = -1;
    }
}

/* Keeps `fd` open, in the place of the one that was used longest ago. */
static void keep_open(struct blob_capture *c, uint32_t node, int fd)
{
    struct capture_open *oldest = &c->open[0];
    for (size_t i = 0; i < CAPTURE_DIRS_OPEN && oldest->fd >= 0; i++)
        if (c->open[i].fd < 0 || c->open[i].used < oldest->used)
            oldest = &c->open[i];
    cleanup_fd(&oldest->fd);
    *oldest = (struct capture_open){.node = node, .fd = fd, .used = ++c->opens};
}

/* The directories from `node` up to, not including, the nearest that is open (or the root), into the chain.
 */
static int climb(struct blob_capture *c, uint32_t node, int *from)
{
    c->chain.count = 0;
    *from = c->treefd;
    while (node != CAPTURE_ROOT) {
        struct capture_open *open = find_open(c, node);
        if (open) {
            open->used = ++c->opens;
            *from = open->fd;
            return 0;
        }
        if (c->nodes[node].parent == CAPTURE_NONE || c->chain.count > c->n_nodes)
            return -ENOENT;
        if (capture_list_add(&c->chain, node) < 0)
            return -ENOMEM;
        node = c->nodes[node].parent;
    }
    return 0;
}

/* Down the chain from `from` in steps of as many names as a path may have. */
static int descend(struct blob_capture *c, int from)
{
    char path[STEP_BYTES];
    size_t len = 0;
    int fd = from;
    while (c->chain.count > 0) {
        const char *name = capture_name(c, c->chain.list[--c->chain.count]);
        size_t name_bytes = strlen(name);
        memcpy(path + len, name, name_bytes);
        len += name_bytes;
        path[len] = '\0';
        bool last = c->chain.count == 0;
        if (!last && len + 1 + NAME_MAX + 1 < STEP_BYTES) {
            path[len++] = '/';
            continue;
        }
        int next = capture_openat(fd, path, O_DIRECTORY | O_NOFOLLOW | (last ? O_NOATIME : O_PATH));
        if (fd != from)
            close(fd);
        if (next < 0)
            return next;
        fd = next;
        len = 0;
    }
    return fd;
}

int capture_open_dir(struct blob_capture *c, uint32_t node, struct err *err)
{
    struct capture_open *open = find_open(c, node);
    if (open) {
        open->used = ++c->opens;
        return open->fd;
    }
    int from;
    int r = climb(c, node, &from);
    if (r == -ENOENT)
        return r;
    if (r < 0)
        return capture_no_memory(err);
    int fd = node == CAPTURE_ROOT ? capture_openat(from, ".", O_DIRECTORY | O_NOATIME) : descend(c, from);
    if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
        return -ENOENT;
    if (fd < 0)
        return capture_fault(c, -fd, node, NULL,
                             fd == -EXDEV ? "a mount lies there (unmount it)" : "opening failed", err);
    struct statx st;
    r = capture_statx(fd, "", &st);
    if (r < 0 || capture_key(c, &st) != c->nodes[node].key) {
        close(fd);
        return r < 0 ? capture_fault(c, -r, node, NULL, "stat failed", err) : -ENOENT;
    }
    keep_open(c, node, fd);
    return fd;
}
