/* Captures of trees that hold still: everything about an entry is kept, and nothing else shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "base/fdio.h"
#include "capture_tree.h"

static void set_mtime(int tree, const char *path, int64_t s, long ns)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = s, .tv_nsec = ns}};
    assert_int_equal(utimensat(tree, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

static bool is_root(void)
{
    return geteuid() == 0;
}

/* One of everything, in the order (1) or the other (0): the same tree. */
static void make_tree(int tree, bool forwards)
{
    static const char *const files[] = {"a", "b", "c", "etc/passwd", "etc/shadow", "usr/bin/tool"};
    const size_t n = sizeof(files) / sizeof(files[0]);
    assert_int_equal(mkdirat(tree, forwards ? "etc" : "usr", 0755), 0);
    assert_int_equal(mkdirat(tree, forwards ? "usr" : "etc", 0755), 0);
    assert_int_equal(mkdirat(tree, "usr/bin", 0755), 0);
    assert_int_equal(mkdirat(tree, "tmp", 01777), 0);
    for (size_t i = 0; i < n; i++) {
        const char *name = files[forwards ? i : n - 1 - i];
        put_random(tree, name, name[0] + strlen(name), 0, strlen(name) * 30001);
        assert_int_equal(fchmodat(tree, name, name[0] == 'u' ? 04755 : 0640, 0), 0);
        set_mtime(tree, name, -5 + (int64_t)strlen(name), 999999999 - (long)strlen(name));
    }
    put_text(tree, "empty", "");
    set_mtime(tree, "empty", INT64_C(3000000000), 1);
    assert_int_equal(linkat(tree, "usr/bin/tool", tree, "usr/bin/other", 0), 0);
    assert_int_equal(linkat(tree, "usr/bin/tool", tree, "another", 0), 0);
    assert_int_equal(symlinkat("../usr/bin/tool", tree, "etc/link"), 0);
    assert_int_equal(symlinkat("nowhere", tree, "dangling"), 0);
    set_mtime(tree, "etc/link", 77, 7);
    set_mtime(tree, "dangling", 88, 8);
    assert_int_equal(mkfifoat(tree, "fifo", 0620), 0);
    set_mtime(tree, "fifo", 99, 9);
    if (is_root()) {
        assert_int_equal(mknodat(tree, "console", S_IFCHR | 0600, makedev(5, 1)), 0);
        assert_int_equal(mknodat(tree, "disk", S_IFBLK | 0660, makedev(259, 70000)), 0);
        assert_int_equal(mknodat(tree, "socket", S_IFSOCK | 0755, 0), 0);
        assert_int_equal(fchownat(tree, "etc/shadow", 7, 42, 0), 0);
        assert_int_equal(fchownat(tree, "dangling", 1000, 1001, AT_SYMLINK_NOFOLLOW), 0);
        set_mtime(tree, "console", 1, 1);
        set_mtime(tree, "disk", 1, 1);
        set_mtime(tree, "socket", 1, 1);
    }
    static const char *const dirs[] = {"usr/bin", "usr", "etc", "tmp", "."};
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        set_mtime(tree, dirs[i], 1700000000 + (int64_t)i, 123456789);
}

static void everything_is_kept(void **state)
{
    struct bench *b = *state;
    make_tree(b->tree, true);
    struct blob_capture_result result;
    struct blob_image *image = bench_capture(b, b->tree, 2, &result);
    bench_compare(b, image, b->tree);
    assert_int_equal(result.files, 7);
    assert_true(result.chunks >= 6);
    assert_int_equal(result.new_chunks, result.chunks);
    const uint8_t *bytes;
    assert_int_equal(blob_image_bytes(image, &bytes), result.image_bytes);
    /* etc/passwd and etc/shadow have the same content, of 10 * 30001 bytes: it is stored once. */
    assert_int_equal(result.new_raw_bytes, blob_image_content_bytes(image) - 300010);
    blob_image_free(image);
}

