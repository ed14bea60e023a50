/*
 * POSIX ACLs, in the form that the xattr system.posix_acl_access has (linux/posix_acl_xattr.h): a version
 * word, then an entry a tag, a permission and an id, all little-endian. Pure.
 *
 * As on other file systems an ACL and the mode beside it are one: the mode's bits of the owner and of others
 * are the ACL's, and the group's are the ACL's mask.
 */
#ifndef FS_ACL_H
#define FS_ACL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "caller.h"

#define ACL_ACCESS_XATTR "system.posix_acl_access"
#define ACL_XATTR_BEGIN "system.posix_acl_"
#define ACL_MAX_BYTES 4096 /* the kernel takes a page from a FUSE file system */
#define ACL_ENTRIES_MAX 511

struct acl_entry {
    uint16_t tag, perm;
    uint32_t id;
};

struct acl {
    size_t count; /* 0: there is none, the mode is all */
    struct acl_entry at[ACL_ENTRIES_MAX];
};

/*
 * Reads one and checks it: the entries in their order, no id twice, a mask where one is needed. No bytes at
 * all are no ACL. -EINVAL; -EOPNOTSUPP: another version; -E2BIG.
 */
int acl_parse(const void *bytes, size_t len_bytes, struct acl *out) MUST_CHECK;
/* Its bytes; returns how many. */
size_t acl_write(const struct acl *acl, uint8_t out[ACL_MAX_BYTES]);

/* The mode of a file that gets this ACL; the bits beyond 0777 stay. An ACL that says no more than the mode
 * does is gone (count 0) then. */
mode_t acl_to_mode(struct acl *acl, mode_t mode);
/* chmod of a file that has this ACL. */
void acl_set_mode(struct acl *acl, mode_t mode);
/* Without those permissions that are not in `mask`, for everybody. */
void acl_limit(struct acl *acl, unsigned mask);

/* May the caller have all of `wanted` (R_OK, W_OK, X_OK)? */
bool acl_allows(const struct caller *caller, uid_t uid, gid_t gid, mode_t mode, const struct acl *acl,
                int wanted);

#endif
