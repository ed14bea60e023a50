/* Going into the background, with the true outcome told to whoever started the program. */
#ifndef FS_DAEMON_H
#define FS_DAEMON_H

#include "base/err.h"

struct daemon {
    int tell_fd; /* -1: in the foreground */
};

/*
 * Forks, before any thread was made. In the child it returns 0; the parent waits until the child has told, or
 * died, and exits with 0 or 1. The child's errors go to the parent's stderr meanwhile.
 */
int daemon_begin(struct daemon *out, struct err *err) MUST_CHECK;
/* All is up: the parent exits with 0. stdin and stdout are /dev/null from now on, stderr is the log file. */
int daemon_ready(struct daemon *daemon, const char *log_path, struct err *err) MUST_CHECK;

#endif