static void the_same_tree_is_the_same_image(void **state)
{
    struct bench *b = *state;
    assert_int_equal(mkdirat(b->dir, "other", 0755), 0);
    OWNED_FD other = openat(b->dir, "other", O_RDONLY | O_DIRECTORY);
    make_tree(b->tree, true);
    make_tree(other, false);
    struct blob_capture_result first, again;
    blob_image_free(bench_capture(b, b->tree, 1, &first));
    for (unsigned threads = 0; threads <= 8; threads += 2) {
        blob_image_free(bench_capture(b, threads & 2 ? other : b->tree, threads, &again));
        assert_memory_equal(&again.image, &first.image, sizeof(first.image));
        assert_int_equal(again.new_chunks, 0);
        assert_int_equal(again.new_raw_bytes, 0);
        assert_int_equal(again.bytes, first.bytes);
    }
    put_text(other, "empty", "1");
    blob_image_free(bench_capture(b, other, 2, &again));
    assert_true(memcmp(&again.image, &first.image, sizeof(first.image)) != 0);
    assert_int_equal(again.new_chunks, 1);
}

static void xattrs_acls_and_capabilities(void **state)
{
    struct bench *b = *state;
    put_text(b->tree, "file", "x");
    assert_int_equal(mkdirat(b->tree, "dir", 0755), 0);
    assert_int_equal(symlinkat("x", b->tree, "link"), 0);
    static const uint8_t long_value[3000] = {1, 2, 3};
    set_xattr(b->tree, "file", "user.b", "", 0);
    set_xattr(b->tree, "file", "user.a", long_value, sizeof(long_value));
    set_xattr(b->tree, ".", "user.bladefs.exec", "/bin/sh -c 'x'", 14);
    /* user::rw- user:12:r-- group::r-- mask::r-- other::--- as acl(5) has it in xattrs */
    static const uint8_t acl[] = {2, 0,  0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 2,   0,  4,
                                  0, 12, 0,   0,   0,   4,   0,  4, 0,   255, 255, 255, 255, 16, 0,
                                  4, 0,  255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255};
    set_xattr(b->tree, "file", "system.posix_acl_access", acl, sizeof(acl));
    set_xattr(b->tree, "dir", "system.posix_acl_default", acl, sizeof(acl));
    uint32_t expected = 1;
    if (is_root()) {
        static const uint8_t cap[20] = {1, 0, 0, 2, 0, 4}; /* cap_net_bind_service=ep */
        set_xattr(b->tree, "file", "security.capability", cap, sizeof(cap));
        set_xattr(b->tree, "link", "trusted.x", "y", 1);
        mkfifoat(b->tree, "fifo", 0600);
        set_xattr(b->tree, "fifo", "trusted.x", "y", 1);
        expected = 3;
    }
    struct blob_image *image = bench_capture(b, b->tree, 1, NULL);
    bench_compare(b, image, b->tree);
    struct blob_xattr x;
    assert_true(blob_image_xattr_find(image, 0, "user.bladefs.exec", &x));
    uint32_t found = 0;
    found +=
        blob_image_xattr_find(image, blob_image_find(image, 0, "file", 4), "system.posix_acl_access", &x);
    if (is_root()) {
        found +=
            blob_image_xattr_find(image, blob_image_find(image, 0, "file", 4), "security.capability", &x);
        found += blob_image_xattr_find(image, blob_image_find(image, 0, "link", 4), "trusted.x", &x);
    }
    assert_int_equal(found, expected);
    blob_image_free(image);
}

static void holes_are_kept(void **state)
{
    struct bench *b = *state;
    put_random(b->tree, "begins-with-hole", 1, 1 << 20, 300000);
    put_random(b->tree, "middle", 2, 0, 4096);
    put_random(b->tree, "middle", 3, 40960, 4096);
    put_text(b->tree, "all-hole", "");
    OWNED_FD fd = openat(b->tree, "all-hole", O_WRONLY | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, INT64_C(20) << 30), 0);
    put_random(b->tree, "ends-with-hole", 4, 0, 100000);
    OWNED_FD end = openat(b->tree, "ends-with-hole", O_WRONLY | O_CLOEXEC);
    assert_int_equal(ftruncate(end, INT64_C(5) << 30), 0);
    for (uint64_t i = 0; i < 20; i++) /* 20 GB with data here and there */
        put_random(b->tree, "many", 10 + i, i << 30, 70000);
    /* Zeros that are written are data, not a hole. */
    static const uint8_t zeros[200000];
    put_file(b->tree, "zeros", zeros, sizeof(zeros));

    struct blob_image *image = bench_capture(b, b->tree, 2, NULL);
    bench_compare(b, image, b->tree);
    struct blob_inode in;
    blob_image_inode(image, blob_image_find(image, 0, "all-hole", 8), &in);
    assert_int_equal(in.extents, 0);
    assert_int_equal(in.size_bytes, UINT64_C(20) << 30);
    blob_image_inode(image, blob_image_find(image, 0, "zeros", 5), &in);
    assert_true(in.extents > 0);
    blob_image_free(image);
}

