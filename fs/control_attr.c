/* Attributes of control files. */
#include <stdio.h>
#include <string.h>

#include "base/fdio.h"
#include "control.h"
#include "virtual.h"

uint64_t control_number(struct fs *fs, const struct control *row, uint64_t owner)
{
    struct node_id id = {.kind = NODE_CONTROL, .owner = owner, .row = row->row};
    id.bladefs = row->place == PLACE_BLADEFS;
    id.action = row->action;
    if (row->action)
        id.sequence = atomic_fetch_add(&fs->sequence, 1) & NODE_SEQUENCE_MAX;
    return node_id_encode(&id);
}

void control_attr_name(const struct control *row, char out[64])
{
    static const char *const before[] = {[PLACE_TOP] = "",
                                         [PLACE_STORE] = "store/",
                                         [PLACE_SLOT] = "",
                                         [PLACE_ANY] = "any/",
                                         [PLACE_BLADEFS] = ""};
    snprintf(out, 64, "%s%s", before[row->place], row->name);
}

static int content_of(struct fs *fs, const struct control *row, uint64_t owner, uint64_t *size_bytes,
                      int64_t *changed_ns)
{
    *size_bytes = 0;
    if (row->size)
        return row->size(fs, owner, size_bytes, changed_ns);
    if (!row->show)
        return 0;
    OWNED_BUF struct buf text = BUF_EMPTY;
    int r = row->show(fs, owner, &text, changed_ns);
    if (r == 0)
        r = text.error;
    *size_bytes = text.len_bytes;
    return r;
}

/* Owner and mode: what was set, else the row's mode and the owner of what has none. */
static int access_of(struct fs *fs, const struct control *row, uint64_t owner, struct stat *out,
                     int64_t *changed_ns)
{
    struct engine_attr attr;
    char name[64];
    out->st_uid = fs->uid;
    out->st_gid = fs->gid;
    out->st_mode = S_IFREG | row->mode;
    if (row->place == PLACE_BLADEFS) {
        struct stat top;
        int r = top_stat(fs, owner, &top);
        if (r < 0)
            return r;
        /* It is an xattr of the top directory: who may read or write that one may do so here. */
        out->st_uid = top.st_uid;
        out->st_gid = top.st_gid;
        out->st_mode = S_IFREG | (top.st_mode & row->mode);
        return 0;
    }
    if (row->fixed)
        return 0;
    control_attr_name(row, name);
    int r = engine_attr_get(fs->engine, (uint32_t)owner, name, &attr);
    if (r == 0) {
        out->st_uid = attr.uid;
        out->st_gid = attr.gid;
        out->st_mode = S_IFREG | attr.mode;
        *changed_ns = attr.changed_ns;
    }
    return r == -ENOENT ? 0 : r;
}

int control_time(struct fs *fs, const struct control *row, uint64_t owner, int64_t *changed_ns)
{
    struct engine_slot slot;
    if (row->place == PLACE_SLOT && engine_slot_get(fs->engine, (uint32_t)owner, &slot) < 0)
        return -ESTALE;
    if (*changed_ns <= 0)
        *changed_ns = row->place == PLACE_SLOT ? slot.state_ns : fs->started_ns;
    return 0;
}

int control_stat(struct fs *fs, const struct node_id *id, uint64_t number, struct stat *out)
{
    const struct control *row = control_of_row(id->row);
    struct stat st = {.st_nlink = 1, .st_blksize = 4096};
    int64_t content_ns = 0, access_ns = 0;
    uint64_t size_bytes;
    if (!row || row->action != id->action || (row->place == PLACE_BLADEFS) != id->bladefs ||
        (row->place == PLACE_SLOT || row->place == PLACE_BLADEFS) != (id->owner != 0))
        return -ESTALE;
    int r = content_of(fs, row, id->owner, &size_bytes, &content_ns);
    if (r == 0)
        r = control_time(fs, row, id->owner, &content_ns);
    if (r == 0)
        r = access_of(fs, row, id->owner, &st, &access_ns);
    if (r < 0)
        return r == -ENOENT ? -ESTALE : r;
    st.st_ino = node_id_shown(number);
    st.st_size = (off_t)size_bytes;
    st.st_blocks = (blkcnt_t)((size_bytes + 511) / 512);
    virtual_times(&st, content_ns, access_ns);
    *out = st;
    return 0;
}
