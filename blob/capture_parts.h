/*
 * The parts of a capture: the model of the tree in memory, the looking at files, and the threads that read
 * them. All but the threads' own work happens on the caller's thread, so the model has no lock.
 */
#ifndef BLOB_CAPTURE_PARTS_H
#define BLOB_CAPTURE_PARTS_H

#include <linux/stat.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "blob/capture.h"
#include "image_tables.h"

#define CAPTURE_NONE UINT32_MAX
#define CAPTURE_ROOT 0u
#define CAPTURE_DIRS_OPEN 32
#define CAPTURE_LIST_BYTES (64u << 10)
#define CAPTURE_PATH_BYTES 400 /* of a path in a sentence */

/* ---- reading: capture_read.c ---- */

struct capture_piece {
    uint64_t offset_bytes;
    struct blob_chunk chunk;
};

/* One file to be read, and then what was read of it. */
struct capture_job {
    struct capture_job *next;
    int fd; /* owned */
    uint32_t node, turn;
    uint64_t size_bytes;
    bool no_holes;                /* it is known to have none */
    struct capture_piece *pieces; /* owned */
    uint32_t count, cap;
    uint64_t new_chunks, new_raw_bytes, new_stored_bytes;
    struct err err;
};

struct capture_pool {
    struct blob_store *store;
    int level;
    const atomic_bool *cancelled;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    struct capture_job *queue, **queue_end, *finished;
    unsigned idle;       /* threads that wait for jobs */
    unsigned unfinished; /* given and not finished */
    unsigned awaited;    /* how few of them are waited for */
    bool stopping;
    pthread_t *threads;
    unsigned n_threads;
    /* The giver's own: jobs that go into the queue together. */
    struct capture_job *held, **held_end;
    unsigned n_held;
};

int capture_pool_start(struct capture_pool *pool, struct blob_store *store, unsigned threads, int level,
                       const atomic_bool *cancelled, struct err *err) MUST_CHECK;
/* Waits for the threads; drops what was not taken back. */
void capture_pool_stop(struct capture_pool *pool);
/* The job is the pool's until it is taken back. Begun at the latest when some are taken. One thread gives and
 * takes. */
void capture_pool_give(struct capture_pool *pool, struct capture_job *job);
/* When more than `most` jobs are unfinished, waits until half as many are: each wait costs as much as reading
 * a small file. A list of finished ones (or NULL), the caller's now. */
struct capture_job *capture_pool_take(struct capture_pool *pool, unsigned most);
void capture_job_free(struct capture_job *job);

/* ---- the model: capture_model.c ---- */

struct capture_entry {
    uint32_t node;
    uint32_t name_at; /* in the directory's names; NUL-terminated */
};

/* The entries of a directory, sorted by name, and behind them the names: one piece of memory. */
struct capture_dir {
    uint32_t count;
    struct capture_entry list[];
};

struct capture_extent {
    uint64_t offset_bytes;
    uint32_t chunk; /* in the capture's table */
};

struct capture_node {
    uint64_t key;        /* the inode's number: see capture_key */
    uint64_t size_bytes; /* of a device node: major << 32 | minor */
    int64_t mtime_s, ctime_ns;
    uint32_t mode, uid, gid, mtime_ns;
    uint32_t set;          /* of xattrs */
    uint32_t refs;         /* entries that name it */
    uint32_t parent, slot; /* one of these entries, or CAPTURE_NONE */
    uint32_t count;        /* extents */
    uint32_t turn;         /* of its last reading: older results are dropped */
    uint32_t hash_next;
    uint32_t live : 1;
    uint32_t forced : 1; /* look again whatever its times say */
    uint32_t queued : 1; /* a directory that waits to be read */
    uint32_t whole : 1;  /* one extent at 0: `chunk` below */
    union {
        struct capture_dir *dir;
        struct capture_extent *extents;
        char *target;
        uint32_t chunk;
    } has;
};

struct capture_list {
    uint32_t *list;
    uint32_t count, cap;
};

struct blob_capture {
    struct blob_store *store;
    int treefd, level;
    unsigned threads;
    uint64_t dev; /* of the root */
    atomic_bool cancelled;
    struct capture_pool pool;
    bool at_work; /* since the last rest: the store keeps what it put or found */

    struct capture_node *nodes;
    uint32_t n_nodes, cap_nodes, free_node;
    uint32_t *buckets, n_buckets, n_live;
    struct image_chunks chunks;
    struct image_sets sets;

