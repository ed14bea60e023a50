/*
 * The output of an instance in two bounded files: `log`, and `log.1`, the one before. Offsets count the bytes
 * since the instance was made and go on over starts; `log.pos` says where `log` begins, and how far the
 * output was handed on. The supervisor writes; bladed reads when there is no supervisor. Not durable: output
 * is not worth an fsync.
 */
#ifndef AGENT_INSTANCE_LOG_H
#define AGENT_INSTANCE_LOG_H

#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

#define INSTANCE_LOG_FILE_BYTES ((uint64_t)512 << 10)
#define LAST_LINE_BYTES 240

/* The last line of a stream that has anything in it, made fit for a sentence. */
struct last_line {
    char line[LAST_LINE_BYTES]; /* the last whole one */
    char partial[LAST_LINE_BYTES];
    size_t partial_bytes;
};

void last_line_feed(struct last_line *l, const void *bytes, size_t len_bytes);
const char *last_line_get(const struct last_line *l); /* a view; "" when there was none */

struct instance_log {
    int dirfd; /* borrowed */
    int fd, older_fd;
    uint64_t base;  /* the offset at which `log` begins */
    uint64_t bytes; /* in `log` */
    uint64_t older_bytes;
    uint64_t handed_on;
};

/* Opens, or begins, the log below `dirfd`. 0 or -errno. */
int instance_log_open(int dirfd, struct instance_log *log) MUST_CHECK;
void instance_log_close(struct instance_log *log); /* keeps log.pos up to date */

/* Appends; what the disk does not take is lost, and the error returned. */
int instance_log_append(struct instance_log *log, const void *bytes, size_t len_bytes) MUST_CHECK;
uint64_t instance_log_end(const struct instance_log *log);
/* Writes log.pos. */
int instance_log_save(const struct instance_log *log) MUST_CHECK;

/*
 * Reads from `*offset` on, or from the oldest byte that is kept, if that is later: `*offset` becomes where
 * the bytes are from. Returns how many, 0 at the end, or -errno.
 */
ssize_t instance_log_read(const struct instance_log *log, uint64_t *offset, void *bytes,
                          size_t len_bytes) MUST_CHECK;

#endif
