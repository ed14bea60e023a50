/*
 * An image as a tree of files below a directory: finding its inodes there, and writing them. Everything is
 * opened below the tree's own directory with openat2(2) (RESOLVE_BENEATH, no symlinks), in steps where a path
 * is longer than PATH_MAX; entries are made and changed by their bare name in a directory so opened.
 *
 * The order: tree_skeleton (directories, symlinks, nodes), the files' content (tree_put.h, seed_copy),
 * then tree_finish_files for every directory, tree_finish_links, tree_finish_dirs. Each step can be done
 * again over what an interrupted one left.
 */
#ifndef AGENT_TREE_WRITE_H
#define AGENT_TREE_WRITE_H

#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"
#include "blob/image.h"

#define TREE_NO_ENTRY UINT32_MAX

/* Of an inode of a tree that is written as a layer (layer.h). */
enum tree_flag {
    TREE_KEPT = 1,       /* stays below: nothing of it is written */
    TREE_OPAQUE = 2,     /* a directory that hides what is below */
    TREE_SHADOWS = 4,    /* the base has something under its name */
    TREE_HOLDS_KEPT = 8, /* a directory in the layer with something in it that stays below */
};

struct tree {
    const struct blob_image *image; /* borrowed */
    int fd;                         /* the tree's top directory; borrowed */
    uint32_t *entry_of;             /* inode -> the directory entry that is its first name */
    uint32_t *dirs;                 /* all directories, parents before children, the root first */
    uint32_t dir_count;
    const uint8_t *flags; /* inode -> enum tree_flag, borrowed; NULL: a whole tree */
    uint8_t *finished;    /* inode -> 1: a file with content and attributes, nothing is left to do */
    bool fresh;           /* what is made here gets the owner below and no xattrs, and nothing was here */
    uid_t made_uid;
    gid_t made_gid;
};

static inline bool tree_is_kept(const struct tree *tree, uint32_t inode)
{
    return tree->flags && tree->flags[inode] & TREE_KEPT;
}

/* Makes the index (8 bytes an inode). -EBADMSG when the image is no tree, or holds what must not be on a
 * blade (a character device 0:0, trusted.overlay.* attributes). */
int tree_init(struct tree *tree, const struct blob_image *image, int fd, struct err *err) MUST_CHECK;
void tree_fini(struct tree *tree);

/* For a tree whose top directory was just made: finds out whether it is fresh. */
void tree_is_fresh(struct tree *tree);

/* Opens an inode, the caller's fd. O_CREAT makes a regular file with mode 0600. Any thread. */
int tree_open(const struct tree *tree, uint32_t inode, int flags) MUST_CHECK;
/* The same path below another directory than the tree's. */
int tree_open_in(const struct tree *tree, int top, uint32_t inode, int flags) MUST_CHECK;

/* The inode's path from the top. 0, or -ENAMETOOLONG when it does not fit: then tree_open can do what
 * openat2(2) cannot. `out`: NUL-terminated; "." for the root. */
int tree_path(const struct tree *tree, uint32_t inode, char *out, size_t out_bytes) MUST_CHECK;
/* The same for people: its end when it is long, control characters shown as '?'. */
void tree_path_show(const struct tree *tree, uint32_t inode, char out[256]);

int tree_skeleton(const struct tree *tree, struct err *err) MUST_CHECK;

/* Files that are not directories, with their first name in `dir`: makes what has no content, sets the size,
 * and the attributes. Any thread, one directory each. */
int tree_finish_files(const struct tree *tree, uint32_t dir, struct err *err) MUST_CHECK;
/* The further names of hard-linked files. */
int tree_finish_links(const struct tree *tree, struct err *err) MUST_CHECK;
/* The directories' attributes. The root gets mode 0755 and owner 0:0, whatever the image says. */
int tree_finish_dirs(const struct tree *tree, struct err *err) MUST_CHECK;

/* One entry's owner, mode, xattrs and mtime, in this order, exactly as the image says: xattrs that it does
 * not have are taken away, but for the mark of an opaque directory of a layer. */
int tree_set_attributes(const struct tree *tree, int dirfd, const char *name, uint32_t inode,
                        struct err *err) MUST_CHECK;

#endif
