/* chmod and chown of what is made up: kept by the engine. Sizes and times are what they are. */
#include "base/fdio.h"
#include "base/log.h"
#include "control.h"
#include "virtual.h"

#define SET_ACCESS (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)

/* The slot and the name under which owner and mode are kept; -EPERM: they do not change. */
static int kept_as(const struct node_id *id, uint32_t *slot, char name[64], const char **file)
{
    const struct control *row;
    *slot = 0;
    *file = name;
    name[0] = 0;
    switch (id->kind) {
    case NODE_RUNNINGS:
        *file = "running";
        return 0;
    case NODE_BLADES:
        *file = "blades";
        return 0;
    case NODE_ANY:
        *file = "any";
        return 0;
    case NODE_SLOT:
        *slot = (uint32_t)id->owner;
        *file = NULL;
        return 0;
    case NODE_CONTROL:
        row = control_of_row(id->row);
        if (!row || row->fixed)
            return -EPERM;
        *slot = row->place == PLACE_SLOT ? (uint32_t)id->owner : 0;
        control_attr_name(row, name);
        return 0;
    default:
        return -EPERM;
    }
}

static int set_access(struct fs *fs, const struct node_id *id, const struct stat *attr, int to_set)
{
    struct err err = {0};
    struct stat st;
    uint32_t slot;
    char name[64];
    const char *file;
    int r = kept_as(id, &slot, name, &file);
    if (r == 0)
        r = virtual_stat(fs, id, &st);
    if (r < 0)
        return r;
    struct engine_attr kept = {.uid = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : st.st_uid,
                               .gid = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : st.st_gid,
                               .mode = (to_set & FUSE_SET_ATTR_MODE ? attr->st_mode : st.st_mode) & 07777,
                               .changed_ns = clock_wall_ns()};
    r = engine_attr_set(fs->engine, slot, file, &kept, NULL, &err);
    if (r < 0)
        log_error("owner and mode were not kept: %s", err.message);
    return r;
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
