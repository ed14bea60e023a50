/* The attributes of a file: what statx gives, and all xattrs. */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "capture_parts.h"

#define OVERLAY_PREFIX "trusted.overlay."

int capture_fault(const struct blob_capture *c, int code, uint32_t dir, const char *name, const char *what,
                  struct err *err)
{
    char path[CAPTURE_PATH_BYTES];
    capture_path(c, dir, name, path);
    return err_sys(err, code, "%s cannot be captured, %s", path, what);
}

static int refuse(const struct blob_capture *c, uint32_t dir, const char *name, const char *why,
                  struct err *err)
{
    char path[CAPTURE_PATH_BYTES];
    capture_path(c, dir, name, path);
    return err_set(err, EINVAL, "%s has %s, which no overlay can show: remove it.", path, why);
}

/* With an O_PATH fd only the way through /proc leads to the xattrs; it ends at the inode, symlinks too. */
static ssize_t list_names(struct blob_capture *c, int fd, const char *proc_path)
{
    return proc_path ? listxattr(proc_path, c->xattr_names, XATTR_LIST_MAX)
                     : flistxattr(fd, c->xattr_names, XATTR_LIST_MAX);
}

/* Appends the value to xattr_values; its length, or -errno. */
static ssize_t get_value(struct blob_capture *c, int fd, const char *proc_path, const char *name)
{
    uint8_t *room = buf_room(&c->xattr_values, XATTR_SIZE_MAX);
    if (!room)
        return -ENOMEM;
    ssize_t len = proc_path ? getxattr(proc_path, name, room, XATTR_SIZE_MAX)
                            : fgetxattr(fd, name, room, XATTR_SIZE_MAX);
    if (len < 0)
        return -errno;
    buf_grew(&c->xattr_values, (size_t)len);
    return len;
}

/* The values of `bytes` of names into xattr_list; their count, or -errno. */
static int64_t gather(struct blob_capture *c, int fd, const char *proc_path, size_t bytes)
{
    uint32_t count = 0;
    c->xattr_values.len_bytes = 0;
    for (size_t at = 0; at < bytes; at += strlen(c->xattr_names + at) + 1) {
        const char *name = c->xattr_names + at;
        ssize_t len = get_value(c, fd, proc_path, name);
        if (len == -ENODATA)
            continue; /* removed meanwhile */
        if (len < 0)
            return len;
        struct blob_xattr *list = array_room(c->xattr_list, count, &c->cap_xattrs, sizeof(*list));
        if (!list)
            return -ENOMEM;
        c->xattr_list = list;
        list[count++] = (struct blob_xattr){
            .name = name, .name_bytes = (uint16_t)strlen(name), .value_bytes = (uint32_t)len};
    }
    /* The values lie one behind the other; now they stay where they are. */
    const uint8_t *value = c->xattr_values.bytes;
    for (uint32_t i = 0; i < count; i++) {
        c->xattr_list[i].value = value;
        value += c->xattr_list[i].value_bytes;
    }
    return count;
}

static int64_t read_xattrs(struct blob_capture *c, int fd, bool is_path, uint32_t dir, const char *name,
                           struct err *err)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    const char *proc_path = is_path ? path : NULL;
    ssize_t bytes = list_names(c, fd, proc_path);
    if (bytes == 0 || (bytes < 0 && (errno == ENOTSUP || errno == ENOSYS)))
        return 0;
    if (bytes < 0)
        return capture_fault(c, errno, dir, name, "listing its xattrs failed", err);
    for (size_t at = 0; at < (size_t)bytes; at += strlen(c->xattr_names + at) + 1)
        if (strncmp(c->xattr_names + at, OVERLAY_PREFIX, strlen(OVERLAY_PREFIX)) == 0)
            return refuse(c, dir, name, "a trusted.overlay xattr", err);
    int64_t count = gather(c, fd, proc_path, (size_t)bytes);
    if (count == -ENOMEM)
        return capture_no_memory(err);
    if (count < 0)
        return capture_fault(c, (int)-count, dir, name, "reading its xattrs failed", err);
    int64_t set = image_sets_add(&c->sets, c->xattr_list, (size_t)count);
    return set < 0 ? capture_fault(c, (int)-set, dir, name, "its xattrs cannot be kept", err) : set;
}

int capture_attributes(struct blob_capture *c, uint32_t node, int fd, bool is_path, const struct statx *st,
                       uint32_t dir, const char *name, struct err *err)
{
    if (S_ISCHR(st->stx_mode) && st->stx_rdev_major == 0 && st->stx_rdev_minor == 0)
        return refuse(c, dir, name, "the character device number 0:0", err);
    int64_t set = read_xattrs(c, fd, is_path, dir, name, err);
    if (set < 0)
        return (int)set;
    struct capture_node *n = &c->nodes[node];
    n->mode = st->stx_mode;
    n->uid = st->stx_uid;
    n->gid = st->stx_gid;
    n->mtime_s = st->stx_mtime.tv_sec;
    n->mtime_ns = st->stx_mtime.tv_nsec;
    n->ctime_ns = (int64_t)((uint64_t)st->stx_ctime.tv_sec * 1000000000u + st->stx_ctime.tv_nsec);
    n->set = (uint32_t)set;
    n->size_bytes = 0;
    if (S_ISREG(n->mode) || S_ISLNK(n->mode))
        n->size_bytes = st->stx_size;
    else if (S_ISCHR(n->mode) || S_ISBLK(n->mode))
        n->size_bytes = (uint64_t)st->stx_rdev_major << 32 | st->stx_rdev_minor;
    return 0;
}
