/* chmod, chown and setfacl of what is made up: kept by the engine. Sizes and times are what they are. */
#include "access.h"
#include "base/fdio.h"
#include "base/log.h"
#include "control.h"
#include "virtual.h"

#define SET_ACCESS (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)

/* Under which slot and name owner, mode and ACL are kept. */
struct kept_as {
    uint32_t slot;
    const char *file; /* NULL: of the slot itself */
    char name[64];
};

/* -EPERM: they do not change. */
static int kept_as(const struct node_id *id, struct kept_as *out)
{
    const struct control *row;
    out->slot = 0;
    out->file = out->name;
    out->name[0] = 0;
    switch (id->kind) {
    case NODE_RUNNINGS:
        out->file = "running";
        return 0;
    case NODE_BLADES:
        out->file = "blades";
        return 0;
    case NODE_ANY:
        out->file = "any";
        return 0;
    case NODE_SLOT:
        out->slot = (uint32_t)id->owner;
        out->file = NULL;
        return 0;
    case NODE_CONTROL:
        row = control_of_row(id->row);
        if (!row || row->fixed)
            return -EPERM;
        out->slot = row->place == PLACE_SLOT ? (uint32_t)id->owner : 0;
        control_attr_name(row, out->name);
        return 0;
    default:
        return -EPERM;
    }
}

static int kept_acl(struct fs *fs, const struct kept_as *as, struct acl *out)
{
    struct engine_acl kept;
    out->count = 0;
    int r = engine_acl_get(fs->engine, as->slot, as->file, &kept);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return acl_parse(kept.bytes, kept.len_bytes, out);
}

static int keep(struct fs *fs, const struct kept_as *as, const struct stat *st, const struct acl *acl)
{
    struct err err = {0};
    struct engine_acl kept = {.len_bytes = 0};
    const struct engine_attr attr = {
        .uid = st->st_uid, .gid = st->st_gid, .mode = st->st_mode & 07777, .changed_ns = clock_wall_ns()};
    kept.len_bytes = acl_write(acl, kept.bytes);
    int r = engine_attr_set(fs->engine, as->slot, as->file, &attr, &kept, &err);
    if (r < 0)
        log_error("owner, mode and ACL were not kept: %s", err.message);
    return r;
}

/* A new owner: since FUSE_HANDLE_KILLPRIV_V2 the kernel leaves it to us to take the set-id bits of a file. */
static mode_t without_set_id(mode_t mode)
{
    if (S_ISDIR(mode))
        return mode;
    return mode & ~(mode_t)(mode & S_IXGRP ? S_ISUID | S_ISGID : S_ISUID);
}

static int set_access(struct fs *fs, const struct node_id *id, const struct stat *attr, int to_set)
{
    struct kept_as as;
    struct stat st;
    struct acl acl;
    HOLD_LOCK(&fs->access_lock);
    int r = kept_as(id, &as);
    if (r == 0)
        r = virtual_stat(fs, id, &st);
    if (r == 0)
        r = kept_acl(fs, &as, &acl);
    if (r < 0)
        return r;
    if (to_set & FUSE_SET_ATTR_UID)
        st.st_uid = attr->st_uid;
    if (to_set & FUSE_SET_ATTR_GID)
        st.st_gid = attr->st_gid;
    if (to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
        st.st_mode = without_set_id(st.st_mode);
    if (to_set & FUSE_SET_ATTR_MODE) {
        st.st_mode = attr->st_mode;
        acl_set_mode(&acl, st.st_mode);
    }
    return keep(fs, &as, &st, &acl);
}

int access_set_acl(struct fs *fs, const struct node_id *id, const struct caller *caller, struct acl *acl)
{
    struct kept_as as;
    struct stat st;
    HOLD_LOCK(&fs->access_lock);
    int r = kept_as(id, &as);
    if (r == 0)
        r = virtual_stat(fs, id, &st);
    if (r < 0)
        return r;
    st.st_mode = acl_to_mode(acl, st.st_mode);
    if (caller->uid != 0 && !caller_in_group(caller, st.st_gid))
        st.st_mode &= ~(mode_t)S_ISGID;
    return keep(fs, &as, &st, acl);
}

int access_acl(struct fs *fs, const struct node_id *id, struct acl *out)
{
    struct kept_as as;
    const struct control *row = id->kind == NODE_CONTROL ? control_of_row(id->row) : NULL;
    bool in_bladefs = row && row->place == PLACE_BLADEFS;
    out->count = 0;
    if (id->kind == NODE_BLADEFS || in_bladefs) {
        int r = top_acl(fs, id->owner, out);
        acl_limit(out, in_bladefs ? row->mode >> 6 & 7 : 7);
        return r;
    }
    return kept_as(id, &as) == 0 ? kept_acl(fs, &as, out) : 0;
}

void virtual_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct node_id id = node_id_decode(ino);
    struct stat st;
    int r = 0;
    (void)fi;
    if (to_set & SET_ACCESS)
        r = set_access(fs, &id, attr, to_set);
    if (r == 0)
        r = virtual_stat(fs, &id, &st);
    if (r < 0)
        reply_result(req, r);
    else
        fuse_reply_attr(req, &st, 0);
}
