/*
 * What is made up: the top of the mount, /running, /blades, /state, /store, the slots, .bladefs, and the
 * symlinks to and from slots. Control files share their look-up and attributes.
 */
#ifndef FS_VIRTUAL_H
#define FS_VIRTUAL_H

#include "fs.h"

/* Any node as an entry, but one of /snapshots other than the directory itself. -ESTALE. */
int virtual_entry(struct fs *fs, uint64_t number, struct fuse_entry_param *out) MUST_CHECK;
/* Attributes of what is made up, control files included. -ESTALE: it is not there (any more). */
int virtual_stat(struct fs *fs, const struct node_id *id, struct stat *out) MUST_CHECK;
/* mtime is when the content changed, ctime the later of that and of owner and mode. */
void virtual_times(struct stat *st, int64_t content_ns, int64_t access_ns);
/* Where a symlink leads to: -ENOENT when it has no target, so is not there. */
int link_target(struct fs *fs, const struct node_id *id, char *out, size_t room,
                int64_t *changed_ns) MUST_CHECK;

/* The children of a made-up directory. */
struct child {
    uint64_t cookie; /* its place in the listing, the same whatever comes and goes beside it */
    uint64_t number;
    mode_t type;
    char name[RUNNING_NAME_MAX_BYTES + 1];
};
struct children {
    struct child *items; /* owned, by cookie */
    size_t count, room;
    uint64_t last; /* the cookie up to which they were looked for */
    bool more;     /* there may be others behind it */
};
/* virtual_list.c */
/* Some of those behind the cookie `after`: a bounded number, under no lock when it returns. */
int children_after(struct fs *fs, const struct node_id *dir, uint64_t after, struct children *out) MUST_CHECK;
void children_free(struct children *children);
int child_find(struct fs *fs, const struct node_id *dir, const char *name, uint64_t *number) MUST_CHECK;
uint64_t parent_of(const struct node_id *id, uint64_t number);

/* Operations that other files lend: virtual.c */
void virtual_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void virtual_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
/* virtual_setattr.c */
void virtual_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                     struct fuse_file_info *fi);
/* virtual_xattr.c */
void virtual_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                      int flags);
void virtual_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void virtual_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void virtual_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
/* virtual_dir.c */
void virtual_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void virtual_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void virtual_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
/* blades.c */
void blades_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void blades_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void blades_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
                   const char *newname, unsigned flags);

#endif
