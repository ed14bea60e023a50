/* What the control files and /status read as, from plain values. Pure. */
#ifndef ENGINE_STATUS_TEXT_H
#define ENGINE_STATUS_TEXT_H

#include "base/buf.h"
#include "slots.h"

/* "410.2MiB"; below 1 KiB "812B". */
void text_bytes(uint64_t bytes, char out[32]);
/* "12s", "3m10s", "2h05m", "5d3h". */
void text_duration(uint64_t seconds, char out[32]);

/* "62% 410.2MiB/660.9MiB sent 88.1MiB 212.4MiB/s eta 1s\n"; nothing before the first load. */
void text_progress(const struct progress *progress, int64_t now_ms, struct buf *out);
/* `key value` lines. `key_id` is shown before the blade was ever seen, too. */
void text_info(const struct blade_info *info, const char *key_id, int64_t seen_ns, struct buf *out);

/* A line of /status; the table has the widths of its widest values. */
struct status_row {
    const char *slot;
    const char *state;
    const char *image; /* "" is shown as "-" */
    int64_t since_ns;
    const char *info; /* progress or error; "" is shown as "-" */
};
void text_status(const struct status_row *rows, size_t count, struct buf *out);

#endif
