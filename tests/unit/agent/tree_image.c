#include "tree_image.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

/* cmocka wants these before it */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/fdio.h"
#include "blob/cut.h"

struct maker {
    struct tree_image *t;
    struct blob_image_builder *b;
    struct {
        ino_t ino;
        uint32_t inode;
    } linked[256];
    size_t linked_count;
};

static const struct blob_secret secret; /* zeros: these ids leave no test */

static void keep(struct tree_image *t, const struct blob_id *id, const void *bytes, size_t len)
{
    for (size_t i = 0; i < t->count; i++)
        if (blob_id_compare(&t->ids[i], id) == 0)
            return;
    if (t->count == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->ids = realloc(t->ids, t->cap * sizeof(*t->ids));
        t->contents = realloc(t->contents, t->cap * sizeof(*t->contents));
        assert_non_null(t->ids);
        assert_non_null(t->contents);
    }
    t->ids[t->count] = *id;
    t->contents[t->count] = BUF_EMPTY;
    buf_put(&t->contents[t->count++], bytes, len);
}

static void add_content(struct maker *m, uint32_t inode, int fd, off_t size)
{
    for (off_t at = 0; at < size;) {
        off_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0)
            return;
        off_t hole = lseek(fd, data, SEEK_HOLE);
        for (at = data; at < hole;) {
            static uint8_t raw[BLOB_CHUNK_MAX_BYTES];
            size_t want = (size_t)(hole - at) < sizeof(raw) ? (size_t)(hole - at) : sizeof(raw);
            assert_int_equal(fd_read_at(fd, raw, want, (uint64_t)at), want);
            size_t len = blob_cut(raw, want);
            struct blob_chunk chunk = {.id = blob_id_of(&secret, raw, len),
                                       .raw_bytes = (uint32_t)len,
                                       .check = blob_check_of(raw, len)};
            keep(m->t, &chunk.id, raw, len);
            assert_int_equal(blob_image_add_extent(m->b, inode, (uint64_t)at, &chunk), 0);
            at += (off_t)len;
        }
    }
}

static void add_xattrs(struct maker *m, uint32_t inode, const char *path)
{
    char names[4096], value[4096];
    ssize_t len = llistxattr(path, names, sizeof(names));
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
        ssize_t n = lgetxattr(path, names + at, value, sizeof(value));
        assert_true(n >= 0);
        assert_int_equal(blob_image_add_xattr(m->b, inode, names + at, value, (size_t)n), 0);
    }
}

static uint32_t add_inode(struct maker *m, int dirfd, const char *name, const struct stat *st)
{
    char target[4096], path[512];
    struct blob_inode in = {.mode = st->st_mode,
                            .uid = st->st_uid,
                            .gid = st->st_gid,
                            .mtime_s = st->st_mtim.tv_sec,
                            .mtime_ns = (uint32_t)st->st_mtim.tv_nsec};
    if (S_ISREG(st->st_mode))
        in.size_bytes = (uint64_t)st->st_size;
    if (S_ISLNK(st->st_mode)) {
        ssize_t n = readlinkat(dirfd, name, target, sizeof(target));
        assert_true(n > 0);
        in.target = target;
        in.size_bytes = (uint64_t)n;
    }
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
        in.rdev_major = major(st->st_rdev);
        in.rdev_minor = minor(st->st_rdev);
    }
    int64_t inode = blob_image_add_inode(m->b, &in);
    assert_true(inode >= 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dirfd, name);
    add_xattrs(m, (uint32_t)inode, path);
    if (S_ISREG(st->st_mode)) {
        OWNED_FD fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
        assert_true(fd >= 0);
        add_content(m, (uint32_t)inode, fd, st->st_size);
    }
    return (uint32_t)inode;
}

static uint32_t find_linked(struct maker *m, int dirfd, const char *name, const struct stat *st)
{
    bool many = !S_ISDIR(st->st_mode) && st->st_nlink > 1;
    for (size_t i = 0; many && i < m->linked_count; i++)
        if (m->linked[i].ino == st->st_ino)
            return m->linked[i].inode;
    uint32_t inode = add_inode(m, dirfd, name, st);
    if (many) {
        assert_true(m->linked_count < sizeof(m->linked) / sizeof(m->linked[0]));
        m->linked[m->linked_count].ino = st->st_ino;
        m->linked[m->linked_count++].inode = inode;
    }
    return inode;
}

static void add_dir(struct maker *m, uint32_t dir, int fd)
{
    DIR *list = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC));
    assert_non_null(list);
    for (const struct dirent *e; (e = readdir(list)) != NULL;) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        assert_int_equal(fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW), 0);
        uint32_t inode = find_linked(m, fd, e->d_name, &st);
        assert_int_equal(blob_image_add_entry(m->b, dir, e->d_name, strlen(e->d_name), inode), 0);
        if (S_ISDIR(st.st_mode)) {
            OWNED_FD below = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            assert_true(below >= 0);
            add_dir(m, inode, below);
        }
    }
    closedir(list);
}

void tree_image_make(int dirfd, struct tree_image *out)
{
    struct maker m = {.t = out};
    struct stat st;
    struct err err = {0};
    struct buf bytes = BUF_EMPTY;
    *out = (struct tree_image){0};
    assert_int_equal(blob_image_builder_new(&m.b), 0);
    assert_int_equal(fstat(dirfd, &st), 0);
    add_dir(&m, add_inode(&m, dirfd, ".", &st), dirfd);
    assert_int_equal(blob_image_build(m.b, &bytes, &err), 0);
    blob_image_builder_free(m.b);
    assert_int_equal(blob_image_parse(&bytes, &out->full, &err), 0);
    assert_int_equal(blob_image_strip(out->full, &out->stripped), 0);
}

void tree_image_free(struct tree_image *t)
{
    blob_image_free(t->full);
    buf_free(&t->stripped);
    for (size_t i = 0; i < t->count; i++)
        buf_free(&t->contents[i]);
    free(t->ids);
    free(t->contents);
    *t = (struct tree_image){0};
}

const struct buf *tree_image_chunk(const struct tree_image *t, uint32_t chunk)
{
    struct blob_chunk c;
    blob_image_chunk(t->full, chunk, &c);
    for (size_t i = 0; i < t->count; i++)
        if (blob_id_compare(&t->ids[i], &c.id) == 0)
            return &t->contents[i];
    fail_msg("chunk %u has no content", chunk);
    return NULL;
}
