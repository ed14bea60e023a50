/*
 * Making an image of a directory tree: walk, read, cut, store. It knows nothing of who else writes to the
 * tree: the caller says what changed meanwhile (blob_capture_rescan), holds the writers for the last rescan,
 * and so gets the tree of one moment.
 *
 *   blob_capture_new -> blob_capture_scan -> blob_capture_rescan ... -> blob_store_commit_begin ->
 *   blob_capture_finish -> the catalog -> blob_store_commit_end -> blob_capture_free
 *
 * Everything about an entry is kept: type, mode, owner, mtime to the nanosecond, hard links, symlink targets,
 * device numbers, all xattrs (ACLs and capabilities are xattrs), holes. Access and change times are not.
 * Files are opened below `treefd` with openat2(RESOLVE_BENEATH|NO_SYMLINKS|NO_XDEV) and O_NOATIME where
 * allowed. A tree that an overlay cannot show (character device 0:0, trusted.overlay.* xattrs) fails with
 * -EINVAL and its path. One thread calls these functions; blob_capture_cancel may come from any.
 */
#ifndef BLOB_CAPTURE_H
#define BLOB_CAPTURE_H

#include "blob/image.h"
#include "blob/store.h"

struct blob_capture;

struct blob_capture_options {
    unsigned threads; /* that read and compress; 0: one a core */
    int level;        /* zstd's */
};

struct blob_capture_result {
    struct blob_id image;  /* the object's id: the content id of the running snapshot */
    uint64_t files, bytes; /* regular files and their sizes */
    uint64_t chunks;       /* distinct, in the image */
    uint64_t new_chunks, new_raw_bytes, new_stored_bytes;
    uint64_t image_bytes;
};

int blob_capture_new(struct blob_store *store, int treefd, const struct blob_capture_options *options,
                     struct blob_capture **out, struct err *err) MUST_CHECK;
void blob_capture_free(struct blob_capture *capture);

/* Walks the whole tree and stores what is new. Blocks as long as that takes. -ECANCELED after
 * blob_capture_cancel. */
int blob_capture_scan(struct blob_capture *capture, struct err *err) MUST_CHECK;

/*
 * Looks again at inodes that changed since they were looked at: directories (their entries and themselves)
 * and others, by inode number in the tree's file system. Unknown numbers are ignored: a new file is found
 * through its directory.
 */
int blob_capture_rescan(struct blob_capture *capture, const uint64_t *inodes, size_t count,
                        struct err *err) MUST_CHECK;

/*
 * Builds the image, stores it and syncs the store: it is durable when this returns 0. Where collections run
 * (blob/gc.h) the caller is between blob_store_commit_begin and blob_store_commit_end, from before this call
 * until the image is among the roots: this makes sure that its chunks are there, and no collection begins
 * before it is a root. -ESTALE: one has removed chunks that this capture had read before. Then, within the
 * same commit, a rescan, of nothing else if nothing else changed, stores them again, and what is stored now
 * stays; and finish again.
 */
int blob_capture_finish(struct blob_capture *capture, struct blob_capture_result *out,
                        struct err *err) MUST_CHECK;

/* Ends what another thread is doing with it, soon, with -ECANCELED; and all that follows, until go_on. */
void blob_capture_cancel(struct blob_capture *capture);

/*
 * A capture may be kept, and the same tree be captured again by a rescan of what changed since. Between these
 * it rests: it has no threads and no open files then (the next call makes them, with the priority of its
 * thread). After a scan or a rescan that failed, -ECANCELED included, it can be gone on with: the next rescan
 * does what was left undone, but is to be given the same inodes again.
 */
void blob_capture_rest(struct blob_capture *capture);
void blob_capture_go_on(struct blob_capture *capture);
/* About how much memory it takes. */
uint64_t blob_capture_bytes(const struct blob_capture *capture);
/* What it holds stays in a collection that has begun (blob_store_touch): of one that rests, and that nobody
 * uses meanwhile. */
void blob_capture_touch(const struct blob_capture *capture);
/* What is new is counted from here on: at first from the beginning. */
void blob_capture_count_anew(struct blob_capture *capture);

#endif
