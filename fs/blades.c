/* Slots made, removed and renamed; running snapshots removed. */
#include <string.h>

#include "base/fdio.h"
#include "base/log.h"
#include "control.h"
#include "value.h"
#include "virtual.h"

static int refused(const struct node_id *dir)
{
    return dir->kind == NODE_RUNNINGS ? -EROFS : -EPERM;
}

/* Who makes a slot may use it: what can be written in it is his, too. */
static int give_files(struct fs *fs, uint32_t slot, const struct engine_attr *owner)
{
    struct err err = {0};
    for (const struct control *row = control_table(); row->row; row++) {
        if (row->place != PLACE_SLOT || row->fixed)
            continue;
        struct engine_attr attr = *owner;
        attr.mode = row->mode;
        int r = engine_attr_set(fs->engine, slot, row->name, &attr, NULL, &err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* As in any directory: under a set-group-id one the new one has its group, and the bit. */
static int inherit_group(struct fs *fs, const struct node_id *dir, struct engine_attr *attr)
{
    struct stat st;
    int r = virtual_stat(fs, dir, &st);
    if (r == 0 && st.st_mode & S_ISGID) {
        attr->gid = st.st_gid;
        attr->mode |= S_ISGID;
    }
    return r;
}

void blades_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct fs *fs = fs_of(req);
    struct node_id dir = node_id_decode(parent);
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct engine_attr attr = {
        .uid = ctx->uid, .gid = ctx->gid, .mode = mode & ~ctx->umask & 01777, .changed_ns = clock_wall_ns()};
    struct fuse_entry_param entry;
    struct err err = {0};
    uint32_t slot = 0;
    int r = dir.kind == NODE_BLADES ? 0 : refused(&dir);
    if (r == 0 && strcmp(name, "any") == 0)
        r = -EEXIST;
    if (r == 0 && !slot_name_is_valid(name, strlen(name)))
        r = -EINVAL;
    if (r == 0)
        r = inherit_group(fs, &dir, &attr);
    if (r == 0)
        r = engine_slot_create(fs->engine, name, &attr, &slot, &err);
    if (r == 0 && attr.uid != fs->uid)
        r = give_files(fs, slot, &attr);
    if (r == 0)
        r = virtual_entry(fs, node_id_slot(slot), &entry);
    if (r < 0)
        reply_result(req, value_errno(r));
    else
        fuse_reply_entry(req, &entry);
}

static int remove_slot(struct fs *fs, const char *name, struct err *err)
{
    uint32_t slot;
    if (strcmp(name, "any") == 0)
        return -EPERM;
    int r = engine_slot_find(fs->engine, name, &slot);
    return r < 0 ? r : engine_slot_remove(fs->engine, slot, err);
}

static int remove_running(struct fs *fs, const char *name, struct err *err)
{
    uint32_t running;
    int r = engine_running_find(fs->engine, name, &running);
    return r < 0 ? r : engine_running_remove(fs->engine, running, err);
}

void blades_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fs *fs = fs_of(req);
    struct node_id dir = node_id_decode(parent);
    struct err err = {0};
    int r;
    if (dir.kind == NODE_BLADES)
        r = remove_slot(fs, name, &err);
    else if (dir.kind == NODE_RUNNINGS)
        r = remove_running(fs, name, &err);
    else
        r = -EPERM;
    if (r < 0 && err.message[0])
        log_info("rmdir %s: %s", name, err.message);
    reply_result(req, value_errno(r));
}

void blades_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
                   const char *newname, unsigned flags)
{
    struct fs *fs = fs_of(req);
    struct node_id dir = node_id_decode(parent);
    struct err err = {0};
    uint32_t slot;
    int r = dir.kind == NODE_BLADES && strcmp(name, "any") != 0 ? 0 : refused(&dir);
    if (r == 0 && parent != newparent)
        r = -EXDEV;
    if (r == 0 && strcmp(newname, "any") == 0)
        r = -EEXIST;
    if (r == 0 && (flags & ~1U /* RENAME_NOREPLACE: a slot is never replaced */ ||
                   !slot_name_is_valid(newname, strlen(newname))))
        r = -EINVAL;
    if (r == 0)
        r = engine_slot_find(fs->engine, name, &slot);
    if (r == 0)
        r = engine_slot_rename(fs->engine, slot, newname, &err);
    reply_result(req, value_errno(r));
}
