/* Whole reads and writes on fds, and files replaced so that a crash leaves the old one or the new one. */
#ifndef BASE_FDIO_H
#define BASE_FDIO_H

#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"

/* Reads until `len_bytes` or the end of the file; returns the bytes read, or -errno. EINTR is retried.
 * Blocks. */
ssize_t fd_read_at(int fd, void *bytes, size_t len_bytes, uint64_t offset) MUST_CHECK;
/* Writes everything, or returns -errno. Blocks. */
int fd_write_at(int fd, const void *bytes, size_t len_bytes, uint64_t offset) MUST_CHECK;
int fd_write(int fd, const void *bytes, size_t len_bytes) MUST_CHECK;

/* The whole file `name` below `dirfd`, at most `max_bytes` (-EFBIG beyond), appended to `out`; 0 or -errno.
 */
int file_read(int dirfd, const char *name, size_t max_bytes, struct buf *out) MUST_CHECK;

/*
 * Replaces `name` below `dirfd` whole: a temporary beside it, fsync, rename, fsync of the directory.
 * When it returns 0 the new content survives power loss; on an error the old file is as it was.
 */
int file_replace(int dirfd, const char *name, mode_t mode, const void *bytes, size_t len_bytes) MUST_CHECK;

/* The entries of the directory `dirfd`, from the first, on a descriptor of the DIR's own; 0 or -errno. The
 * caller closes it (OWNED_DIR). */
int dir_list(int dirfd, DIR **out) MUST_CHECK;

/* rm -rf of `name` below `dirfd`, never following a symlink, never leaving the file system; absent is
 * success. */
int tree_remove(int dirfd, const char *name) MUST_CHECK;

/* Wall clock (CLOCK_REALTIME) and boot clock (CLOCK_BOOTTIME). */
int64_t clock_wall_ns(void);
int64_t clock_boot_ms(void);
/* "2026-01-31T12:00:00Z" into `out` (at least 32 bytes). */
void clock_format(int64_t wall_ns, char out[32]);

#endif
