#include "images_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include "base/fdio.h"
#include "base/log.h"

int open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .mode = flags & O_CREAT ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    for (;;) {
        long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
        if (fd >= 0)
            return (int)fd;
        if (errno != EAGAIN && errno != EINTR) /* EAGAIN: a rename elsewhere disturbed the walk */
            return -errno;
    }
}

uint64_t images_number_parse(const char *text)
{
    uint64_t number = 0;
    if (*text < '1' || *text > '9')
        return 0;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return 0;
        unsigned digit = (unsigned)(*text - '0');
        if (number > (UINT64_MAX - digit) / 10)
            return 0;
        number = number * 10 + digit;
    }
    return number;
}

uint64_t images_disk_base(int dirfd, const char *folder)
{
    char path[64];
    OWNED_BUF struct buf base = BUF_EMPTY;
    snprintf(path, sizeof(path), "%s/base", folder);
    if (file_read(dirfd, path, 64, &base) < 0)
        return 0;
    buf_put_u8(&base, 0);
    if (base.error)
        return 0;
    base.bytes[strcspn((char *)base.bytes, "\n")] = 0;
    return images_number_parse((char *)base.bytes);
}

static void look(int parent, const char *name, struct images_found *found)
{
    char path[64];
    struct stat st;
    snprintf(path, sizeof(path), "%s/image", name);
    if (fstatat(parent, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        found->used_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    snprintf(path, sizeof(path), "%s/foreign", name);
    found->foreign = fstatat(parent, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    found->base = images_disk_base(parent, name);
}

int images_disk_walk(int dirfd, const char *name, images_visit visit, void *arg)
{
    OWNED_FD fd = open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    OWNED_DIR dir = NULL;
    int listed = dir_list(fd, &dir);
    if (listed < 0)
        return listed;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry)
            return -errno;
        struct images_found found = {.number = images_number_parse(entry->d_name)};
        if (!found.number)
            continue;
        look(fd, entry->d_name, &found);
        int r = visit(arg, fd, &found);
        if (r < 0)
            return r;
    }
}

int images_disk_discard(int dirfd, const char *from, uint64_t number)
{
    char path[64], to[64];
    snprintf(path, sizeof(path), "%s/%" PRIu64, from, number);
    for (unsigned k = 0;; k++) {
        snprintf(to, sizeof(to), "trash/%" PRIu64 "-%u", number, k);
        struct stat st;
        if (fstatat(dirfd, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
            continue;
        if (renameat(dirfd, path, dirfd, to) == 0 || errno == ENOENT)
            return 0;
        if (errno != EEXIST && errno != ENOTEMPTY)
            return -errno;
    }
}

/* tree_remove, which moves what is deep to the top of what it removes under names of its own: after a crash
 * in it these are in its way, so they are removed first. */
static int remove_again(int dirfd, const char *name)
{
    int r = tree_remove(dirfd, name);
    if (r != -ENOTEMPTY && r != -EEXIST)
        return r;
    OWNED_FD top = open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    if (top < 0)
        return top;
    OWNED_DIR dir = NULL;
    r = dir_list(top, &dir);
    if (r < 0)
        return r;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int one = tree_remove(top, entry->d_name);
        if (one < 0)
            return one;
    }
    return tree_remove(dirfd, name);
}

int images_disk_empty_trash(int dirfd, const bool *stop)
{
    OWNED_FD fd = open_beneath(dirfd, "trash", O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    OWNED_DIR dir = NULL;
    int listed = dir_list(fd, &dir);
    if (listed < 0)
        return listed;
    int result = 0;
    for (const struct dirent *entry; !__atomic_load_n(stop, __ATOMIC_RELAXED) && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int r = remove_again(fd, entry->d_name);
        if (r < 0) {
            log_warn("cannot delete trash/%s below the agent's directory: %s", entry->d_name, strerror(-r));
            result = r;
        }
    }
    return result;
}

uint64_t images_disk_free_bytes(int dirfd)
{
    struct statvfs vfs;
    if (fstatvfs(dirfd, &vfs) < 0)
        return UINT64_MAX;
    return (uint64_t)vfs.f_bavail * vfs.f_frsize;
}
