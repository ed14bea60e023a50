#include "fsck.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/engine.h"

enum { EXIT_WHOLE = 0, EXIT_REPAIRED = 1, EXIT_LOST = 4, EXIT_NOT_CHECKED = 8 };

static void show_progress(void *arg, unsigned percent, uint64_t all_bytes)
{
    (void)arg;
    fprintf(stderr, "\r%3u%% of %" PRIu64 " MiB", percent, all_bytes >> 20);
    if (percent == 100)
        fputc('\n', stderr);
}

int fsck_command(const char *store)
{
    OWNED_BUF struct buf found = BUF_EMPTY;
    struct err err = {0};
    log_set_level(LOG_LEVEL_ERROR); /* the lines on stdout say it */
    int r = engine_check_store(store, isatty(STDERR_FILENO) ? show_progress : NULL, NULL, &found, &err);
    bool said = found.len_bytes == 0 || fwrite(found.bytes, 1, found.len_bytes, stdout) == found.len_bytes;
    if (!said || fflush(stdout) != 0)
        return EXIT_NOT_CHECKED;
    if (r < 0) {
        fprintf(stderr, "bladefs: %s\n", err.message);
        return EXIT_NOT_CHECKED;
    }
    return r == ENGINE_CHECK_LOST ? EXIT_LOST : r == ENGINE_CHECK_REPAIRED ? EXIT_REPAIRED : EXIT_WHOLE;
}
