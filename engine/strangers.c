#include "strangers.h"

#include <fcntl.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>

#define NS_PER_S INT64_C(1000000000)

bool strangers_possible(int tree_fd, int64_t started_ns)
{
    struct statx st;
    if (geteuid() != 0)
        return false; /* there is no passthrough for him, and he may not ask about files of others */
    if (statx(tree_fd, "", AT_EMPTY_PATH, STATX_BTIME, &st) < 0 || !(st.stx_mask & STATX_BTIME))
        return true;
    return (int64_t)st.stx_btime.tv_sec * NS_PER_S + st.stx_btime.tv_nsec < started_ns;
}

/* The kernel gives a read lease only where nobody can write (fcntl(2)). A file system without leases: it
 * cannot be told, and has no passthrough either. */
static bool is_written(const char *path)
{
    OWNED_FD fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
        return errno == EAGAIN;
    (void)fcntl(fd, F_SETLEASE, F_UNLCK);
    return false;
}

int stranger_find(int tree_fd, char *path, size_t path_bytes)
{
    char top[64];
    snprintf(top, sizeof(top), "/proc/self/fd/%d/.", tree_fd);
    char *const paths[] = {top, NULL};
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    int found = 0;
    if (!walk)
        return -errno;
    for (const FTSENT *entry = fts_read(walk); entry && !found; entry = fts_read(walk))
        if (entry->fts_info == FTS_F && is_written(entry->fts_accpath)) {
            snprintf(path, path_bytes, "%s", entry->fts_path + strlen(top) + 1);
            found = 1;
        }
    (void)fts_close(walk);
    return found;
}
