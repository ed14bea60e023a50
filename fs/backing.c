#include "backing.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

/* Handle types: include/linux/exportfs.h, fs/xfs/xfs_export.h of the kernel. */
enum { HANDLE_INO32_GEN = 0x01, HANDLE_BTRFS = 0x4d, HANDLE_XFS_INO64_GEN = 0x81 };
enum { HANDLE_INO32_BYTES = 8, HANDLE_BTRFS_BYTES = 20, HANDLE_XFS_BYTES = 12 };

union raw_handle {
    struct file_handle head;
    uint8_t room[sizeof(struct file_handle) + HANDLE_MAX_BYTES];
};

int backing_open(int snapshots_fd, struct backing *out)
{
    OWNED_FD fd = openat(snapshots_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    struct backing backing = {.dev = st.st_dev, .inode = st.st_ino};
    backing.fd = fd;
    backing.by_handle = true;
    handle_of(&backing, fd, &backing.handle);
    OWNED_FD again =
        backing.handle.len_bytes ? backing_open_handle(&backing, &backing.handle, O_PATH | O_CLOEXEC) : -1;
    backing.by_handle = again >= 0;
    backing.fd = steal_fd(&fd);
    *out = backing;
    return 0;
}

void backing_close(struct backing *backing)
{
    if (backing->fd >= 0)
        close(backing->fd);
    backing->fd = -1;
}

void handle_of(const struct backing *backing, int fd, struct handle *out)
{
    handle_at(backing, fd, "", out);
}

void handle_at(const struct backing *backing, int dir, const char *name, struct handle *out)
{
    *out = (struct handle){0};
    if (!backing->by_handle)
        return;
    union raw_handle raw = {.head.handle_bytes = HANDLE_MAX_BYTES};
    int mount;
    if (name_to_handle_at(dir, name, &raw.head, &mount, name[0] ? 0 : AT_EMPTY_PATH) < 0 ||
        raw.head.handle_bytes > HANDLE_MAX_BYTES)
        return;
    out->type = raw.head.handle_type;
    out->len_bytes = (uint8_t)raw.head.handle_bytes;
    memcpy(out->bytes, raw.room + sizeof(struct file_handle), out->len_bytes);
}

bool handle_equal(const struct handle *a, const struct handle *b)
{
    return a->type == b->type && a->len_bytes == b->len_bytes &&
           memcmp(a->bytes, b->bytes, a->len_bytes) == 0;
}

static uint32_t u32_at(const struct handle *handle, size_t at)
{
    uint32_t v;
    memcpy(&v, handle->bytes + at, sizeof(v));
    return v;
}

uint32_t handle_generation(const struct handle *handle)
{
    if (handle->type == HANDLE_INO32_GEN && handle->len_bytes == HANDLE_INO32_BYTES)
        return u32_at(handle, 4);
    if (handle->type == HANDLE_XFS_INO64_GEN && handle->len_bytes == HANDLE_XFS_BYTES)
        return u32_at(handle, 8);
    if (handle->type == HANDLE_BTRFS && handle->len_bytes == HANDLE_BTRFS_BYTES)
        return u32_at(handle, 16);
    return 0;
}

int backing_open_handle(const struct backing *backing, const struct handle *handle, int flags)
{
    if (!handle->len_bytes)
        return -ESTALE;
    union raw_handle raw = {.head.handle_bytes = handle->len_bytes};
    raw.head.handle_type = handle->type;
    memcpy(raw.room + sizeof(struct file_handle), handle->bytes, handle->len_bytes);
    int fd = open_by_handle_at(backing->fd, &raw.head, flags);
    return fd < 0 ? -errno : fd;
}

/* XFS wants the true generation, and tells it: XFS_IOC_FSBULKSTAT_SINGLE, see ioctl_xfs_fsbulkstat(2). */
struct xfs_time {
    long sec;
    int32_t nsec;
};

struct xfs_bulk_stat {
    uint64_t ino;
    uint16_t mode, nlink;
    uint32_t uid, gid, rdev;
    int32_t blksize;
    int64_t size;
    struct xfs_time atime, mtime, ctime;
    int64_t blocks;
    uint32_t xflags;
    int32_t extsize, extents;
    uint32_t gen;
    uint16_t projid_lo, forkoff, projid_hi, sick, checked;
    unsigned char pad[2];
    uint32_t cowextsize, dmevmask;
    uint16_t dmstate, aextents;
};

struct xfs_bulk_request {
    uint64_t *inode;
    int32_t count;
    void *buffer;
    int32_t *out_count;
};

static int xfs_generation(const struct backing *backing, uint64_t inode, uint32_t *out)
{
    struct xfs_bulk_stat stat = {0};
    int32_t count = 0;
    struct xfs_bulk_request request = {.inode = &inode, .count = 1, .buffer = &stat, .out_count = &count};
    if (ioctl(backing->fd, _IOWR('X', 102, struct xfs_bulk_request), &request) < 0 || stat.ino != inode)
        return -ESTALE;
    *out = stat.gen;
    return 0;
}

int backing_open_inode(const struct backing *backing, uint64_t inode)
{
    struct handle handle = backing->handle;
    uint32_t low = (uint32_t)inode, generation = 0;
    if (!backing->by_handle)
        return -ESTALE;
    if (handle.type == HANDLE_INO32_GEN && handle.len_bytes == HANDLE_INO32_BYTES) {
        if (inode > UINT32_MAX)
            return -ESTALE;
        /* ext4 takes generation 0 for any. */
        memcpy(handle.bytes, &low, sizeof(low));
        memcpy(handle.bytes + 4, &generation, sizeof(generation));
    } else if (handle.type == HANDLE_XFS_INO64_GEN && handle.len_bytes == HANDLE_XFS_BYTES) {
        int r = xfs_generation(backing, inode, &generation);
        if (r < 0)
            return r;
        memcpy(handle.bytes, &inode, sizeof(inode));
        memcpy(handle.bytes + 8, &generation, sizeof(generation));
    } else if (handle.type == HANDLE_BTRFS && handle.len_bytes == HANDLE_BTRFS_BYTES) {
        /* The subvolume stays that of the snapshots; Btrfs, too, takes generation 0 for any. */
        memcpy(handle.bytes, &inode, sizeof(inode));
        memcpy(handle.bytes + 16, &generation, sizeof(generation));
    } else {
        return -ESTALE;
    }
    OWNED_FD fd = backing_open_handle(backing, &handle, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return -ESTALE;
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_ino != inode || st.st_dev != backing->dev)
        return -ESTALE;
    return steal_fd(&fd);
}
