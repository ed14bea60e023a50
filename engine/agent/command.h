/* Runs a program to its end, with a limit on its time and on the output that is kept. Blocks. */
#ifndef AGENT_COMMAND_H
#define AGENT_COMMAND_H

#include "base/buf.h"
#include "base/err.h"

#define COMMAND_OUTPUT_MAX_BYTES ((size_t)16 << 10)

/*
 * `argv[0]` is a path. stdin is /dev/null; stdout and stderr go to `output`, of which the first
 * COMMAND_OUTPUT_MAX_BYTES are kept and NUL-terminated (the NUL is not counted), or nowhere when it is NULL.
 * Returns the wait status (waitpid(2)), or -errno with the sentence: -ETIMEDOUT when it was killed.
 */
int command_run(char *const argv[], int timeout_ms, struct buf *output, struct err *err) MUST_CHECK;

/*
 * Only starts it: every fd but these three is closed, no signal is blocked or ignored. -1 for /dev/null.
 * Returns the pid.
 */
int command_start(char *const argv[], int out_fd, int err_fd, struct err *err) MUST_CHECK;

#endif
