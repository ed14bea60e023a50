/* New names: files, directories, symlinks and links, made as the caller. */
#include <fcntl.h>
#include <string.h>

#include "caller.h"
#include "polls.h"
#include "snap.h"

struct making {
    const char *name;
    mode_t mode; /* with the type */
    dev_t rdev;
    const char *target; /* of a symlink */
};

static int make_it(const struct held *dir, const struct making *making)
{
    int r;
    if (making->target)
        r = symlinkat(making->target, dir->fd, making->name);
    else if (S_ISDIR(making->mode))
        r = mkdirat(dir->fd, making->name, making->mode & ~(mode_t)S_IFMT);
    else
        r = mknodat(dir->fd, making->name, making->mode, making->rdev);
    return r < 0 ? -errno : 0;
}

static int make_as_caller(fuse_req_t req, const struct held *dir, const struct making *making)
{
    struct acting acting;
    int r = acting_begin(req, fuse_req_ctx(req)->umask, &acting);
    if (r < 0)
        return r;
    r = make_it(dir, making);
    acting_end(&acting);
    return r;
}

static void make(fuse_req_t req, fuse_ino_t parent, const struct making *making)
{
    OWNED_HELD struct held dir = {0};
    struct fuse_entry_param entry;
    int r = held_get(fs_of(req), parent, &dir);
    if (r == 0)
        r = snap_name_allowed(&dir, making->name, S_ISDIR(making->mode));
    if (r == 0)
        r = change_begin(dir.node->top, parent, 0, 0, 0);
    if (r == 0) {
        r = make_as_caller(req, &dir, making);
        change_end(dir.node->top);
    }
    if (r == 0 && held_is_snapshots(&dir))
        polls_wake(dir.fs->polls, ENGINE_STORE, 0); /* their number is in /store/stats */
    if (r == 0)
        r = snap_find(&dir, making->name, &entry);
    if (r < 0)
        reply_result(req, r);
    else
        snap_reply_entry(req, &entry);
}

void snap_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    make(req, parent, &(struct making){.name = name, .mode = mode, .rdev = rdev});
}

void snap_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    make(req, parent, &(struct making){.name = name, .mode = (mode & ~(mode_t)S_IFMT) | S_IFDIR});
}

void snap_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    make(req, parent, &(struct making){.name = name, .mode = S_IFLNK, .target = target});
}

void snap_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    OWNED_HELD struct held dir = {0};
    OWNED_HELD struct held file = {0};
    struct fuse_entry_param entry;
    char path[PROC_PATH_BYTES];
    int r = held_get(fs_of(req), parent, &dir);
    if (r == 0)
        r = held_get(fs_of(req), ino, &file);
    if (r == 0)
        r = snap_name_allowed(&dir, name, false);
    if (r == 0 && dir.node->top != file.node->top)
        r = -EXDEV;
    if (r == 0)
        r = change_begin(dir.node->top, parent, ino, 0, 0);
    if (r == 0) {
        proc_path(path, file.fd);
        r = linkat(AT_FDCWD, path, dir.fd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
        change_end(dir.node->top);
    }
    if (r == 0)
        r = snap_find_known(&dir, name, ino, &entry);
    if (r < 0)
        reply_result(req, r);
    else
        snap_reply_entry(req, &entry);
}
