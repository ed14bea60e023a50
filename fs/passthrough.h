/*
 * The kernel's FUSE passthrough of source snapshots: reads, writes and mappings of an open file go to the
 * backing file and never come here (Documentation/filesystems/fuse/fuse-passthrough.rst of the kernel).
 *
 * The kernel wants all opens of one node to be of one kind, with one backing file: a node that is open the
 * ordinary way stays so until its last release, and the other way round.
 *
 * What this process must know of changes nevertheless: it is told when a file is opened for writing and when
 * it is released, and a mapping that outlives the release is found by lingering.h.
 */
#ifndef FS_PASSTHROUGH_H
#define FS_PASSTHROUGH_H

#include "fuse_api.h"
#include "nodes.h"

struct passthrough;

/*
 * Can it be had for files below `backing`? It needs libfuse 3.17, root, and a file system with leases.
 * `wanted` false: it stays off. Threads: all functions below may be called by any.
 */
int passthrough_new(const struct backing *backing, bool wanted, struct passthrough **out) MUST_CHECK;
void passthrough_free(struct passthrough *passthrough);
/* The kernel has agreed; `fuse_fd` is that of the session. */
void passthrough_start(struct passthrough *passthrough, int fuse_fd);
/* Is it to be asked for; is it in use. The last one may end, when the kernel refuses the first file. */
bool passthrough_possible(const struct passthrough *passthrough);
bool passthrough_is_on(struct passthrough *passthrough);

/*
 * Before the answer to an open: the number for fuse_file_info.backing_id, or 0: the ordinary way. `fd` is any
 * descriptor of the backing file. For each of these calls one passthrough_close, after the release.
 */
int passthrough_open(struct passthrough *passthrough, struct node *node, int fd);
void passthrough_close(struct passthrough *passthrough, struct node *node, bool passed);

#endif
