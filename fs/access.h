/*
 * Who may do what with what is made up: owner, mode and ACL, as the engine keeps them; and what this process
 * must ask on behalf of a caller because the kernel cannot: whether he may read what he loads.
 */
#ifndef FS_ACCESS_H
#define FS_ACCESS_H

#include "acl.h"
#include "fs.h"

/* The ACL of a node that is made up; count 0: none. 0 or -errno. */
int access_acl(struct fs *fs, const struct node_id *id, struct acl *out) MUST_CHECK;
/* setfacl by that caller, who owns the node or is root. -EPERM: it does not change. */
int access_set_acl(struct fs *fs, const struct node_id *id, const struct caller *caller,
                   struct acl *acl) MUST_CHECK;

/* Has the caller read and search on /snapshots/<name>, and search on the way to it? 0, -EACCES, -ENOENT. */
int access_source(struct fs *fs, const struct caller *caller, const char *name) MUST_CHECK;
/* The same of /running/<name>@<n>. */
int access_running(struct fs *fs, const struct caller *caller, const char *name) MUST_CHECK;

#endif
