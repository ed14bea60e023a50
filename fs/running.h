/* The read-only trees of running snapshots. */
#ifndef FS_RUNNING_H
#define FS_RUNNING_H

#include "fs.h"

/* An inode of a running snapshot as an entry (0: its top directory). -ESTALE, or -errno. */
int running_entry(struct fs *fs, uint32_t running, uint32_t inode, struct fuse_entry_param *out) MUST_CHECK;

#endif
