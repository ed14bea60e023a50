#include "capture_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/fdio.h"
#include "random.h"

int bench_setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    if (!b)
        return -1;
    const char *tmp = getenv("TMPDIR");
    snprintf(b->path, sizeof(b->path), "%s/bladefs-capture-XXXXXX", tmp ? tmp : "/tmp");
    struct err err = {0};
    if (!mkdtemp(b->path) || (b->dir = open(b->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
        mkdirat(b->dir, "tree", 0755) < 0 || mkdirat(b->dir, "store", 0755) < 0)
        return -1;
    b->tree = openat(b->dir, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int store = openat(b->dir, "store", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (blob_store_open(store, 1, &b->store, &err) < 0) {
        print_error("%s\n", err.message);
        return -1;
    }
    *state = b;
    return 0;
}

int bench_teardown(void **state)
{
    struct bench *b = *state;
    blob_store_close(b->store);
    close(b->tree);
    close(b->dir);
    int r = tree_remove(AT_FDCWD, b->path);
    free(b);
    return r;
}

struct blob_image *bench_finish(struct bench *b, struct blob_capture *c, struct blob_capture_result *result)
{
    struct err err = {0};
    struct blob_capture_result own;
    if (blob_capture_finish(c, result ? result : &own, &err) < 0)
        fail_msg("finish: %s", err.message);
    struct buf bytes = BUF_EMPTY;
    struct blob_image *image = NULL;
    if (blob_object_load(b->store, result ? &result->image : &own.image, BLOB_IMAGE_MAX_BYTES, &bytes, &err) <
            0 ||
        blob_image_parse(&bytes, &image, &err) < 0)
        fail_msg("load: %s", err.message);
    return image;
}

struct blob_image *bench_capture(struct bench *b, int tree, unsigned threads,
                                 struct blob_capture_result *result)
{
    struct blob_capture_options options = {.threads = threads, .level = 1};
    struct blob_capture *c = NULL;
    struct err err = {0};
    if (blob_capture_new(b->store, tree, &options, &c, &err) < 0 || blob_capture_scan(c, &err) < 0)
        fail_msg("capture: %s", err.message);
    struct blob_image *image = bench_finish(b, c, result);
    blob_capture_free(c);
    return image;
}

/* ---- comparing ---- */

struct compare {
    struct bench *b;
    const struct blob_image *image;
    uint64_t *inodes; /* of the tree's file, for each inode of the image */
    char path[PATH_MAX];
    char proc_path[PATH_MAX], target[PATH_MAX]; /* these are too large for a stack of directories */
    char names[65536];
    uint8_t value[65536];
};

static void differ(const struct compare *c, const char *what)
{
    fail_msg("%s: %s differs", c->path, what);
}

static void compare_content(struct compare *c, int fd, const struct blob_inode *in)
{
    OWNED uint8_t *want = malloc(BLOB_CHUNK_MAX_BYTES);
    OWNED uint8_t *got = malloc(BLOB_CHUNK_MAX_BYTES);
    assert_true(want && got);
    struct err err = {0};
    off_t at = 0; /* up to here the image and the file agree about data and holes */
    for (uint32_t i = 0; i < in->extents; i++) {
        struct blob_extent extent;
        struct blob_chunk chunk;
        blob_image_extent(c->image, in->extents_first + i, &extent);
        blob_image_chunk(c->image, extent.chunk, &chunk);
        if (lseek(fd, at, SEEK_DATA) != (off_t)extent.offset_bytes)
            differ(c, "where data begins");
        off_t end = (off_t)(extent.offset_bytes + chunk.raw_bytes);
        if (lseek(fd, (off_t)extent.offset_bytes, SEEK_HOLE) < end)
            differ(c, "where data ends");
        if (blob_store_get(c->b->store, &chunk.id, got, chunk.raw_bytes, &err) < 0)
            fail_msg("%s: %s", c->path, err.message);
        if (fd_read_at(fd, want, chunk.raw_bytes, extent.offset_bytes) != (ssize_t)chunk.raw_bytes ||
            memcmp(want, got, chunk.raw_bytes) != 0)
            differ(c, "content");
        if (blob_check_of(got, chunk.raw_bytes) != chunk.check)
            differ(c, "the chunk's check value");
        at = end;
    }
    if (in->size_bytes > (uint64_t)at && lseek(fd, at, SEEK_DATA) >= 0)
        differ(c, "the hole at the end");
}

static void compare_xattrs(struct compare *c, int dirfd, const char *name, const struct blob_inode *in)
{
    const char *path = c->proc_path, *names = c->names;
    snprintf(c->proc_path, sizeof(c->proc_path), "/proc/self/fd/%d/%s", dirfd, name);
    ssize_t bytes = llistxattr(path, c->names, sizeof(c->names));
    if (bytes < 0)
        bytes = 0;
    uint32_t count = 0;
    for (ssize_t at = 0; at < bytes; at += (ssize_t)strlen(names + at) + 1, count++) {
        struct blob_xattr x;
        bool found = false;
        for (uint32_t k = 0; !found && blob_image_xattr(c->image, in->xattr_set, k, &x); k++)
            found = x.name_bytes == strlen(names + at) && memcmp(x.name, names + at, x.name_bytes) == 0;
        ssize_t len = lgetxattr(path, names + at, c->value, sizeof(c->value));
        if (!found || len != (ssize_t)x.value_bytes || memcmp(c->value, x.value, (size_t)len) != 0)
            differ(c, names + at);
    }
    struct blob_xattr more;
    if (blob_image_xattr(c->image, in->xattr_set, count, &more))
        differ(c, "the number of xattrs");
}

static void compare_one(struct compare *c, int dirfd, const char *name, uint32_t inode);

static void compare_directory(struct compare *c, int fd, uint32_t inode, const struct blob_inode *in)
{
    OWNED_DIR dir = fdopendir(dup(fd));
    assert_non_null(dir);
    rewinddir(dir);
    uint32_t count = 0;
    for (const struct dirent *e; (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        size_t len = strlen(c->path);
        snprintf(c->path + len, sizeof(c->path) - len, "/%s", e->d_name);
        uint32_t child = blob_image_find(c->image, inode, e->d_name, strlen(e->d_name));
        if (child == BLOB_NO_INODE)
            differ(c, "existence");
        compare_one(c, fd, e->d_name, child);
        c->path[len] = '\0';
        count++;
    }
    if (count != in->entries)
        differ(c, "the number of entries");
}

static void compare_one(struct compare *c, int dirfd, const char *name, uint32_t inode)
{
    struct stat st;
    struct blob_inode in;
    assert_int_equal(fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    blob_image_inode(c->image, inode, &in);
    if (in.mode != st.st_mode)
        differ(c, "mode");
    if (in.uid != st.st_uid || in.gid != st.st_gid)
        differ(c, "owner");
    if (in.mtime_s != st.st_mtim.tv_sec || in.mtime_ns != st.st_mtim.tv_nsec)
        differ(c, "mtime");
    if (!S_ISDIR(st.st_mode) && in.nlink != st.st_nlink)
        differ(c, "number of links");
    if (c->inodes[inode] != 0 && c->inodes[inode] != st.st_ino)
        differ(c, "link structure");
    c->inodes[inode] = st.st_ino;
    compare_xattrs(c, dirfd, name, &in);

    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
        if (in.rdev_major != major(st.st_rdev) || in.rdev_minor != minor(st.st_rdev))
            differ(c, "device number");
    } else if (S_ISLNK(st.st_mode)) {
        ssize_t len = readlinkat(dirfd, name, c->target, sizeof(c->target));
        if (len != (ssize_t)in.size_bytes || memcmp(c->target, in.target, (size_t)len) != 0)
            differ(c, "target");
    } else if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
        if (S_ISREG(st.st_mode) && in.size_bytes != (uint64_t)st.st_size)
            differ(c, "size");
        OWNED_FD fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        assert_true(fd >= 0);
        if (S_ISREG(st.st_mode))
            compare_content(c, fd, &in);
        else
            compare_directory(c, fd, inode, &in);
    }
}

void bench_compare(struct bench *b, const struct blob_image *image, int tree)
{
    struct compare *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    c->b = b;
    c->image = image;
    c->inodes = calloc(blob_image_inodes(image), sizeof(uint64_t));
    assert_non_null(c->inodes);
    compare_one(c, tree, ".", 0);
    free(c->inodes);
    free(c);
}

/* ---- making trees ---- */

void put_file(int tree, const char *path, const void *bytes, size_t len_bytes)
{
    OWNED_FD fd = openat(tree, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        fail_msg("%s: %s", path, strerror(errno));
    assert_int_equal(fd_write(fd, bytes, len_bytes), 0);
}

void put_text(int tree, const char *path, const char *text)
{
    put_file(tree, path, text, strlen(text));
}

void put_random(int tree, const char *path, uint64_t seed, uint64_t offset_bytes, size_t len_bytes)
{
    OWNED uint8_t *bytes = malloc(len_bytes);
    assert_non_null(bytes);
    random_fill(seed, bytes, len_bytes);
    OWNED_FD fd = openat(tree, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_at(fd, bytes, len_bytes, offset_bytes), 0);
}

uint64_t inode_of(int tree, const char *path)
{
    struct stat st;
    assert_int_equal(fstatat(tree, path, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st.st_ino;
}

void set_xattr(int tree, const char *path, const char *name, const void *value, size_t len_bytes)
{
    char proc_path[PATH_MAX];
    snprintf(proc_path, sizeof(proc_path), "/proc/self/fd/%d/%s", tree, path);
    if (lsetxattr(proc_path, name, value, len_bytes, 0) < 0)
        fail_msg("%s %s: %s", path, name, strerror(errno));
}
