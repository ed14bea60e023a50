/*
 * Looking at entries and reading directories: the walk over the tree. Directories wait on a stack of their
 * own, so that depth costs no C stack.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>

#include "capture_parts.h"

#define FILES_UNDER_WAY 256
#define ONE_BLOCK_BYTES 4096 /* at most: what is no longer than a block has no hole in it */

static bool same_time(const struct capture_node *n, const struct statx *st)
{
    return n->mtime_s == st->stx_mtime.tv_sec && n->mtime_ns == st->stx_mtime.tv_nsec &&
           n->ctime_ns == (int64_t)((uint64_t)st->stx_ctime.tv_sec * 1000000000u + st->stx_ctime.tv_nsec);
}

/* An inode number may have been given anew since: what has the times and the size of before is the same. */
static bool is_unchanged(const struct capture_node *n, const struct statx *st)
{
    if (n->forced || n->mode != st->stx_mode || !same_time(n, st))
        return false;
    return S_ISDIR(n->mode) || S_ISCHR(n->mode) || S_ISBLK(n->mode) || n->size_bytes == st->stx_size;
}

int capture_queue(struct blob_capture *c, uint32_t node)
{
    if (c->nodes[node].queued)
        return 0;
    c->nodes[node].queued = 1;
    return capture_list_add(&c->stack, node);
}

static void keep_pieces(struct blob_capture *c, struct capture_job *job, struct err *err)
{
    struct capture_node *n = &c->nodes[job->node];
    struct capture_extent *extents = NULL;
    bool whole = job->count == 1 && job->pieces[0].offset_bytes == 0;
    if (job->count > 0 && !whole && !(extents = calloc(job->count, sizeof(*extents)))) {
        capture_no_memory(err);
        return;
    }
    int64_t chunk = 0;
    for (uint32_t i = 0; i < job->count; i++) {
        chunk = image_chunks_add(&c->chunks, &job->pieces[i].chunk);
        if (chunk < 0) {
            free(extents);
            capture_no_memory(err);
            return;
        }
        if (extents)
            extents[i] = (struct capture_extent){.offset_bytes = job->pieces[i].offset_bytes,
                                                 .chunk = (uint32_t)chunk};
    }
    n->count = job->count;
    n->whole = whole;
    if (whole)
        n->has.chunk = (uint32_t)chunk;
    else
        n->has.extents = extents;
}

int capture_collect(struct blob_capture *c, unsigned most, struct err *err)
{
    struct err failed = {0};
    struct capture_job *job = capture_pool_take(&c->pool, most);
    while (job) {
        struct capture_job *next = job->next;
        c->new_chunks += job->new_chunks;
        c->new_raw_bytes += job->new_raw_bytes;
        c->new_stored_bytes += job->new_stored_bytes;
        bool wanted = c->nodes[job->node].turn == job->turn;
        /* Whoever goes on with this capture reads it again. */
        if (job->err.code && wanted && capture_pend(c, c->nodes[job->node].key) < 0)
            capture_no_memory(&failed);
        if (job->err.code && !failed.code) {
            failed = job->err;
            char path[CAPTURE_PATH_BYTES];
            capture_path(c, job->node, NULL, path);
            if (failed.code != ECANCELED)
                err_prefix(&failed, "%s cannot be captured", path);
        } else if (!job->err.code && wanted) {
            keep_pieces(c, job, &failed);
        }
        capture_job_free(job);
        job = next;
    }
    if (failed.code && err)
        *err = failed;
    return -failed.code;
}

/* Takes `fd` over. */
static int read_content(struct blob_capture *c, uint32_t node, int fd, const struct statx *st,
                        struct err *err)
{
    struct capture_job *job = calloc(1, sizeof(*job));
    if (!job) {
        close(fd);
        return capture_no_memory(err);
    }
    job->fd = fd;
    job->node = node;
    job->turn = c->nodes[node].turn;
    job->size_bytes = c->nodes[node].size_bytes;
    /* Half of all files are that small; asking about holes costs as much as reading them. */
    job->no_holes = st->stx_blocks > 0 && st->stx_size <= st->stx_blksize && st->stx_size <= ONE_BLOCK_BYTES;
    capture_pool_give(&c->pool, job);
    return capture_collect(c, FILES_UNDER_WAY, err);
}

static int read_target(struct blob_capture *c, uint32_t node, int fd, uint32_t dir, const char *name,
                       struct err *err)
{
    char target[PATH_MAX];
    ssize_t len = readlinkat(fd, "", target, sizeof(target) - 1);
    if (len < 0)
        return capture_fault(c, errno, dir, name, "reading its target failed", err);
    char *copy = strndup(target, (size_t)len);
    if (!copy)
        return capture_no_memory(err);
    c->nodes[node].has.target = copy;
    c->nodes[node].size_bytes = (uint64_t)len; /* some file systems say 0 */
    return 0;
}

