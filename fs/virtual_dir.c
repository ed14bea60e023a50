/* Listing the made-up directories. Each read goes on behind the last cookie. */
#include <string.h>

#include "virtual.h"

void virtual_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    (void)datasync;
    (void)fi;
    fuse_reply_err(req, 0);
}

struct filling {
    fuse_req_t req;
    char *at;
    size_t left_bytes;
    bool plus;
};

/* False: no room. */
static bool add_entry(struct filling *filling, const char *name, const struct fuse_entry_param *entry,
                      uint64_t cookie)
{
    size_t n;
    if (filling->plus)
        n = fuse_add_direntry_plus(filling->req, filling->at, filling->left_bytes, name, entry,
                                   (off_t)cookie);
    else
        n = fuse_add_direntry(filling->req, filling->at, filling->left_bytes, name, &entry->attr,
                              (off_t)cookie);
    if (n > filling->left_bytes)
        return false;
    filling->at += n;
    filling->left_bytes -= n;
    return true;
}

static bool add_dots(struct filling *filling, const struct node_id *dir, uint64_t number, off_t off)
{
    struct fuse_entry_param entry = {.attr.st_mode = S_IFDIR, .attr.st_ino = number};
    if (off < 1 && !add_entry(filling, ".", &entry, 1))
        return false;
    entry.attr.st_ino = parent_of(dir, number);
    return off >= 2 || add_entry(filling, "..", &entry, 2);
}

static bool add_child(struct fs *fs, struct filling *filling, const struct child *child)
{
    struct fuse_entry_param entry = {.attr.st_mode = child->type,
                                     .attr.st_ino = node_id_shown(child->number)};
    if (filling->plus && virtual_entry(fs, child->number, &entry) < 0)
        return true; /* gone meanwhile: left out */
    bool fits = add_entry(filling, child->name, &entry, child->cookie);
    if (!fits && filling->plus && child->number == fs->snapshots->inode)
        node_forget(fs->nodes, child->number, 1);
    return fits;
}

static void read_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
    struct fs *fs = fs_of(req);
    struct node_id dir = node_id_decode(ino);
    struct children children = {0};
    struct stat st;
    OWNED char *reply = malloc(size ? size : 1);
    struct filling filling = {.req = req, .at = reply, .left_bytes = size, .plus = plus};
    int r = reply ? virtual_stat(fs, &dir, &st) : -ENOMEM;
    if (r == 0)
        r = children_after(fs, &dir, (uint64_t)off, &children);
    if (r < 0) {
        children_free(&children);
        reply_result(req, r);
        return;
    }
    bool fits = add_dots(&filling, &dir, ino, off);
    for (;;) {
        for (size_t i = 0; fits && i < children.count; i++)
            fits = add_child(fs, &filling, &children.items[i]);
        /* What was added already goes out, also when the next ones fail. */
        if (!fits || !children.more || children_after(fs, &dir, children.last, &children) < 0)
            break;
    }
    children_free(&children);
    fuse_reply_buf(req, reply, size - filling.left_bytes);
}

void virtual_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    read_dir(req, ino, size, off, false);
}

void virtual_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    read_dir(req, ino, size, off, true);
}
