#include "rights.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>

#include "base/fdio.h"

static int write_line(const char *path, const char *line)
{
    OWNED_FD fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd_write(fd, line, strlen(line));
}

/* "inside outside 1": the user and his group are root inside, and nobody else is anybody. */
static int map_to_root(const char *path, unsigned outside)
{
    char line[64];
    snprintf(line, sizeof(line), "0 %u 1", outside);
    return write_line(path, line);
}

int rights_take(struct err *err)
{
    unsigned uid = geteuid(), gid = getegid();
    if (uid == 0)
        return 0;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return err_sys(err, errno,
                       "it must run as root, or where users may have namespaces (user_namespaces(7)): it "
                       "mounts overlays and starts containers");
    int r = write_line("/proc/self/setgroups", "deny");
    if (r == 0)
        r = map_to_root("/proc/self/uid_map", uid);
    if (r == 0)
        r = map_to_root("/proc/self/gid_map", gid);
    if (r == 0 && mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
        r = -errno;
    return r < 0 ? err_sys(err, -r, "cannot become root of a namespace") : 0;
}

/* The first namespace's map is the whole range of ids onto itself. */
bool rights_are_roots(void)
{
    static int known; /* 0: not yet, 1: they are, -1 */
    unsigned inside = 1, outside = 1, count = 0;
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (answer == 0) {
        OWNED_FILE map = fopen("/proc/self/uid_map", "re");
        bool read = map && fscanf(map, "%u %u %u", &inside, &outside, &count) == 3;
        answer = !read || (inside == 0 && outside == 0 && count == UINT32_MAX) ? 1 : -1;
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer > 0;
}