static int64_t node_of(struct blob_capture *c, const struct statx *st, struct err *err)
{
    uint64_t key = capture_key(c, st);
    uint32_t node = capture_find(c, key);
    if (node != CAPTURE_NONE)
        return node;
    int64_t added = capture_add(c, key);
    return added < 0 ? capture_no_memory(err) : added;
}

static int64_t look_at_directory(struct blob_capture *c, const struct statx *st, struct err *err)
{
    int64_t node = node_of(c, st, err);
    if (node < 0)
        return node;
    if (!S_ISDIR(c->nodes[node].mode)) {
        if (capture_empty(c, (uint32_t)node) < 0)
            return capture_no_memory(err);
        c->nodes[node].mode = S_IFDIR;
    }
    return capture_queue(c, (uint32_t)node) < 0 ? capture_no_memory(err) : node;
}

/* What `fd` (owned by the caller) is: its node. The fd is taken over, and *fd set to -1, when it is read. */
static int64_t look_at_file(struct blob_capture *c, uint32_t dir, const char *name, int *fd, bool is_path,
                            const struct statx *st, struct err *err)
{
    int64_t node = node_of(c, st, err);
    if (node < 0)
        return node;
    uint32_t n = (uint32_t)node;
    if (capture_empty(c, n) < 0)
        return capture_no_memory(err);
    c->nodes[n].mode = 0; /* nothing, until all is known */
    int r = capture_attributes(c, n, *fd, is_path, st, dir, name, err);
    if (r < 0)
        return r;
    c->nodes[n].forced = 0;
    if (S_ISLNK(st->stx_mode))
        r = read_target(c, n, *fd, dir, name, err);
    else if (S_ISREG(st->stx_mode) && st->stx_size > 0)
        r = read_content(c, n, steal_fd(fd), st, err);
    return r < 0 ? r : node;
}

/* The flags to open a file of that type with; a fifo or device that took its place does not hold us up. */
static uint64_t flags_for(uint32_t mode)
{
    if (S_ISREG(mode))
        return O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_NOATIME;
    return O_PATH | O_NOFOLLOW;
}

int64_t capture_look(struct blob_capture *c, uint32_t dir, int dirfd, const char *name, struct err *err)
{
    for (int again = 0; again < 100; again++) {
        struct statx st, opened;
        int r = capture_statx(dirfd, name, &st);
        if (r == -ENOENT)
            return CAPTURE_NONE;
        if (r < 0)
            return capture_fault(c, -r, dir, name, "stat failed", err);
        if (st.stx_attributes & STATX_ATTR_MOUNT_ROOT)
            return capture_fault(c, EXDEV, dir, name, "a mount lies there (unmount it)", err);
        uint32_t known = capture_find(c, capture_key(c, &st));
        if (known != CAPTURE_NONE && is_unchanged(&c->nodes[known], &st))
            return known;
        if (S_ISDIR(st.stx_mode))
            return look_at_directory(c, &st, err);

        OWNED_FD fd = capture_openat(dirfd, name, flags_for(st.stx_mode));
        if (fd == -ENOENT || fd == -ELOOP || fd == -ENXIO)
            continue; /* another took its place: look what it is */
        if (fd < 0)
            return capture_fault(c, -fd, dir, name, "opening failed", err);
        r = capture_statx(fd, "", &opened);
        if (r < 0)
            return capture_fault(c, -r, dir, name, "stat failed", err);
        if ((st.stx_mode & S_IFMT) != (opened.stx_mode & S_IFMT))
            continue;
        return look_at_file(c, dir, name, &fd, !S_ISREG(st.stx_mode), &opened, err);
    }
    return capture_fault(c, EIO, dir, name, "it is replaced all the time", err);
}

/* The names in a directory, NUL-terminated one behind the other; getdents64(2). */
static int list_names(struct blob_capture *c, uint32_t node, int fd, struct buf *names, uint32_t *count,
                      struct err *err)
{
    if (lseek(fd, 0, SEEK_SET) < 0)
        return capture_fault(c, errno, node, NULL, "reading the directory failed", err);
    for (;;) {
        ssize_t len = getdents64(fd, c->list_space, CAPTURE_LIST_BYTES);
        if (len < 0 && errno == ENOENT)
            return 0; /* removed */
        if (len < 0)
            return capture_fault(c, errno, node, NULL, "reading the directory failed", err);
        if (len == 0)
            return names->error ? capture_no_memory(err) : 0;
        for (ssize_t at = 0; at < len;) {
            const struct dirent64 *entry = (const struct dirent64 *)(const void *)(c->list_space + at);
            at += entry->d_reclen;
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            buf_put(names, entry->d_name, strlen(entry->d_name) + 1);
            (*count)++;
        }
        if (names->len_bytes > BLOB_IMAGE_MAX_BYTES)
            return capture_fault(c, EFBIG, node, NULL, "it has too many entries", err);
    }
}

static int by_name(const void *a, const void *b, void *names)
{
    return strcmp((const char *)names + *(const uint32_t *)a, (const char *)names + *(const uint32_t *)b);
}

