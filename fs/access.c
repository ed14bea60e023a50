#include "access.h"

#include <fcntl.h>
#include <unistd.h>

#include "snap.h"
#include "trees.h"
#include "virtual.h"

static int verdict(const struct caller *caller, const struct stat *st, const struct acl *acl, int wanted)
{
    return acl_allows(caller, st->st_uid, st->st_gid, st->st_mode, acl, wanted) ? 0 : -EACCES;
}

static int backing_allows(const struct caller *caller, int fd, int wanted)
{
    struct stat st;
    struct acl acl;
    if (fstat(fd, &st) < 0)
        return -errno;
    int r = snap_acl(fd, &acl);
    return r < 0 ? r : verdict(caller, &st, &acl, wanted);
}

int access_source(struct fs *fs, const struct caller *caller, const char *name)
{
    if (caller->uid == 0)
        return 0;
    int r = backing_allows(caller, fs->backing.fd, X_OK);
    if (r < 0)
        return r;
    OWNED_FD fd = openat(fs->backing.fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : backing_allows(caller, fd, R_OK | X_OK);
}

static int tree_allows(const struct caller *caller, struct engine_tree *tree)
{
    struct stat st;
    struct acl acl;
    const void *value = NULL;
    size_t len_bytes = 0;
    int r = engine_tree_stat(tree, 0, &st);
    if (r == 0)
        r = engine_tree_getxattr(tree, 0, ACL_ACCESS_XATTR, &value, &len_bytes);
    if (r == -ENODATA)
        r = 0;
    if (r == 0)
        r = acl_parse(value, len_bytes, &acl);
    return r < 0 ? r : verdict(caller, &st, &acl, R_OK | X_OK);
}

int access_running(struct fs *fs, const struct caller *caller, const char *name)
{
    const struct node_id runnings = {.kind = NODE_RUNNINGS};
    struct open_tree *open = NULL;
    struct stat st;
    struct acl acl;
    uint32_t id = 0;
    if (caller->uid == 0)
        return 0;
    int r = virtual_stat(fs, &runnings, &st);
    if (r == 0)
        r = access_acl(fs, &runnings, &acl);
    if (r == 0)
        r = verdict(caller, &st, &acl, X_OK);
    if (r == 0)
        r = engine_running_find(fs->engine, name, &id);
    if (r == 0)
        r = tree_get(fs->trees, id, &open);
    if (r < 0 || !open)
        return r == -ESTALE ? -ENOENT : r; /* it went just now */
    r = tree_allows(caller, open->tree);
    tree_put(fs->trees, open);
    return r;
}
