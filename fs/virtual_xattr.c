/* The xattrs of what is made up: its access ACL, and no other. */
#include <string.h>

#include "access.h"
#include "control.h"
#include "virtual.h"

/* What has no ACL of its own answers -EOPNOTSUPP; a key is as it is. */
static int set_acl(fuse_req_t req, fuse_ino_t ino, struct acl *acl)
{
    OWNED_CALLER struct caller caller = {0};
    struct node_id id = node_id_decode(ino);
    const struct control *row = id.kind == NODE_CONTROL ? control_of_row(id.row) : NULL;
    int r = caller_of(req, &caller);
    if (r == 0)
        r = access_set_acl(fs_of(req), &id, &caller, acl);
    return r == -EPERM && !(row && row->place == PLACE_SLOT) ? -EOPNOTSUPP : r;
}

void virtual_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                      int flags)
{
    struct acl acl;
    (void)flags; /* as on other file systems */
    int r = strcmp(name, ACL_ACCESS_XATTR) == 0 ? acl_parse(value, size, &acl) : -EOPNOTSUPP;
    if (r == 0)
        r = set_acl(req, ino, &acl);
    reply_result(req, r);
}

void virtual_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct acl none = {.count = 0};
    reply_result(req, strcmp(name, ACL_ACCESS_XATTR) == 0 ? set_acl(req, ino, &none) : -EOPNOTSUPP);
}

/* Never -EOPNOTSUPP: the kernel asks for the ACL at each permission check, and takes no other no than
 * -ENODATA. */
void virtual_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct node_id id = node_id_decode(ino);
    struct acl acl = {.count = 0};
    uint8_t bytes[ACL_MAX_BYTES];
    int r = strcmp(name, ACL_ACCESS_XATTR) == 0 ? access_acl(fs_of(req), &id, &acl) : 0;
    size_t len_bytes = acl_write(&acl, bytes);
    if (r == 0 && len_bytes == 0)
        r = -ENODATA;
    if (r == 0 && size != 0 && size < len_bytes)
        r = -ERANGE;
    if (r < 0)
        reply_result(req, r);
    else if (size == 0)
        fuse_reply_xattr(req, len_bytes);
    else
        fuse_reply_buf(req, (const char *)bytes, len_bytes);
}

void virtual_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    static const char names[] = ACL_ACCESS_XATTR; /* with its NUL */
    struct node_id id = node_id_decode(ino);
    struct acl acl;
    int r = access_acl(fs_of(req), &id, &acl);
    size_t len_bytes = r == 0 && acl.count ? sizeof(names) : 0;
    if (r == 0 && size != 0 && size < len_bytes)
        r = -ERANGE;
    if (r < 0)
        reply_result(req, r);
    else if (size == 0)
        fuse_reply_xattr(req, len_bytes);
    else
        fuse_reply_buf(req, names, len_bytes);
}
