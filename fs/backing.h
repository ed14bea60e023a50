/*
 * The directory of the store behind /snapshots, and file handles of its file system (name_to_handle_at(2)):
 * by them a file is opened again whose descriptor was given up, and found by its bare inode number after a
 * restart. Without the right to open by handle (an ordinary user) or without handles there is neither.
 */
#ifndef FS_BACKING_H
#define FS_BACKING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/cleanup.h"

#define HANDLE_MAX_BYTES 24

struct handle {
    int type;
    uint8_t len_bytes; /* 0: none */
    uint8_t bytes[HANDLE_MAX_BYTES];
};

struct backing {
    int fd; /* owned */
    dev_t dev;
    uint64_t inode;
    bool by_handle; /* files can be opened by handle */
    struct handle handle;
};

/* `snapshots_fd` is borrowed. 0 or -errno. */
int backing_open(int snapshots_fd, struct backing *out) MUST_CHECK;
void backing_close(struct backing *backing);

/* The handle of an open file; `out->len_bytes` is 0 when it has none. */
void handle_of(const struct backing *backing, int fd, struct handle *out);
/* The same of an entry of a directory; a symlink is not followed. */
void handle_at(const struct backing *backing, int dir, const char *name, struct handle *out);
bool handle_equal(const struct handle *a, const struct handle *b);
/* The inode's generation, which the file system changes when it uses an inode number again; 0 when its
 * handles are not known to hold one. Pure. */
uint32_t handle_generation(const struct handle *handle);

/* Opens with `flags` (O_PATH for one). -ESTALE: it is gone. */
int backing_open_handle(const struct backing *backing, const struct handle *handle, int flags) MUST_CHECK;
/*
 * Opens whatever has that inode number, with O_PATH; it may lie anywhere in the file system, so the caller
 * checks where. Works on ext4, XFS and Btrfs; -ESTALE elsewhere, and when there is no such inode.
 */
int backing_open_inode(const struct backing *backing, uint64_t inode) MUST_CHECK;

#endif
