#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

static _Atomic enum log_level log_threshold = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    atomic_store(&log_threshold, level);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    if (level > atomic_load(&log_threshold))
        return;

    char line[1024];
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    int len = snprintf(line, sizeof(line), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s: ", tm.tm_year + 1900,
                       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                       (int)(now.tv_nsec / 1000000), names[level]);
    va_list args;
    va_start(args, fmt);
    int more = vsnprintf(line + len, sizeof(line) - (size_t)len, fmt, args);
    va_end(args);
    if (more < 0)
        return;
    size_t total = (size_t)len + (size_t)more;
    if (total > sizeof(line) - 2)
        total = sizeof(line) - 2;
    /* One line is one line: what came from elsewhere may not forge another. */
    for (size_t i = 0; i < total; i++)
        if ((unsigned char)line[i] < ' ')
            line[i] = ' ';
    line[total++] = '\n';
    if (write(STDERR_FILENO, line, total) < 0)
        return; /* nobody is left to tell */
}
