/* What is written to a control file, and what leaves one as an error. Pure. */
#ifndef FS_VALUE_H
#define FS_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

/* The longest value of any control file, without its newline. */
#define VALUE_MAX_BYTES 4000

/*
 * The value of one write: `bytes` without a trailing newline. Returns its length, or -EINVAL: a NUL, more
 * than one line, longer than `max_bytes`, or not at the beginning of the file (`offset`; where an O_APPEND
 * put it, `appends`, makes no difference).
 */
ssize_t value_check(const char *bytes, size_t len_bytes, int64_t offset, bool appends,
                    size_t max_bytes) MUST_CHECK;

/* Does every quote of a command line end (' " and \, as a shell has them)? */
bool value_quotes_end(const char *value, size_t len_bytes);

/* The errno that may leave a control file for `result` (0 or -errno): DESIGN's, else EIO. NFS clients retry
 * EBUSY, EAGAIN and ETIMEDOUT for ever. */
int value_errno(int result) MUST_CHECK;

/* Do these lines of /proc/PID/status show a signal that ends a load: HUP, INT, QUIT, TERM or KILL, pending
 * and not blocked? */
bool status_shows_end(const char *status);

#endif