static void runs_of_data_are_cut_alone(void **state)
{
    struct bench *b = *state;
    /* The same 600,000 bytes at the start of one file and behind a hole in another: the same chunks. */
    put_random(b->tree, "plain", 5, 0, 600000);
    put_random(b->tree, "shifted", 5, 1 << 24, 600000);
    struct blob_capture_result result;
    struct blob_image *image = bench_capture(b, b->tree, 1, &result);
    struct blob_inode in;
    blob_image_inode(image, blob_image_find(image, 0, "plain", 5), &in);
    assert_int_equal(result.chunks, in.extents);
    assert_true(in.extents >= 3);
    blob_image_free(image);
}

/* Goes down as it makes them: no path is ever longer than a name. */
static void make_deep(int tree, unsigned depth, const char *name)
{
    int fd = dup(tree);
    for (unsigned i = 0; i < depth; i++) {
        assert_int_equal(mkdirat(fd, name, 0755), 0);
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(fd);
        fd = next;
    }
    put_text(fd, "bottom", "here");
    close(fd);
}

static void deep_and_long_names(void **state)
{
    struct bench *b = *state;
    char name[256];
    memset(name, 'x', 255);
    name[255] = '\0';
    assert_int_equal(mkdirat(b->tree, "long", 0755), 0);
    assert_int_equal(mkdirat(b->tree, "short", 0755), 0);
    OWNED_FD longs = openat(b->tree, "long", O_RDONLY | O_DIRECTORY);
    OWNED_FD shorts = openat(b->tree, "short", O_RDONLY | O_DIRECTORY);
    make_deep(longs, 300, name);
    make_deep(shorts, 4000, "d");
    struct blob_image *image = bench_capture(b, b->tree, 2, NULL);
    assert_int_equal(blob_image_inodes(image), 1 + 2 + 300 + 4000 + 2);
    uint32_t at = blob_image_find(image, 0, "short", 5);
    for (unsigned i = 0; i < 4000; i++)
        at = blob_image_find(image, at, "d", 1);
    assert_true(blob_image_find(image, at, "bottom", 6) != BLOB_NO_INODE);
    blob_image_free(image);
}

static void many_entries_and_links(void **state)
{
    struct bench *b = *state;
    char name[32];
    put_text(b->tree, "first", "linked");
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        if (i % 3 == 0)
            put_text(b->tree, name, name);
        else if (i % 3 == 1)
            assert_int_equal(linkat(b->tree, "first", b->tree, name, 0), 0);
        else
            assert_int_equal(mkdirat(b->tree, name, 0755), 0);
    }
    struct blob_image *image = bench_capture(b, b->tree, 4, NULL);
    bench_compare(b, image, b->tree);
    blob_image_free(image);
}

static void expect_failure(struct bench *b, int code, const char *words)
{
    struct blob_capture_options options = {.threads = 2, .level = 1};
    struct blob_capture *c = NULL;
    struct err err = {0};
    assert_int_equal(blob_capture_new(b->store, b->tree, &options, &c, &err), 0);
    assert_int_equal(blob_capture_scan(c, &err), -code);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, words))
        fail_msg("'%s' does not say '%s'", err.message, words);
    blob_capture_free(c);
}

static void what_no_overlay_can_show(void **state)
{
    struct bench *b = *state;
    if (!is_root()) {
        print_message("needs root: devices and trusted xattrs\n");
        skip();
    }
    assert_int_equal(mkdirat(b->tree, "sub", 0755), 0);
    assert_int_equal(mknodat(b->tree, "sub/whiteout", S_IFCHR | 0600, makedev(0, 0)), 0);
    expect_failure(b, EINVAL, "sub/whiteout");
    assert_int_equal(unlinkat(b->tree, "sub/whiteout", 0), 0);
    set_xattr(b->tree, "sub", "trusted.overlay.opaque", "y", 1);
    expect_failure(b, EINVAL, "sub has");
    char path[300];
    snprintf(path, sizeof(path), "%s/tree/sub", b->path);
    assert_int_equal(rmdir(path), 0);
}

