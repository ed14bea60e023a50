/*
 * Finding a file below /snapshots by its inode number alone: what an NFS client's handle leads to after a
 * restart. Opening by number finds any file of the file system, so it counts only once its snapshot is known:
 * a forged handle opens nothing else.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/fdio.h"
#include "snap.h"

enum { DEPTH_MAX = 100000 };

/* The name in /snapshots of a top directory. */
static int top_name(const struct fs *fs, uint64_t inode, char out[NAME_MAX_BYTES + 1])
{
    OWNED_DIR dir = NULL;
    int r = dir_list(fs->backing.fd, &dir);
    if (r < 0)
        return r;
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (entry->d_ino == inode && name_is_valid(entry->d_name, strlen(entry->d_name))) {
            snprintf(out, NAME_MAX_BYTES + 1, "%s", entry->d_name);
            return 0;
        }
    }
    return -ESTALE;
}

/* The top directory above a directory: up to where /snapshots is the parent. */
static int top_above(const struct fs *fs, int dir_fd, uint64_t *top_inode)
{
    struct stat st, up;
    OWNED_FD at = openat(dir_fd, ".", O_PATH | O_CLOEXEC);
    if (at < 0 || fstat(at, &st) < 0)
        return -ESTALE;
    for (int i = 0; i < DEPTH_MAX; i++) {
        int parent = openat(at, "..", O_PATH | O_CLOEXEC);
        if (parent < 0)
            return -ESTALE;
        close(at);
        at = parent;
        if (fstat(at, &up) < 0 || up.st_dev != fs->backing.dev || up.st_ino == st.st_ino)
            return -ESTALE;
        if (up.st_ino == fs->backing.inode) {
            *top_inode = st.st_ino;
            return 0;
        }
        st = up;
    }
    return -ESTALE;
}

static ssize_t path_of(int fd, char *out, size_t room)
{
    char proc[PROC_PATH_BYTES];
    proc_path(proc, fd);
    ssize_t n = readlink(proc, out, room - 1);
    if (n < 0)
        return -errno;
    out[n] = 0;
    return n;
}

/* By the path that the kernel still knows, if it does and the path leads there now. */
static int top_by_path(const struct fs *fs, int fd, uint64_t inode, uint64_t *top_inode)
{
    char base[PATH_MAX], path[PATH_MAX];
    ssize_t base_bytes = path_of(fs->backing.fd, base, sizeof(base));
    if (base_bytes <= 0 || path_of(fd, path, sizeof(path)) <= base_bytes ||
        strncmp(base, path, (size_t)base_bytes) != 0 || path[base_bytes] != '/')
        return -ESTALE;
    char *below = path + base_bytes + 1;
    struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    OWNED_FD again = (int)syscall(SYS_openat2, fs->backing.fd, below, &how, sizeof(how));
    struct stat st;
    if (again < 0 || fstat(again, &st) < 0 || st.st_ino != inode)
        return -ESTALE;
    char *slash = strchr(below, '/');
    if (!slash)
        return -ESTALE;
    *slash = 0;
    if (fstatat(fs->backing.fd, below, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -ESTALE;
    *top_inode = st.st_ino;
    return 0;
}

/* The directories of a search that are still to be read, by handle: so depth and open files do not matter. */
struct todo {
    struct handle *handles;
    size_t count, room;
};

static int todo_add(struct todo *todo, const struct fs *fs, int dir_fd, const char *name)
{
    OWNED_FD fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0; /* gone meanwhile, or no directory */
    if (todo->count == todo->room) {
        size_t room = todo->room ? todo->room * 2 : 64;
        struct handle *handles = realloc(todo->handles, room * sizeof(*handles));
        if (!handles)
            return -ENOMEM;
        todo->handles = handles;
        todo->room = room;
    }
    handle_of(&fs->backing, fd, &todo->handles[todo->count]);
    if (todo->handles[todo->count].len_bytes)
        todo->count++;
    return 0;
}

/* 1: the inode has a name in this directory; 0: no, and its directories are noted. */
static int search_dir(struct todo *todo, const struct fs *fs, int fd, uint64_t inode)
{
    OWNED_DIR dir = NULL;
    if (dir_list(fd, &dir) < 0)
        return 0;
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (entry->d_ino == inode)
            return 1;
        if ((entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN) && strcmp(entry->d_name, ".") != 0 &&
            strcmp(entry->d_name, "..") != 0) {
            int r = todo_add(todo, fs, dirfd(dir), entry->d_name);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int search_top(const struct fs *fs, const char *name, uint64_t inode)
{
    struct todo todo = {0};
    int r = todo_add(&todo, fs, fs->backing.fd, name);
    while (r == 0 && todo.count > 0) {
        struct handle next = todo.handles[--todo.count];
        OWNED_FD fd = backing_open_handle(&fs->backing, &next, O_PATH | O_CLOEXEC);
        if (fd >= 0)
            r = search_dir(&todo, fs, fd, inode);
    }
    free(todo.handles);
    return r;
}

static int top_by_search(const struct fs *fs, uint64_t inode, uint64_t *top_inode)
{
    OWNED_DIR dir = NULL;
    if (dir_list(fs->backing.fd, &dir) < 0)
        return -ESTALE;
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (!name_is_valid(entry->d_name, strlen(entry->d_name)))
            continue;
        int r = search_top(fs, entry->d_name, inode);
        if (r < 0)
            return r;
        if (r > 0) {
            *top_inode = entry->d_ino;
            return 0;
        }
    }
    return -ESTALE;
}

int locate(struct fs *fs, uint64_t inode, struct node **out)
{
    struct node *known = node_get(fs->nodes, inode);
    if (known) {
        *out = known;
        return 0;
    }
    HOLD_LOCK(&fs->locate_lock);
    OWNED_FD fd = backing_open_inode(&fs->backing, inode);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_nlink == 0)
        return -ESTALE;
    uint64_t top_inode = 0;
    int r;
    if (S_ISDIR(st.st_mode)) {
        r = top_above(fs, fd, &top_inode);
    } else {
        r = top_by_path(fs, fd, inode, &top_inode);
        if (r < 0)
            r = top_by_search(fs, inode, &top_inode);
    }
    char name[NAME_MAX_BYTES + 1];
    if (r == 0)
        r = top_name(fs, top_inode, name);
    if (r < 0)
        return r;
    OWNED_TOP struct top *top = top_get(fs->tops, name, top_inode);
    if (!top)
        return -ENOMEM;
    return node_learn(fs->nodes, steal_fd(&fd), inode, top, out);
}
