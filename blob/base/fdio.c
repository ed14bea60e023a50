#include "base/fdio.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

ssize_t fd_read_at(int fd, void *bytes, size_t len_bytes, uint64_t offset)
{
    size_t done = 0;
    while (done < len_bytes) {
        ssize_t n = pread(fd, (char *)bytes + done, len_bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int fd_write_at(int fd, const void *bytes, size_t len_bytes, uint64_t offset)
{
    for (size_t done = 0; done < len_bytes;) {
        ssize_t n = pwrite(fd, (const char *)bytes + done, len_bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return 0;
}

int fd_write(int fd, const void *bytes, size_t len_bytes)
{
    for (size_t done = 0; done < len_bytes;) {
        ssize_t n = write(fd, (const char *)bytes + done, len_bytes - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return 0;
}

int file_read(int dirfd, const char *name, size_t max_bytes, struct buf *out)
{
    OWNED_FD fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    for (size_t total = 0;;) {
        uint8_t *room = buf_room(out, 4096);
        if (!room)
            return -ENOMEM;
        ssize_t n = read(fd, room, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        total += (size_t)n;
        if (total > max_bytes)
            return -EFBIG;
        buf_grew(out, (size_t)n);
    }
}

int file_replace(int dirfd, const char *name, mode_t mode, const void *bytes, size_t len_bytes)
{
    char temporary[256];
    if (snprintf(temporary, sizeof(temporary), "%s.new", name) >= (int)sizeof(temporary))
        return -ENAMETOOLONG;
    OWNED_FD fd = openat(dirfd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return -errno;
    int r = fd_write(fd, bytes, len_bytes);
    if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
        r = -errno;
    if (r == 0 && renameat(dirfd, temporary, dirfd, name) < 0)
        r = -errno;
    if (r < 0) {
        unlinkat(dirfd, temporary, 0);
        return r;
    }
    /* The name may be in a subdirectory of dirfd: that is what must be synced. */
    char parent[256];
    snprintf(parent, sizeof(parent), "%s", name);
    char *slash = strrchr(parent, '/');
    if (slash)
        *slash = '\0';
    OWNED_FD dir = openat(dirfd, slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fsync(dir) < 0)
        return -errno;
    return 0;
}

int dir_list(int dirfd, DIR **out)
{
    OWNED_FD fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return -errno;
    steal_fd(&fd); /* the DIR has it */
    *out = dir;
    return 0;
}

/* Moves a directory up to `top`. A name there may be taken, by what an earlier removal that was cut short
 * left. */
static int move_aside(int dirfd, const char *name, int top, unsigned *moved)
{
    for (;;) {
        char aside[32];
        snprintf(aside, sizeof(aside), ".gone-%u", (*moved)++);
        if (renameat(dirfd, name, top, aside) == 0)
            return 0;
        if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR)
            return -errno;
    }
}

/* The entries of `fd` (taken over) are removed, and below them all: depth is bounded by the names, not by the
 * stack, as directories are moved up to `top` before they are emptied. */
static int empty_directory(int fd, dev_t dev, int top, unsigned *moved)
{
    OWNED_DIR dir = fdopendir(fd);
    if (!dir) {
        int r = -errno;
        close(fd);
        return r;
    }
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry)
            return -errno;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM)
            return -errno;
        struct stat st;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return -errno;
        if (!S_ISDIR(st.st_mode))
            return -EPERM;
        if (st.st_dev != dev)
            return -EXDEV;
        if (unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) == 0)
            continue;
        if (errno != ENOTEMPTY && errno != EEXIST)
            return -errno;
        int r = move_aside(dirfd(dir), entry->d_name, top, moved);
        if (r < 0)
            return r;
    }
}

int tree_remove(int parent, const char *name)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;

    OWNED_FD top = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (top < 0)
        return -errno;
    struct stat st;
    if (fstat(top, &st) < 0)
        return -errno;
    unsigned moved = 0;
    while (unlinkat(parent, name, AT_REMOVEDIR) < 0) {
        if (errno != ENOTEMPTY && errno != EEXIST)
            return -errno;
        int again = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (again < 0)
            return -errno;
        int r = empty_directory(again, st.st_dev, top, &moved);
        if (r < 0)
            return r;
        for (unsigned i = 0; i < moved; i++) {
            char aside[32];
            snprintf(aside, sizeof(aside), ".gone-%u", i);
            if (unlinkat(top, aside, AT_REMOVEDIR) == 0 || errno == ENOENT || errno == ENOTDIR)
                continue; /* what is no directory goes with the next look at `top` */
            int fd = openat(top, aside, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (fd < 0)
                return -errno;
            r = empty_directory(fd, st.st_dev, top, &moved);
            if (r < 0)
                return r;
            if (unlinkat(top, aside, AT_REMOVEDIR) < 0)
                return -errno;
        }
    }
    return 0;
}

int64_t clock_wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_boot_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void clock_format(int64_t wall_ns, char out[32])
{
    time_t seconds = (time_t)(wall_ns / 1000000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    if (strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        out[0] = '\0';
}
