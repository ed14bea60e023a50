#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/fdio.h"
#include "tree_image.h"

static void fill(uint8_t *bytes, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bytes[i] = (uint8_t)(seed >> 24);
    }
}

static void make_file(int dirfd, const char *name, size_t len, uint64_t seed, mode_t mode)
{
    OWNED_FD fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    OWNED uint8_t *bytes = malloc(len + 1);
    assert_non_null(bytes);
    fill(bytes, len, seed * 0x9e3779b97f4a7c15u + 1);
    assert_int_equal(fd_write(fd, bytes, len), 0);
    assert_int_equal(fchmod(fd, mode), 0);
}

static void set_time(int dirfd, const char *name, long k)
{
    struct timespec t[2] = {{.tv_nsec = UTIME_OMIT},
                            {.tv_sec = 1500000000 + k, .tv_nsec = 123456000 + (k < 0 ? -k : k) % 1000}};
    assert_int_equal(utimensat(dirfd, name, t, AT_SYMLINK_NOFOLLOW), 0);
}

static void make_sparse(int dirfd)
{
    OWNED_FD fd = openat(dirfd, "sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    uint8_t block[8192];
    fill(block, sizeof(block), 77);
    assert_int_equal(fd_write_at(fd, block, sizeof(block), 1 << 20), 0);
    assert_int_equal(fd_write_at(fd, block, sizeof(block), 3 << 20), 0);
    assert_int_equal(ftruncate(fd, 64 << 20), 0); /* ends with a hole */
    OWNED_FD hole = openat(dirfd, "hole", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(ftruncate(hole, (off_t)20 << 30), 0);
}

static void set_xattrs(int dirfd, const char *name)
{
    /* cap_net_raw+ep, revision 2; an ACL of user::rw-, user:7:r--, group::r--, mask::r--, other::r-- */
    static const uint8_t capability[20] = {1, 0, 0, 2, 0, 0x20};
    static const uint8_t acl[44] = {2, 0, 0,    0,    1,    0,    6,  0, 0xff, 0xff, 0xff, 0xff, 2,    0,   4,
                                    0, 7, 0,    0,    0,    4,    0,  4, 0,    0xff, 0xff, 0xff, 0xff, 16,  0,
                                    4, 0, 0xff, 0xff, 0xff, 0xff, 32, 0, 4,    0,    0xff, 0xff, 0xff, 0xff};
    OWNED_FD fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    (void)!fsetxattr(fd, "user.note", "hello", 5, 0);
    (void)!fsetxattr(fd, "user.empty", "", 0, 0);
    (void)!fsetxattr(fd, "security.capability", capability, sizeof(capability), 0);
    (void)!fsetxattr(fd, "system.posix_acl_access", acl, sizeof(acl), 0);
}

static void make_for_root(int dirfd)
{
    if (geteuid() != 0)
        return;
    assert_int_equal(mknodat(dirfd, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
    assert_int_equal(mknodat(dirfd, "disk", S_IFBLK | 0660, makedev(259, 70000)), 0);
    assert_int_equal(fchownat(dirfd, "disk", 0, 6, 0), 0);
    make_file(dirfd, "setuid", 5000, 5, 0755);
    assert_int_equal(fchownat(dirfd, "setuid", 12345, 54321, 0), 0);
    assert_int_equal(fchmodat(dirfd, "setuid", 06755, 0), 0);
    assert_int_equal(symlinkat("nobody's", dirfd, "owned-link"), 0);
    assert_int_equal(fchownat(dirfd, "owned-link", 1234567, 7, AT_SYMLINK_NOFOLLOW), 0);
}

static void make_special(int dirfd)
{
    char longest[256];
    memset(longest, 'n', 255);
    longest[255] = '\0';
    make_file(dirfd, longest, 10, 6, 0400);
    make_file(dirfd, "new\nline \xff", 10, 7, 0604);
    make_file(dirfd, "empty", 0, 0, 0640);
    assert_int_equal(mknodat(dirfd, "fifo", S_IFIFO | 0611, 0), 0);
    assert_int_equal(mknodat(dirfd, "socket", S_IFSOCK | 0755, 0), 0);
    assert_int_equal(symlinkat("../../../etc/passwd", dirfd, "out"), 0);
    assert_int_equal(symlinkat("/nowhere/at all", dirfd, "dangling"), 0);
    make_sparse(dirfd);
    make_file(dirfd, "with-xattrs", 3000, 8, 0744);
    set_xattrs(dirfd, "with-xattrs");
    make_for_root(dirfd);
    set_time(dirfd, "out", 3);
    set_time(dirfd, "sparse", 4);
    set_time(dirfd, "with-xattrs", -2000000000); /* before 1970 */
}

static void make_links(int dirfd, int other)
{
    make_file(dirfd, "one", 70000, 9, 0644);
    assert_int_equal(linkat(dirfd, "one", dirfd, "two", 0), 0);
    assert_int_equal(linkat(dirfd, "one", other, "a-third", 0), 0);
    assert_int_equal(symlinkat("target", dirfd, "link-of-link"), 0);
    assert_int_equal(linkat(dirfd, "link-of-link", dirfd, "link-of-link2", 0), 0);
}

void tree_sample_make(int dirfd, unsigned version)
{
    static const char *const dirs[] = {"bin", "etc", "etc/deep", "etc/deep/er", "var", "closed", "empty-dir"};
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        assert_int_equal(mkdirat(dirfd, dirs[i], 0755), 0);
    for (unsigned i = 0; i < 60; i++) { /* of all sizes, some alike */
        char name[32];
        snprintf(name, sizeof(name), "bin/f%03u", i);
        make_file(dirfd, name, i * i * 37, i % 17, i % 3 ? 0755 : 0644);
        set_time(dirfd, name, (long)i);
    }
    make_file(dirfd, "var/big", 3000000, 100, 0644);
    make_file(dirfd, "var/big-again", 3000000, 100, 0600);
    make_file(dirfd, "etc/version", 2000, 1000 + version, 0644);
    make_file(dirfd, version == 2 ? "etc/deep/er/only-2" : "etc/deep/er/only-1", 90000, 200 + version, 0644);
    if (version == 2)
        make_file(dirfd, "var/new", 400000, 300, 0644);
    OWNED_FD var = openat(dirfd, "var", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OWNED_FD etc = openat(dirfd, "etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    make_special(var);
    make_links(etc, var);
    make_file(dirfd, "closed/inside", 100, 11, 0);
    assert_int_equal(fchmodat(dirfd, "closed", version == 2 ? 0500 : 01711, 0), 0);
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        set_time(dirfd, dirs[i], 1000 + (long)i);
    assert_int_equal(fchmodat(dirfd, ".", 0750, 0), 0);
    OWNED_FD top = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)!fsetxattr(top, "user.bladefs.exec", "/bin/f001", 9, 0);
    set_time(dirfd, ".", 5000);
}
