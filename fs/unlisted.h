/*
 * Directories that are found by name and not listed, `/blades/any` and `.bladefs`, are found by handle too.
 *
 * For a handle of a directory that has left its cache the kernel asks for `..`, reads that directory, and
 * looks for the inode in what it reads. So when somebody asks for `..` of an unlisted directory, which
 * nothing else does, the next listing of the parent that the same thread reads is one that shows it.
 */
#ifndef FS_UNLISTED_H
#define FS_UNLISTED_H

#include <sys/types.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "fuse_api.h"

struct unlisted;

int unlisted_new(struct unlisted **out) MUST_CHECK;
void unlisted_free(struct unlisted *unlisted);

/* `..` of `child` is about to be answered with `parent`, to that thread. */
void unlisted_ask(struct unlisted *unlisted, pid_t thread, uint64_t parent, uint64_t child, int64_t now_ms);
/* The child that this thread must see in its listing of `parent`, once; 0: none. */
uint64_t unlisted_take(struct unlisted *unlisted, pid_t thread, uint64_t parent, int64_t now_ms);

/* Before the answer to a look-up of `..` in `child`; nothing for a directory that is listed. */
void unlisted_parent(fuse_req_t req, fuse_ino_t child);
/* True: this reading of `parent` was such a one, and is answered. */
bool unlisted_readdir(fuse_req_t req, fuse_ino_t parent, size_t size, off_t off, bool plus);

#endif
