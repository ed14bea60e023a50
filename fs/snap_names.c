/* Names that go or change: unlink, rmdir, rename, of files and of whole snapshots. */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>

#include "polls.h"
#include "snap.h"

/* The inode of a name, 0 when there is none. */
static uint64_t inode_of(const struct held *dir, const char *name, struct stat *st)
{
    return fstatat(dir->fd, name, st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : st->st_ino;
}

/* What goes with this name may stay in use by the kernel: then its descriptor must stay open here. */
static void will_go(const struct held *dir, uint64_t inode, const struct stat *st)
{
    if (inode && (S_ISDIR(st->st_mode) || st->st_nlink == 1))
        node_keep_open(dir->fs->nodes, inode);
}

static bool is_bladefs(const struct held *dir, const char *name)
{
    return held_is_top(dir) && strcmp(name, BLADEFS_DIR) == 0;
}

void snap_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    OWNED_HELD struct held dir = {0};
    struct stat st;
    int r = held_get(fs_of(req), parent, &dir);
    if (r == 0 && is_bladefs(&dir, name))
        r = -EISDIR;
    if (r == 0) {
        uint64_t inode = inode_of(&dir, name, &st);
        will_go(&dir, inode, &st);
        r = change_begin(dir.node->top, parent, inode, 0, 0);
    }
    if (r == 0) {
        r = unlinkat(dir.fd, name, 0) < 0 ? -errno : 0;
        change_end(dir.node->top);
    }
    reply_result(req, r);
}

static int remove_dir(const struct held *dir, const char *name, uint64_t inode)
{
    int r = change_begin(dir->node->top, dir->node->inode, inode, 0, 0);
    if (r < 0)
        return r;
    r = unlinkat(dir->fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
    change_end(dir->node->top);
    return r;
}

static int remove_snapshot(const struct held *dir, const char *name, uint64_t inode)
{
    OWNED_TOP struct top *top = top_get(dir->fs->tops, name, inode);
    if (!top)
        return -ENOMEM;
    int r = change_begin(top, inode, 0, 0, 0);
    if (r < 0)
        return r;
    r = unlinkat(dir->fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
    change_end(top);
    if (r == 0) {
        top_removed(top);
        polls_wake(dir->fs->polls, ENGINE_STORE, 0);
    }
    return r;
}

void snap_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    OWNED_HELD struct held dir = {0};
    struct stat st;
    int r = held_get(fs_of(req), parent, &dir);
    if (r == 0 && is_bladefs(&dir, name))
        r = -EPERM;
    if (r == 0) {
        uint64_t inode = inode_of(&dir, name, &st);
        will_go(&dir, inode, &st);
        if (held_is_snapshots(&dir) && inode)
            r = remove_snapshot(&dir, name, inode);
        else
            r = remove_dir(&dir, name, inode);
    }
    reply_result(req, r);
}

static int rename_at(const struct held *from, const char *name, const struct held *to, const char *newname,
                     unsigned flags)
{
    return renameat2(from->fd, name, to->fd, newname, flags) < 0 ? -errno : 0;
}

/* A whole snapshot gets another name; an empty one of that name goes. */
static int rename_snapshot(const struct held *dir, const char *name, const char *newname, unsigned flags)
{
    struct stat st, old;
    if (flags & ~(unsigned)RENAME_NOREPLACE)
        return -EINVAL;
    if (!name_is_valid(newname, strlen(newname)))
        return -EINVAL;
    uint64_t inode = inode_of(dir, name, &st), replaced = inode_of(dir, newname, &old);
    if (!inode)
        return -ENOENT;
    will_go(dir, replaced, &old);
    OWNED_TOP struct top *top = top_get(dir->fs->tops, name, inode);
    OWNED_TOP struct top *gone =
        replaced && replaced != inode ? top_get(dir->fs->tops, newname, replaced) : NULL;
    if (!top || (replaced && replaced != inode && !gone))
        return -ENOMEM;
    int r = change_begin(top, inode, 0, 0, 0);
    if (r < 0)
        return r;
    r = rename_at(dir, name, dir, newname, flags);
    change_end(top);
    if (r < 0)
        return r;
    if (gone)
        top_removed(gone);
    return engine_source_renamed(top->source, newname);
}

static int rename_inside(const struct held *from, const char *name, const struct held *to,
                         const char *newname, unsigned flags)
{
    struct stat st, old;
    if (is_bladefs(to, newname))
        return -EEXIST;
    if (is_bladefs(from, name))
        return -EPERM;
    uint64_t inode = inode_of(from, name, &st), replaced = inode_of(to, newname, &old);
    if (!(flags & RENAME_EXCHANGE))
        will_go(to, replaced, &old);
    struct top *top = from->node->top;
    int r = change_begin(top, from->node->inode, to->node->inode, inode, replaced);
    if (r < 0)
        return r;
    r = rename_at(from, name, to, newname, flags);
    change_end(top);
    return r;
}

void snap_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
                 const char *newname, unsigned flags)
{
    OWNED_HELD struct held from = {0};
    OWNED_HELD struct held to = {0};
    int r = held_get(fs_of(req), parent, &from);
    if (r == 0)
        r = held_get(fs_of(req), newparent, &to);
    if (r == 0 && from.node->top != to.node->top)
        r = -EXDEV; /* between snapshots mv copies */
    if (r == 0)
        r = held_is_snapshots(&from) ? rename_snapshot(&from, name, newname, flags)
                                     : rename_inside(&from, name, &to, newname, flags);
    reply_result(req, r);
}
