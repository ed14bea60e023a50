/* The passthrough of /snapshots: what its parts share. */
#ifndef FS_SNAP_H
#define FS_SNAP_H

#include "base/container.h"
#include "fs.h"
#include "lingering.h"
#include "opens.h"

#define BLADEFS_DIR ".bladefs"

/* A node in use, with its descriptor, to the end of the scope. */
struct held {
    struct fs *fs;
    struct node *node;
    int fd; /* the node's */
};
#define OWNED_HELD __attribute__((cleanup(held_drop)))

/* -ESTALE: the kernel never looked it up here. */
int held_get(struct fs *fs, uint64_t inode, struct held *out) MUST_CHECK;
void held_drop(struct held *held);
bool held_is_top(const struct held *held); /* the top directory of a snapshot */
bool held_is_snapshots(const struct held *held);

/*
 * The node of that number, found by its number alone if need be, and only below /snapshots; in use by the
 * caller. -ESTALE: there is none, or the file system cannot tell. May search long: for a file of which
 * nothing is known, every directory is read.
 */
int locate(struct fs *fs, uint64_t inode, struct node **out) MUST_CHECK;

/* An entry of a directory, with one look-up counted. -ENOENT. */
int snap_find(struct held *dir, const char *name, struct fuse_entry_param *out) MUST_CHECK;
/* The same, cheaper where it is a known node, of the number `inode` presumably. */
int snap_find_known(struct held *dir, const char *name, uint64_t inode,
                    struct fuse_entry_param *out) MUST_CHECK;
/* The same of a file that is open; `fd` is taken over. */
int snap_found(struct fs *fs, int fd, struct top *top, struct fuse_entry_param *out) MUST_CHECK;
/* Answers with an entry; takes its look-up back when nobody wants the answer any more. */
void snap_reply_entry(fuse_req_t req, const struct fuse_entry_param *entry);

/* Around a change; nothing for what is in no snapshot (NULL). Numbers that are 0 are left out. */
int change_begin(struct top *top, uint64_t a, uint64_t b, uint64_t c, uint64_t d) MUST_CHECK;
void change_end(struct top *top);

/*
 * Before an answer with the node's attributes: how long the kernel may keep them. Where a mapping may have
 * stored what the backing file has no blocks for yet, one is told: no blocks is no content to tar.
 */
double snap_keep_seconds(const struct node *node, struct stat *st);
bool snap_is_without_blocks(const struct stat *st);
/*
 * `fi` only in a write: libfuse 3.18 tells it then. Is it for this process to take the set-id bits away from
 * a file that the caller of `req` writes to or cuts off? As the kernel does it for a file of its own;
 * capabilities go by themselves, since the backing file is written to.
 */
bool snap_kills_set_id(fuse_req_t req, const struct fuse_file_info *fi);
/* Takes them away where they are, and tells the kernel, which would go on with the old mode. 0 or -errno. */
int snap_kill_set_id(struct fs *fs, uint64_t inode, int fd) MUST_CHECK;

/* May the name be made in, or renamed into, that directory? 0 or -errno. */
int snap_name_allowed(const struct held *dir, const char *name, bool directory) MUST_CHECK;

#define PROC_PATH_BYTES 32
/* "/proc/self/fd/<fd>": the way to an O_PATH descriptor for calls that take a path. */
void proc_path(char out[PROC_PATH_BYTES], int fd);

struct acl;
/* The access ACL of a file; count 0 where there is none, or the file system keeps none. */
int snap_acl(int fd, struct acl *out) MUST_CHECK;

/* An open file, in fuse_file_info.fh. */
struct snap_file {
    struct opened open;
    int fd;
    uint64_t inode;
    struct top *top;     /* held */
    struct node *node;   /* in use */
    struct nodes *nodes; /* where it is */
    struct lingers lingers;
    bool writes; /* the engine knows it as a writer */
    bool passed; /* the kernel reads and writes by itself */
    bool stores; /* and may do so through a mapping: counted in the node's `stores` */
    bool caches; /* not passed: what a mapping stores stays with the kernel; counted in the node's `caches` */
};
static inline struct snap_file *snap_file_of(const struct fuse_file_info *fi)
{
    return (struct snap_file *)(uintptr_t)fi->fh;
}

/* The operations, by file. snap_lookup.c: */
void snap_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void snap_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
/* snap_attr.c */
void snap_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void snap_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void snap_readlink(fuse_req_t req, fuse_ino_t ino);
void snap_statfs(fuse_req_t req, fuse_ino_t ino);
/* snap_xattr.c */
void snap_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                   int flags);
void snap_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void snap_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void snap_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
/* snap_make.c */
void snap_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void snap_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void snap_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void snap_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
/* snap_names.c */
void snap_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void snap_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void snap_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
                 const char *newname, unsigned flags);
/* snap_dir.c */
void snap_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void snap_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void snap_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
/* snap_open.c */
void snap_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void snap_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
void snap_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi);
#endif
void snap_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void snap_file_settled(void *fs, struct lingers *lingers); /* lingering.h's callback */
/* snap_file.c */
void snap_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void snap_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t off,
                    struct fuse_file_info *fi);
void snap_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void snap_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void snap_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                    struct fuse_file_info *fi);
void snap_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void snap_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
                          fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len,
                          int flags);

#endif