/* The places of the names, sorted, each name once (a listing during changes may show one twice). */
static uint32_t *sort_names(const struct buf *names, uint32_t *count)
{
    uint32_t *sorted = malloc((*count + 1) * sizeof(*sorted));
    if (!sorted)
        return NULL;
    const char *text = (const char *)names->bytes;
    uint32_t at = 0, kept = 0;
    for (uint32_t i = 0; i < *count; i++) {
        sorted[i] = at;
        at += (uint32_t)strlen(text + at) + 1;
    }
    qsort_r(sorted, *count, sizeof(*sorted), by_name, names->bytes);
    for (uint32_t i = 0; i < *count; i++)
        if (kept == 0 || strcmp(text + sorted[kept - 1], text + sorted[i]) != 0)
            sorted[kept++] = sorted[i];
    *count = kept;
    return sorted;
}

/* Room for `count` entries and all of the names. */
static struct capture_dir *make_dir(const struct buf *names, uint32_t count)
{
    struct capture_dir *dir =
        malloc(sizeof(*dir) + count * sizeof(struct capture_entry) + names->len_bytes + 1);
    if (dir)
        dir->count = 0;
    return dir;
}

/* Looks at every name and keeps those that are there. */
static int look_at_names(struct blob_capture *c, uint32_t node, int fd, const struct buf *names,
                         const uint32_t *sorted, uint32_t count, struct capture_dir *dir, struct err *err)
{
    const char *text = (const char *)names->bytes;
    for (uint32_t i = 0; i < count; i++) {
        if (atomic_load(&c->cancelled))
            return err_set(err, ECANCELED, "The capture was cancelled.");
        int64_t child = capture_look(c, node, fd, text + sorted[i], err);
        if (child < 0)
            return (int)child;
        if (child == CAPTURE_NONE)
            continue;
        dir->list[dir->count++] = (struct capture_entry){.node = (uint32_t)child, .name_at = sorted[i]};
    }
    /* Only now is it known where the entries end and the names begin. */
    char *to = (char *)(dir->list + dir->count);
    uint32_t at = 0;
    for (uint32_t i = 0; text && i < dir->count; i++) {
        const char *name = text + dir->list[i].name_at;
        size_t len = strlen(name) + 1;
        memcpy(to + at, name, len);
        dir->list[i].name_at = at;
        at += (uint32_t)len;
    }
    return 0;
}

static int read_entries(struct blob_capture *c, uint32_t node, int fd, struct err *err)
{
    OWNED_BUF struct buf names = BUF_EMPTY;
    uint32_t count = 0;
    int r = list_names(c, node, fd, &names, &count, err);
    if (r < 0)
        return r;
    OWNED uint32_t *sorted = sort_names(&names, &count);
    struct capture_dir *dir = sorted ? make_dir(&names, count) : NULL;
    if (!dir)
        return capture_no_memory(err);
    r = look_at_names(c, node, fd, &names, sorted, count, dir, err);
    if (r < 0) {
        /* Nothing names what was found here first, unless the directory is read again. */
        for (uint32_t i = 0; i < dir->count; i++)
            if (c->nodes[dir->list[i].node].refs == 0 && capture_list_add(&c->orphans, dir->list[i].node) < 0)
                break; /* they are forgotten with the capture */
        free(dir);
        return r;
    }
    return capture_set_dir(c, node, dir) < 0 ? capture_no_memory(err) : 0;
}

/* 1 when it was read, 0 when it is not where the model has it: then it is looked for in the next rescan. */
static int read_directory(struct blob_capture *c, uint32_t node, struct err *err)
{
    int fd = capture_open_dir(c, node, err);
    if (fd == -ENOENT)
        return capture_pend(c, c->nodes[node].key) < 0 ? capture_no_memory(err) : 0;
    if (fd < 0)
        return fd;
    struct statx st;
    int r = capture_statx(fd, "", &st);
    if (r < 0)
        return capture_fault(c, -r, node, NULL, "stat failed", err);
    r = capture_attributes(c, node, fd, false, &st, node, NULL, err);
    if (r == 0)
        r = read_entries(c, node, fd, err);
    if (r < 0)
        return r;
    c->nodes[node].forced = 0;
    return 1;
}

int64_t capture_read_dirs(struct blob_capture *c, struct err *err)
{
    int64_t count = 0;
    while (c->stack.count > 0) {
        uint32_t node = c->stack.list[--c->stack.count];
        c->nodes[node].queued = 0;
        if (!c->nodes[node].live || !S_ISDIR(c->nodes[node].mode))
            continue;
        int r = atomic_load(&c->cancelled) ? err_set(err, ECANCELED, "The capture was cancelled.")
                                           : read_directory(c, node, err);
        if (r < 0) /* whoever goes on with this capture reads it */
            return capture_queue(c, node) < 0 ? capture_no_memory(err) : r;
        count += r;
    }
    return count;
}