static void another_mount_is_refused(void **state)
{
    struct bench *b = *state;
    char path[300];
    snprintf(path, sizeof(path), "%s/tree/mounted", b->path);
    assert_int_equal(mkdirat(b->tree, "mounted", 0755), 0);
    if (mount("none", path, "tmpfs", 0, "size=1m") < 0) {
        print_message("cannot mount here: %s\n", strerror(errno));
        skip();
    }
    expect_failure(b, EXDEV, "mounted");
    assert_int_equal(umount(path), 0);
}

static void what_cannot_be_read_is_named(void **state)
{
    struct bench *b = *state;
    if (is_root()) {
        print_message("root can read everything\n");
        skip();
    }
    put_text(b->tree, "closed", "x");
    assert_int_equal(fchmodat(b->tree, "closed", 0, 0), 0);
    expect_failure(b, EACCES, "closed");
}

static void a_file_is_no_tree(void **state)
{
    struct bench *b = *state;
    put_text(b->tree, "file", "x");
    OWNED_FD fd = openat(b->tree, "file", O_RDONLY);
    struct blob_capture_options options = {.threads = 1};
    struct blob_capture *c = NULL;
    struct err err = {0};
    assert_int_equal(blob_capture_new(b->store, fd, &options, &c, &err), -ENOTDIR);
    assert_null(c);
}

static void cancelled(void **state)
{
    struct bench *b = *state;
    make_tree(b->tree, true);
    struct blob_capture_options options = {.threads = 2, .level = 1};
    struct blob_capture *c = NULL;
    struct err err = {0};
    assert_int_equal(blob_capture_new(b->store, b->tree, &options, &c, &err), 0);
    blob_capture_cancel(c);
    assert_int_equal(blob_capture_scan(c, &err), -ECANCELED);
    blob_capture_free(c);
}

static void *cancel_soon(void *arg)
{
    usleep(20000);
    blob_capture_cancel(arg);
    return NULL;
}

static void cancelled_while_it_reads(void **state)
{
    struct bench *b = *state;
    char name[32];
    for (uint64_t i = 0; i < 8; i++) {
        snprintf(name, sizeof(name), "big%d", (int)i);
        put_random(b->tree, name, i, 0, 8 << 20);
    }
    struct blob_capture_options options = {.threads = 2, .level = 19};
    struct blob_capture *c = NULL;
    struct err err = {0};
    pthread_t thread;
    assert_int_equal(blob_capture_new(b->store, b->tree, &options, &c, &err), 0);
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, c), 0);
    assert_int_equal(blob_capture_scan(c, &err), -ECANCELED);
    pthread_join(thread, NULL);
    blob_capture_free(c);
}

/* A tree that nobody made for this: whatever the machine has of it. */
static void a_real_tree(void **state)
{
    struct bench *b = *state;
    static const char *const trees[] = {"/usr/share/perl5", "/usr/share/doc/libc6", "/usr/share/zoneinfo"};
    int compared = 0;
    for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
        OWNED_FD tree = open(trees[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (tree < 0)
            continue;
        struct blob_image *image = bench_capture(b, tree, 2, NULL);
        bench_compare(b, image, tree);
        blob_image_free(image);
        compared++;
    }
    assert_true(compared > 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(everything_is_kept),
        TEST(the_same_tree_is_the_same_image),
        TEST(xattrs_acls_and_capabilities),
        TEST(holes_are_kept),
        TEST(runs_of_data_are_cut_alone),
        TEST(deep_and_long_names),
        TEST(many_entries_and_links),
        TEST(what_no_overlay_can_show),
        TEST(another_mount_is_refused),
        TEST(what_cannot_be_read_is_named),
        TEST(a_file_is_no_tree),
        TEST(cancelled),
        TEST(cancelled_while_it_reads),
        TEST(a_real_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
