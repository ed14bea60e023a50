#include "virtual.h"

#include <stdio.h>
#include <string.h>

#include "control.h"
#include "running.h"
#include "unlisted.h"

#define NS_PER_S INT64_C(1000000000)

static struct timespec timespec_of(int64_t ns)
{
    return ns < 0 ? (struct timespec){0}
                  : (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

void virtual_times(struct stat *st, int64_t content_ns, int64_t access_ns)
{
    st->st_atim = st->st_mtim = timespec_of(content_ns);
    st->st_ctim = timespec_of(content_ns > access_ns ? content_ns : access_ns);
}

static void set_access(struct stat *st, const struct engine_attr *attr)
{
    st->st_uid = attr->uid;
    st->st_gid = attr->gid;
    st->st_mode = (st->st_mode & S_IFMT) | attr->mode;
}

/* A directory that is always there; `kept`: the name under which its owner and mode are kept, or NULL. */
static int stat_fixed(struct fs *fs, const char *kept, mode_t mode, size_t dirs, int64_t content_ns,
                      struct stat *out)
{
    struct engine_attr attr = {0};
    struct stat st = {.st_mode = S_IFDIR | mode, .st_uid = fs->uid, .st_gid = fs->gid};
    int r = kept ? engine_attr_get(fs->engine, 0, kept, &attr) : -ENOENT;
    if (r == 0)
        set_access(&st, &attr);
    else if (r != -ENOENT)
        return r;
    st.st_nlink = 2 + dirs;
    virtual_times(&st, content_ns, attr.changed_ns);
    *out = st;
    return 0;
}

static int stat_runnings(struct fs *fs, struct stat *out)
{
    int64_t newest_ns = 0; /* what came has its own time, the other is of what went */
    size_t count = engine_running_count(fs->engine, &newest_ns);
    int64_t changed_ns = newest_ns > fs->runnings_ns ? newest_ns : fs->runnings_ns;
    return stat_fixed(fs, "running", 0750, count, changed_ns, out);
}

static int stat_blades(struct fs *fs, struct stat *out)
{
    return stat_fixed(fs, "blades", 0755, engine_slot_count(fs->engine), fs->slots_ns, out);
}

static int stat_slot(struct fs *fs, uint32_t id, struct stat *out)
{
    struct engine_slot slot;
    struct stat st = {.st_mode = S_IFDIR, .st_nlink = 2};
    if (engine_slot_get(fs->engine, id, &slot) < 0)
        return -ESTALE;
    set_access(&st, &slot.attr);
    virtual_times(&st, slot.state_ns, slot.attr.changed_ns);
    *out = st;
    return 0;
}

static int stat_bladefs(struct fs *fs, uint64_t top_inode, struct stat *out)
{
    struct stat top, st = {.st_nlink = 2};
    int r = top_stat(fs, top_inode, &top);
    if (r < 0)
        return r;
    st.st_mode = S_IFDIR | (top.st_mode & 0777);
    st.st_uid = top.st_uid;
    st.st_gid = top.st_gid;
    st.st_atim = st.st_mtim = st.st_ctim = top.st_ctim;
    *out = st;
    return 0;
}

int link_target(struct fs *fs, const struct node_id *id, char *out, size_t room, int64_t *changed_ns)
{
    struct engine_slot slot;
    char name[NAME_MAX_BYTES + 1];
    uint64_t n;
    uint32_t unused;
    struct stat st;
    if (engine_slot_get(fs->engine, (uint32_t)id->owner, &slot) < 0)
        return -ENOENT;
    *changed_ns = slot.state_ns;
    switch ((enum slot_link)id->link) {
    case LINK_STATE:
        if (slot.state != (enum engine_state)id->state)
            return -ENOENT;
        snprintf(out, room, "../../blades/%s", slot.name);
        return 0;
    case LINK_IMAGE:
        if (!slot.image[0] || engine_running_find(fs->engine, slot.image, &unused) < 0)
            return -ENOENT;
        snprintf(out, room, "../../running/%s", slot.image);
        return 0;
    case LINK_SOURCE:
        if (!running_name_parse(slot.image, strlen(slot.image), name, &n) ||
            fstatat(fs->backing.fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return -ENOENT;
        snprintf(out, room, "../../snapshots/%s", name);
        return 0;
    case LINK_KINDS:
        break;
    }
    return -ENOENT;
}

static int stat_link(struct fs *fs, const struct node_id *id, struct stat *out)
{
    char target[128];
    int64_t changed_ns;
    struct stat st = {.st_mode = S_IFLNK | 0777, .st_nlink = 1, .st_uid = fs->uid, .st_gid = fs->gid};
    if (link_target(fs, id, target, sizeof(target), &changed_ns) < 0)
        return -ESTALE;
    st.st_size = (off_t)strlen(target);
    virtual_times(&st, changed_ns, 0);
    *out = st;
    return 0;
}

static int stat_any(struct fs *fs, const struct node_id *id, struct stat *out)
{
    switch (id->kind) {
    case NODE_TOP:
        return stat_fixed(fs, NULL, 0755, 5, fs->started_ns, out);
    case NODE_RUNNINGS:
        return stat_runnings(fs, out);
    case NODE_BLADES:
        return stat_blades(fs, out);
    case NODE_ANY:
        return stat_fixed(fs, "any", 0755, 0, fs->started_ns, out);
    case NODE_STATES:
        return stat_fixed(fs, NULL, 0755, ENGINE_STATES, fs->states_ns, out);
    case NODE_STATE:
        return id->state < ENGINE_STATES ? stat_fixed(fs, NULL, 0755, 0, fs->states_ns, out) : -ESTALE;
    case NODE_STORE:
        return stat_fixed(fs, NULL, 0755, 0, fs->started_ns, out);
    case NODE_SLOT:
        return stat_slot(fs, (uint32_t)id->owner, out);
    case NODE_BLADEFS:
        return stat_bladefs(fs, id->owner, out);
    case NODE_SLOT_LINK:
        return stat_link(fs, id, out);
    case NODE_NONE:
    case NODE_SNAPSHOT:
    case NODE_RUNNING:
    case NODE_CONTROL:
        break;
    }
    return -ESTALE;
}

int virtual_stat(struct fs *fs, const struct node_id *id, struct stat *out)
{
    uint64_t number = node_id_encode(id);
    if (id->kind == NODE_CONTROL)
        return control_stat(fs, id, number, out);
    struct stat st;
    int r = stat_any(fs, id, &st);
    if (r < 0)
        return r;
    st.st_ino = number;
    st.st_blksize = 4096;
    *out = st;
    return 0;
}

/* /snapshots itself, with a look-up counted as the kernel does. */
static int snapshots_entry(struct fs *fs, struct fuse_entry_param *out)
{
    struct fuse_entry_param entry = {.attr_timeout = KEEP_SECONDS, .entry_timeout = KEEP_SECONDS};
    if (fstat(fs->backing.fd, &entry.attr) < 0)
        return -errno;
    entry.ino = fs->snapshots->inode;
    entry.generation = fs->snapshots->generation;
    node_looked_up(fs->nodes, fs->snapshots);
    *out = entry;
    return 0;
}

int virtual_entry(struct fs *fs, uint64_t number, struct fuse_entry_param *out)
{
    struct node_id id = node_id_decode(number);
    struct fuse_entry_param entry = {.ino = number};
    if (id.kind == NODE_SNAPSHOT)
        return number == fs->snapshots->inode ? snapshots_entry(fs, out) : -ESTALE;
    if (id.kind == NODE_RUNNING)
        return running_entry(fs, (uint32_t)id.owner, id.inode, out);
    int r = virtual_stat(fs, &id, &entry.attr);
    if (r == 0)
        *out = entry;
    return r;
}

void virtual_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fs *fs = fs_of(req);
    struct node_id dir = node_id_decode(parent);
    struct fuse_entry_param entry;
    uint64_t number = parent;
    int r = 0;
    if (strcmp(name, "..") == 0) {
        unlisted_parent(req, parent);
        number = parent_of(&dir, parent);
    } else if (strcmp(name, ".") != 0)
        r = child_find(fs, &dir, name, &number);
    if (r == 0 && number != fs->snapshots->inode && node_id_decode(number).kind == NODE_SNAPSHOT) {
        snap_ops.lookup(req, number, "."); /* the top directory above its .bladefs */
        return;
    }
    if (r == 0) {
        r = virtual_entry(fs, number, &entry);
        if (r == -ESTALE && number != parent)
            r = -ENOENT; /* it went just now */
    }
    if (r < 0)
        reply_result(req, r);
    else
        fuse_reply_entry(req, &entry);
}

/* Every walk from the top asks for its attributes, once they are too old; and they never change. */
static double keep_seconds(const struct node_id *id)
{
    return id->kind == NODE_TOP || id->kind == NODE_STORE ? KEEP_SECONDS : 0;
}

void virtual_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct node_id id = node_id_decode(ino);
    struct stat st;
    (void)fi;
    int r = virtual_stat(fs_of(req), &id, &st);
    if (r < 0)
        reply_result(req, r);
    else
        fuse_reply_attr(req, &st, keep_seconds(&id));
}

static void virtual_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct node_id id = node_id_decode(ino);
    char target[128];
    int64_t changed_ns;
    int r = link_target(fs_of(req), &id, target, sizeof(target), &changed_ns);
    if (r < 0)
        fuse_reply_err(req, ESTALE);
    else
        fuse_reply_readlink(req, target);
}

const struct fuse_lowlevel_ops virtual_ops = {
    .lookup = virtual_lookup,
    .getattr = virtual_getattr,
    .setattr = virtual_setattr,
    .setxattr = virtual_setxattr,
    .getxattr = virtual_getxattr,
    .listxattr = virtual_listxattr,
    .removexattr = virtual_removexattr,
    .readlink = virtual_readlink,
    .readdir = virtual_readdir,
    .readdirplus = virtual_readdirplus,
    .fsyncdir = virtual_fsyncdir,
    .mkdir = blades_mkdir,
    .rmdir = blades_rmdir,
    .rename = blades_rename,
};
