#include <string.h>
#include <sys/xattr.h>

#include "acl.h"
#include "caller.h"
#include "snap.h"

enum { XATTR_MAX_BYTES = 65536 };

/* ACLs are set as the caller: who is not in the file's group loses the set-group-id bit then. */
static bool is_acl(const char *name)
{
    return strncmp(name, ACL_XATTR_BEGIN, strlen(ACL_XATTR_BEGIN)) == 0;
}

int snap_acl(int fd, struct acl *out)
{
    char path[PROC_PATH_BYTES];
    uint8_t bytes[ACL_MAX_BYTES];
    proc_path(path, fd);
    ssize_t n = getxattr(path, ACL_ACCESS_XATTR, bytes, sizeof(bytes));
    out->count = 0;
    if (n < 0)
        return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -errno;
    return acl_parse(bytes, (size_t)n, out);
}

void snap_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                   int flags)
{
    OWNED_HELD struct held held = {0};
    char path[PROC_PATH_BYTES];
    int r = held_get(fs_of(req), ino, &held);
    if (r == 0)
        r = change_begin(held.node->top, ino, 0, 0, 0);
    if (r == 0) {
        struct acting acting = {0};
        bool as_caller = is_acl(name);
        proc_path(path, held.fd);
        if (as_caller)
            r = acting_begin(req, 0, &acting);
        if (r == 0) {
            r = setxattr(path, name, value, size, flags) < 0 ? -errno : 0;
            if (as_caller)
                acting_end(&acting);
        }
        change_end(held.node->top);
    }
    reply_result(req, r);
}

void snap_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    OWNED_HELD struct held held = {0};
    char path[PROC_PATH_BYTES];
    int r = held_get(fs_of(req), ino, &held);
    if (r == 0)
        r = change_begin(held.node->top, ino, 0, 0, 0);
    if (r == 0) {
        proc_path(path, held.fd);
        r = removexattr(path, name) < 0 ? -errno : 0;
        change_end(held.node->top);
    }
    reply_result(req, r);
}

/* A value (`name`) or the list of names (NULL): its size when `size` is 0, else its bytes. */
static void reply_xattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    OWNED_HELD struct held held = {0};
    char path[PROC_PATH_BYTES];
    int r = held_get(fs_of(req), ino, &held);
    if (r < 0) {
        reply_result(req, r);
        return;
    }
    proc_path(path, held.fd);
    size_t room = size < XATTR_MAX_BYTES ? size : XATTR_MAX_BYTES;
    OWNED char *bytes = room ? malloc(room) : NULL;
    if (room && !bytes) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    ssize_t n = name ? getxattr(path, name, bytes, room) : listxattr(path, bytes, room);
    if (n < 0)
        /* Of a file system without ACLs: the kernel asks at each permission check, and takes no other no. */
        fuse_reply_err(req, name && errno == EOPNOTSUPP && is_acl(name) ? ENODATA : errno);
    else if (size == 0)
        fuse_reply_xattr(req, (size_t)n);
    else
        fuse_reply_buf(req, bytes, (size_t)n);
}

void snap_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    reply_xattr(req, ino, name, size);
}

void snap_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    reply_xattr(req, ino, NULL, size);
}
