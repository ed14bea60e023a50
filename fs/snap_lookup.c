#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "snap.h"
#include "virtual.h"

int held_get(struct fs *fs, uint64_t inode, struct held *out)
{
    struct node *node = node_get(fs->nodes, inode);
    if (!node)
        return -ESTALE;
    int fd = node_fd(fs->nodes, node);
    if (fd < 0) {
        node_put(fs->nodes, node);
        return fd;
    }
    *out = (struct held){.fs = fs, .node = node, .fd = fd};
    return 0;
}

void held_drop(struct held *held)
{
    if (held->node)
        node_put(held->fs->nodes, held->node);
    held->node = NULL;
}

bool held_is_snapshots(const struct held *held)
{
    return held->node == held->fs->snapshots;
}

bool held_is_top(const struct held *held)
{
    return held->node->top && held->node->top->inode == held->node->inode;
}

bool snap_is_without_blocks(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_size > 0 && st->st_blocks == 0;
}

double snap_keep_seconds(const struct node *node, struct stat *st)
{
    if (node->caches > 0 && snap_is_without_blocks(st)) {
        st->st_blocks = 1;
        return 0;
    }
    return node->stores > 0 ? 0 : KEEP_SECONDS;
}

void proc_path(char out[PROC_PATH_BYTES], int fd)
{
    snprintf(out, PROC_PATH_BYTES, "/proc/self/fd/%d", fd);
}

int change_begin(struct top *top, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    const uint64_t all[] = {a, b, c, d};
    uint64_t some[4];
    size_t count = 0;
    if (!top)
        return 0;
    for (size_t i = 0; i < 4; i++)
        if (all[i])
            some[count++] = all[i];
    return engine_change_begin(top->source, some, count);
}

void change_end(struct top *top)
{
    if (top)
        engine_change_end(top->source);
}

int snap_name_allowed(const struct held *dir, const char *name, bool directory)
{
    if (held_is_snapshots(dir)) {
        if (!directory)
            return -EPERM;
        return name_is_valid(name, strlen(name)) ? 0 : -EINVAL;
    }
    if (held_is_top(dir) && strcmp(name, BLADEFS_DIR) == 0)
        return -EEXIST;
    return 0;
}

static void fill_entry(struct held *held, const struct stat *st, struct fuse_entry_param *out)
{
    *out = (struct fuse_entry_param){.ino = held->node->inode,
                                     .generation = held->node->generation,
                                     .attr = *st,
                                     .entry_timeout = KEEP_SECONDS};
    out->attr_timeout = snap_keep_seconds(held->node, &out->attr);
    node_looked_up(held->fs->nodes, held->node);
}

static int entry_of(struct held *held, struct fuse_entry_param *out)
{
    struct stat st;
    if (fstatat(held->fd, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    fill_entry(held, &st, out);
    return 0;
}

int snap_found(struct fs *fs, int fd, struct top *top, struct fuse_entry_param *out)
{
    OWNED_FD mine = fd;
    struct stat st;
    if (fstat(mine, &st) < 0)
        return -errno;
    /* Something is mounted inside the store: its inode numbers are not ours to give. */
    if (st.st_dev != fs->backing.dev)
        return -EXDEV;
    if (st.st_ino > NODE_SNAPSHOT_MAX || st.st_ino == NODE_TOP_ID)
        return -EOVERFLOW;
    OWNED_HELD struct held held = {.fs = fs};
    int r = node_learn(fs->nodes, steal_fd(&mine), st.st_ino, top, &held.node);
    if (r == 0)
        fill_entry(&held, &st, out);
    return r;
}

/* An entry of /snapshots: a directory with a good name, and its snapshot. */
static int find_top(struct held *dir, const char *name, struct fuse_entry_param *out)
{
    struct stat st;
    if (!name_is_valid(name, strlen(name)))
        return -ENOENT;
    OWNED_FD fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return -ENOENT;
    OWNED_TOP struct top *top = top_get(dir->fs->tops, name, st.st_ino);
    return top ? snap_found(dir->fs, steal_fd(&fd), top, out) : -ENOMEM;
}

int snap_find(struct held *dir, const char *name, struct fuse_entry_param *out)
{
    if (held_is_snapshots(dir))
        return find_top(dir, name, out);
    int fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : snap_found(dir->fs, fd, dir->node->top, out);
}

int snap_find_known(struct held *dir, const char *name, uint64_t inode, struct fuse_entry_param *out)
{
    struct stat st;
    OWNED_HELD struct held held = {.fs = dir->fs};
    if (held_is_snapshots(dir) || !node_is_known(dir->fs->nodes, inode))
        return snap_find(dir, name, out);
    if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (st.st_ino == inode && st.st_dev == dir->fs->backing.dev)
        held.node = node_named(dir->fs->nodes, dir->fd, name, inode);
    if (!held.node)
        return snap_find(dir, name, out);
    fill_entry(&held, &st, out);
    return 0;
}

void snap_reply_entry(fuse_req_t req, const struct fuse_entry_param *entry)
{
    struct fs *fs = fs_of(req);
    uint64_t inode = entry->ino;
    if (fuse_reply_entry(req, entry) < 0 && inode)
        node_forget(fs->nodes, inode, 1);
}

/* ".." of what lies directly below /snapshots, and of /snapshots itself, are nodes that were always there. */
static int find_parent(struct held *dir, struct fuse_entry_param *out)
{
    if (held_is_snapshots(dir))
        return virtual_entry(dir->fs, NODE_TOP_ID, out);
    if (held_is_top(dir)) {
        struct held up = {.fs = dir->fs, .node = dir->fs->snapshots, .fd = dir->fs->backing.fd};
        return entry_of(&up, out);
    }
    int fd = openat(dir->fd, "..", O_PATH | O_CLOEXEC);
    return fd < 0 ? -errno : snap_found(dir->fs, fd, dir->node->top, out);
}

void snap_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    OWNED_HELD struct held dir = {.fs = fs_of(req)};
    struct fuse_entry_param entry = {0};
    int r = locate(dir.fs, parent, &dir.node);
    if (r == 0) {
        dir.fd = node_fd(dir.fs->nodes, dir.node);
        r = dir.fd < 0 ? dir.fd : 0;
    }
    if (r < 0) {
        reply_result(req, r);
        return;
    }
    if (strcmp(name, ".") == 0)
        r = entry_of(&dir, &entry);
    else if (strcmp(name, "..") == 0)
        r = find_parent(&dir, &entry);
    else if (held_is_top(&dir) && strcmp(name, BLADEFS_DIR) == 0)
        r = virtual_entry(dir.fs, node_id_bladefs(dir.node->inode), &entry);
    else
        r = snap_find(&dir, name, &entry);
    if (r == -ENOENT && !held_is_snapshots(&dir)) { /* the kernel may remember that it is not there */
        entry = (struct fuse_entry_param){.entry_timeout = KEEP_SECONDS};
        r = 0;
    }
    if (r < 0)
        reply_result(req, r);
    else if (node_id_decode(entry.ino).kind == NODE_SNAPSHOT)
        snap_reply_entry(req, &entry);
    else
        fuse_reply_entry(req, &entry);
}

void snap_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    node_forget(fs_of(req)->nodes, ino, count);
    fuse_reply_none(req);
}
