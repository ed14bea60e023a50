#include "caller.h"

#include <sched.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>

static int groups_of(fuse_req_t req, struct caller *out)
{
    int room = 32;
    for (;;) {
        OWNED gid_t *groups = malloc((size_t)room * sizeof(*groups));
        if (!groups)
            return -ENOMEM;
        int count = fuse_req_getgroups(req, room, groups);
        if (count < 0) /* a process that this /proc does not show: it has its first group only */
            return 0;
        if (count <= room) {
            out->groups = STEAL(groups);
            out->group_count = count;
            return 0;
        }
        if (count > CALLER_GROUPS_MAX)
            return -EOVERFLOW;
        room = count;
    }
}

int caller_of(fuse_req_t req, struct caller *out)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct caller caller = {.uid = ctx->uid, .gid = ctx->gid};
    /* Root needs no group to be allowed something. */
    if (caller.uid != 0) {
        int r = groups_of(req, &caller);
        if (r < 0)
            return r;
    }
    *out = caller;
    return 0;
}

void caller_free(struct caller *caller)
{
    free(caller->groups);
    *caller = (struct caller){0};
}

bool caller_in_group(const struct caller *caller, gid_t gid)
{
    if (caller->gid == gid)
        return true;
    for (int i = 0; i < caller->group_count; i++)
        if (caller->groups[i] == gid)
            return true;
    return false;
}

bool caller_mode_allows(const struct caller *caller, uid_t uid, gid_t gid, mode_t mode, int wanted)
{
    if (caller->uid == 0)
        return true;
    unsigned bits = mode & 7;
    if (caller->uid == uid)
        bits = mode >> 6 & 7;
    else if (caller_in_group(caller, gid))
        bits = mode >> 3 & 7;
    return ((unsigned)wanted & ~bits) == 0;
}

static long set_groups(int count, const gid_t *groups)
{
#ifdef SYS_setgroups32
    return syscall(SYS_setgroups32, count, groups);
#else
    return syscall(SYS_setgroups, count, groups);
#endif
}

int acting_begin(fuse_req_t req, mode_t umask_bits, struct acting *acting)
{
    static __thread bool own_umask;
    if (!own_umask && unshare(CLONE_FS) < 0)
        return -errno;
    own_umask = true;
    acting->as_other = false;
    if (geteuid() == 0) {
        OWNED_CALLER struct caller caller = {0};
        int r = caller_of(req, &caller);
        if (r < 0)
            return r;
        if (caller.uid != 0 && set_groups(caller.group_count, caller.groups) < 0)
            return -errno;
        acting->as_other = caller.uid != 0 || caller.gid != 0;
        if (acting->as_other) {
            /* The group first: without root's user there is no right to change it. */
            setfsgid(caller.gid);
            setfsuid(caller.uid);
        }
    }
    umask(umask_bits);
    return 0;
}

void acting_end(struct acting *acting)
{
    umask(0);
    if (!acting->as_other)
        return;
    setfsuid(0);
    setfsgid(getegid());
    (void)set_groups(0, NULL);
}
