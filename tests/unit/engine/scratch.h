/* A directory of a test's own, below TMPDIR or /tmp, removed at its end. */
#ifndef TEST_SCRATCH_H
#define TEST_SCRATCH_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fdio.h"

struct scratch {
    char path[256];
    int fd;
};

static inline int scratch_make(void **state)
{
    struct scratch *s = calloc(1, sizeof(*s));
    if (!s)
        return -1;
    const char *tmp = getenv("TMPDIR");
    snprintf(s->path, sizeof(s->path), "%s/bladefs-test-XXXXXX", tmp ? tmp : "/tmp");
    s->fd = mkdtemp(s->path) ? open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    *state = s;
    return s->fd < 0 ? -1 : 0;
}

static inline int scratch_remove(void **state)
{
    struct scratch *s = *state;
    close(s->fd);
    int r = tree_remove(AT_FDCWD, s->path);
    free(s);
    return r;
}

/* "<scratch>/<name>"; good until the next call with the same `out`. */
static inline const char *scratch_path(const struct scratch *s, const char *name, char out[512])
{
    snprintf(out, 512, "%s/%s", s->path, name);
    return out;
}

static inline void scratch_write(int dirfd, const char *name, const char *text)
{
    int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fd_write(fd, text, strlen(text)), 0);
    close(fd);
}

#endif
