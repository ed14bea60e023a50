/* What the operations share: the engine and the tables of this mount. fuse_req_userdata(3) of every request.
 */
#ifndef FS_FS_H
#define FS_FS_H

#include <stdatomic.h>

#include "backing.h"
#include "engine/engine.h"
#include "fuse_api.h"
#include "ids.h"
#include "nodes.h"
#include "tops.h"

struct trees;
struct waits;
struct polls;
struct opens;
struct passthrough;
struct lingering;
struct cursors;
struct unlisted;

/* What the kernel and libfuse agreed on; passthrough.h has the rest. */
struct features {
    bool splice;
    bool writeback;
    bool kill_set_id; /* set-id bits are for this process to take away, not for the kernel */
    bool io_uring;
    bool no_opendir; /* the kernel opens and closes directories by itself */
};

struct fs {
    struct engine *engine; /* borrowed */
    struct backing backing;
    struct nodes *nodes;
    struct tops *tops;
    struct trees *trees;
    struct waits *waits;
    struct polls *polls;
    struct opens *opens;
    struct passthrough *passthrough;
    struct lingering *lingering; /* its files are those of snap_open.c */
    struct cursors *cursors;     /* of the directories below /snapshots */
    struct unlisted *unlisted;
    struct features features;     /* set before the first request */
    struct fuse_session *session; /* set before the first request */
    int64_t started_ns;
    struct node *snapshots;      /* /snapshots itself: in use for good */
    pthread_mutex_t locate_lock; /* one search at a time */
    pthread_mutex_t access_lock; /* one change of an owner, mode or ACL at a time */
    uid_t uid;                   /* the owner of what has none: who runs the program */
    gid_t gid;
    unsigned max_read_bytes;     /* -o max_read=; 0: the kernel's own */
    _Atomic int64_t slots_ns;    /* the set of slots last changed */
    _Atomic int64_t states_ns;   /* a state last changed */
    _Atomic int64_t runnings_ns; /* the set of running snapshots last changed */
    atomic_uint sequence;        /* of the look-ups of action files */
    atomic_uint bringing;        /* requests of snap_file.c that wait for the kernel */
};

/* How long the kernel may keep names and attributes: everything that changes these trees passes through it.
 */
#define KEEP_SECONDS 86400.0

struct fs_options {
    bool passthrough; /* where it can be had */
};

/* `engine` is borrowed and must outlive it. Becomes the engine's watcher. */
int fs_new(struct engine *engine, const struct fs_options *options, struct fs **out,
           struct err *err) MUST_CHECK;
/* Gives back what it holds of the engine, once no request comes any more; then the engine may be closed. */
void fs_release(struct fs *fs);
/* After the engine was closed: until then it calls its watcher and answers requests. */
void fs_free(struct fs *fs);

static inline struct fs *fs_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

/* Answers with 0 or -errno. */
static inline void reply_result(fuse_req_t req, int result)
{
    fuse_reply_err(req, -result);
}

/* The operations of each kind of node; those that are NULL are answered by dispatch.c. */
extern const struct fuse_lowlevel_ops snap_ops;    /* NODE_SNAPSHOT */
extern const struct fuse_lowlevel_ops running_ops; /* NODE_RUNNING */
extern const struct fuse_lowlevel_ops control_ops; /* NODE_CONTROL */
extern const struct fuse_lowlevel_ops virtual_ops; /* directories and symlinks that are made up */
/*
 * Before the entries of a directory below /snapshots change: what was read of them is for nobody any more.
 * The kernel looks at the version of the listing that it keeps when one begins to read, and would let one who
 * is in the middle go on in what another one read earlier.
 */
void snap_entries_change(struct fs *fs, fuse_ino_t dir);
/* All of them: what libfuse calls. */
extern const struct fuse_lowlevel_ops dispatch_ops;

#endif