    struct capture_list stack;   /* directories to be read */
    struct capture_list orphans; /* nodes whose last name went, at some moment */
    struct capture_list chain;   /* for opening a directory */
    uint64_t *pending;           /* keys of what could not be found where it was last seen */
    uint32_t n_pending, cap_pending;
    uint32_t turns;

    struct capture_open {
        uint32_t node;
        int fd;
        uint64_t used;
    } open[CAPTURE_DIRS_OPEN];
    uint64_t opens;

    char *list_space; /* CAPTURE_LIST_BYTES */
    char *xattr_names;
    struct buf xattr_values;
    struct blob_xattr *xattr_list;
    uint32_t cap_xattrs;

    uint64_t new_chunks, new_raw_bytes, new_stored_bytes;
};

/* Inode numbers are the tree's own file system's; those of others (an overlay shows some) are made different.
 */
uint64_t capture_key(const struct blob_capture *c, const struct statx *st);
uint32_t capture_find(const struct blob_capture *c, uint64_t key);
/* A node that was not there; its number or -ENOMEM. */
int64_t capture_add(struct blob_capture *c, uint64_t key) MUST_CHECK;
/* Forgets what it contains: entries (their names are gone then), extents, target. */
int capture_empty(struct blob_capture *c, uint32_t node) MUST_CHECK;
/* The directory's entries are these now: takes `dir` over, counts names, notes orphans. */
int capture_set_dir(struct blob_capture *c, uint32_t node, struct capture_dir *dir) MUST_CHECK;
/* Drops the orphans that nothing names now. */
int capture_sweep(struct blob_capture *c) MUST_CHECK;
/* Makes sure that `node` knows one of its names, looking through all directories if it must; false: none. */
bool capture_find_name(struct blob_capture *c, uint32_t node);
const char *capture_name(const struct blob_capture *c, uint32_t node);
const char *capture_entry_name(const struct capture_dir *dir, uint32_t slot);
/* "etc/passwd" for sentences, its beginning cut off when it is long; `name` (may be NULL) below `node`. */
void capture_path(const struct blob_capture *c, uint32_t node, const char *name,
                  char out[CAPTURE_PATH_BYTES]);
int capture_list_add(struct capture_list *list, uint32_t v) MUST_CHECK;
int capture_pend(struct blob_capture *c, uint64_t key) MUST_CHECK;
void capture_model_free(struct blob_capture *c);

/* ---- files and directories: capture_open.c, capture_meta.c, capture_look.c ---- */

/* openat2 below `dirfd`, never through a symlink or into another mount; -errno. */
int capture_openat(int dirfd, const char *path, uint64_t flags) MUST_CHECK;
int capture_statx(int fd, const char *name, struct statx *out) MUST_CHECK;
/* An fd of a directory, borrowed until the next call; -ENOENT when it is not where the model has it. */
int capture_open_dir(struct blob_capture *c, uint32_t node, struct err *err) MUST_CHECK;
void capture_close_dirs(struct blob_capture *c);

/* Attributes and xattrs of what `fd` is (O_PATH or not) into the node. `dir`, `name`: for the sentence. */
int capture_attributes(struct blob_capture *c, uint32_t node, int fd, bool is_path, const struct statx *st,
                       uint32_t dir, const char *name, struct err *err) MUST_CHECK;
int capture_fault(const struct blob_capture *c, int code, uint32_t dir, const char *name, const char *what,
                  struct err *err);

/*
 * Looks at `name` in the directory `dir`, open as `dirfd`: its node, new or known, captured anew if it
 * changed. Directories are queued, to be read later. CAPTURE_NONE: it is not there any more.
 */
int64_t capture_look(struct blob_capture *c, uint32_t dir, int dirfd, const char *name,
                     struct err *err) MUST_CHECK;
/* Reads every queued directory, and what they lead to. Returns how many were read. */
int64_t capture_read_dirs(struct blob_capture *c, struct err *err) MUST_CHECK;
int capture_queue(struct blob_capture *c, uint32_t node) MUST_CHECK;
/* Waits until at most `most` files are being read, and takes over what was. */
int capture_collect(struct blob_capture *c, unsigned most, struct err *err) MUST_CHECK;

/* ---- capture_keep.c ---- */
/* Makes sure that every chunk is in the store, and stays if a collection is under way. -ESTALE: some are not;
 * the files that they are of are looked at again in the next rescan. */
int capture_keep_chunks(struct blob_capture *c, struct err *err) MUST_CHECK;

/* ---- the image: capture_image.c ---- */
int capture_write(struct blob_capture *c, struct buf *out, struct blob_capture_result *result,
                  struct err *err) MUST_CHECK;

int capture_no_memory(struct err *err);

#endif
