/*
 * The nodes below /snapshots that the kernel knows, by inode number.
 *
 * A node is kept while the kernel counts look-ups of it or somebody here uses it. It has an O_PATH
 * descriptor; of those that nobody uses at the moment only the newest few stay open, the others are opened
 * again by file handle. Without the right to do so all of them stay open.
 */
#ifndef FS_NODES_H
#define FS_NODES_H

#include <stdatomic.h>

#include "backing.h"
#include "tops.h"

struct nodes;

struct node {
    uint64_t inode;
    uint32_t generation;
    struct top *top;      /* the snapshot that it is in; NULL: /snapshots itself */
    atomic_uint stores;   /* open files whose mappings change it without a word to anybody */
    atomic_uint caches;   /* open files whose mappings the kernel may keep changes of */
    atomic_bool was_read; /* a directory: the kernel, or a cursor, may hold a part of its listing */

    /* passthrough.c's own. */
    int backing_id;
    uint32_t passed_opens, other_opens;

    /* The table's own. */
    int fd; /* -1: closed */
    uint32_t users;
    uint64_t lookups;
    struct node *next, *newer, *older;
    struct handle handle;
    bool keep_open; /* its last name is gone: no handle leads to it any more */
    bool listed;    /* among those that may be closed */
};

/* `backing` is borrowed; `open_max`: descriptors of unused nodes to keep. */
int nodes_new(const struct backing *backing, size_t open_max, struct nodes **out) MUST_CHECK;
void nodes_free(struct nodes *nodes);

/* The node of that number, in use by the caller until node_put; NULL when it is not in the table. */
struct node *node_get(struct nodes *nodes, uint64_t inode);
bool node_is_known(struct nodes *nodes, uint64_t inode);
void node_put(struct nodes *nodes, struct node *node);
/* A node of that number that is the entry of the directory `dir` called `name`, in use by the caller; NULL
 * when it is not in the table, or not known to be this one. `inode` is what fstatat(2) has just said of that
 * entry. */
struct node *node_named(struct nodes *nodes, int dir, const char *name, uint64_t inode);
/* One use more of a node that is in use. */
struct node *node_ref(struct nodes *nodes, struct node *node);
/* Its descriptor, good while it is in use; or -errno. */
int node_fd(struct nodes *nodes, struct node *node) MUST_CHECK;

/*
 * The node of an open file, new or known, in use by the caller. `fd` (O_PATH or better) is taken over, also
 * on an error; `top` is borrowed. 0 or -errno.
 */
int node_learn(struct nodes *nodes, int fd, uint64_t inode, struct top *top, struct node **out) MUST_CHECK;

/* The kernel was told of it once more; it has forgotten `count` of these. */
void node_looked_up(struct nodes *nodes, struct node *node);
void node_forget(struct nodes *nodes, uint64_t inode, uint64_t count);
/* Before the last name of a known node goes: its descriptor is kept. */
void node_keep_open(struct nodes *nodes, uint64_t inode);

#endif
