/*
 * Acting as the process that made a request: the backing file system then gives a new file its owner, applies
 * umask and default ACL, and clears set-id bits as it would for that process itself.
 *
 * setfsuid(2), setfsgid(2) and setgroups(2) are called as system calls, since glibc's setgroups changes all
 * threads and this changes the calling thread alone. The umask belongs to what CLONE_FS shares: each worker
 * takes its own with unshare(2) the first time.
 */
#ifndef FS_CALLER_H
#define FS_CALLER_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "fuse_api.h"

#define CALLER_GROUPS_MAX 65536 /* NGROUPS_MAX */

struct caller {
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* owned */
    int group_count;
};

/* Who made the request; the groups are looked up in /proc for others than root. 0 or -errno. */
int caller_of(fuse_req_t req, struct caller *out) MUST_CHECK;
void caller_free(struct caller *caller);
#define OWNED_CALLER __attribute__((cleanup(caller_free)))

bool caller_in_group(const struct caller *caller, gid_t gid);
/* What the classic mode bits allow: may the caller have all of `wanted` (R_OK, W_OK, X_OK)? Pure. */
bool caller_mode_allows(const struct caller *caller, uid_t uid, gid_t gid, mode_t mode, int wanted);

/*
 * From `begin` to `end` the calling thread acts as the caller, with `umask_bits` as its umask. A program that
 * does not run as root keeps its own identity: everything is its user's then. 0 or -errno; on an error
 * nothing has changed and `end` is not called.
 */
struct acting {
    bool as_other;
};
int acting_begin(fuse_req_t req, mode_t umask_bits, struct acting *acting) MUST_CHECK;
void acting_end(struct acting *acting);

#endif
