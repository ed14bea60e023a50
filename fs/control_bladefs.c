/* .bladefs of a snapshot: its attributes, which are xattrs of its top directory. */
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

#include "acl.h"
#include "control.h"
#include "polls.h"
#include "snap.h"
#include "value.h"

#define EXEC_XATTR "user.bladefs.exec"

/* The top directory of that number; -ESTALE when it is none (any more). */
static int top_held(struct fs *fs, uint64_t inode, struct held *out)
{
    OWNED_HELD struct held held = {.fs = fs};
    int r = locate(fs, inode, &held.node);
    if (r == 0) {
        held.fd = node_fd(fs->nodes, held.node);
        r = held.fd < 0 ? held.fd : 0;
    }
    if (r < 0)
        return r;
    if (!held_is_top(&held))
        return -ESTALE;
    *out = held;
    held.node = NULL;
    return 0;
}

int top_stat(struct fs *fs, uint64_t inode, struct stat *out)
{
    OWNED_HELD struct held held = {0};
    int r = top_held(fs, inode, &held);
    if (r == 0 && fstatat(held.fd, "", out, AT_EMPTY_PATH) < 0)
        r = -errno;
    return r;
}

int top_acl(struct fs *fs, uint64_t inode, struct acl *out)
{
    OWNED_HELD struct held held = {0};
    int r = top_held(fs, inode, &held);
    return r < 0 ? r : snap_acl(held.fd, out);
}

static int64_t ns_of(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int show_exec(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns)
{
    OWNED_HELD struct held held = {0};
    char path[PROC_PATH_BYTES];
    char value[VALUE_MAX_BYTES + 1];
    struct stat st;
    int r = top_held(fs, owner, &held);
    if (r < 0)
        return r;
    proc_path(path, held.fd);
    ssize_t n = getxattr(path, EXEC_XATTR, value, VALUE_MAX_BYTES);
    if (n < 0 && errno != ENODATA && errno != EOPNOTSUPP)
        return -errno;
    if (n > 0) {
        buf_put(out, value, (size_t)n);
        buf_put_u8(out, '\n');
    }
    if (changed_ns && fstatat(held.fd, "", &st, AT_EMPTY_PATH) == 0)
        *changed_ns = ns_of(st.st_ctim);
    return out->error;
}

int store_exec(const struct control_write *write)
{
    OWNED_HELD struct held held = {0};
    char path[PROC_PATH_BYTES];
    int r = value_quotes_end(write->value, write->value_bytes) ? 0 : -EINVAL;
    if (r == 0)
        r = top_held(write->fs, write->owner, &held);
    if (r == 0)
        r = change_begin(held.node->top, held.node->inode, 0, 0, 0);
    if (r < 0)
        return r;
    proc_path(path, held.fd);
    if (write->value_bytes > 0)
        r = setxattr(path, EXEC_XATTR, write->value, write->value_bytes, 0) < 0 ? -errno : 0;
    else if (removexattr(path, EXEC_XATTR) < 0 && errno != ENODATA)
        r = -errno;
    change_end(held.node->top);
    /* The kernel keeps the attributes of the top directory, and its ctime is another now. */
    (void)fuse_lowlevel_notify_inval_inode(write->fs->session, write->owner, -1, 0);
    if (r == 0)
        polls_wake(write->fs->polls, ENGINE_STORE, 0);
    return r;
}

int show_stats(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns)
{
    OWNED_HELD struct held held = {0};
    int r = top_held(fs, owner, &held);
    return r < 0 ? r : engine_source_stats(held.node->top->source, out, changed_ns);
}
