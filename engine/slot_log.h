/*
 * The kept end of each slot's output: STORE/logs/<slot id> and, before it, <slot id>.1, each half of
 * SLOT_LOG_MAX_BYTES, 0600. Plain writes into the page cache; a crash may lose the last of it.
 */
#ifndef ENGINE_SLOT_LOG_H
#define ENGINE_SLOT_LOG_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define SLOT_LOG_MAX_BYTES (1u << 20)

/* The directory below `store_fd`, made when it is not there: an fd, the caller's. */
int slot_log_open(int store_fd, struct err *err) MUST_CHECK;
/* One thread appends. */
int slot_log_append(int logs_fd, uint32_t slot, const void *bytes, size_t len_bytes) MUST_CHECK;
void slot_log_remove(int logs_fd, uint32_t slot);

/* Any thread, also while it grows: what is read may then be a little older or newer than what was asked for.
 * A log that was never written is empty, changed at 0. */
int slot_log_stat(int logs_fd, uint32_t slot, uint64_t *size_bytes, int64_t *changed_ns) MUST_CHECK;
ssize_t slot_log_read(int logs_fd, uint32_t slot, void *out, size_t len_bytes, uint64_t offset) MUST_CHECK;

#endif
