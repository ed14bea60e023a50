/* Files of one piece are made whole in a fresh tree, and only there. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cmocka.h>

#include "base/fdio.h"
#include "tree_put.h"

enum { PLAIN = 1, SETUID, OTHERS, LONG, COUNT };

struct state {
    char dir[128];
    int fd;
    struct blob_image *image;
    struct tree tree;
    struct tree_put put;
};

static const char *const names[COUNT] = {NULL, "a-plain", "b-setuid", "c-others", "d-long"};

static void add_file(struct blob_image_builder *b, int k, mode_t mode, uid_t owner, uint64_t size_bytes)
{
    struct blob_inode in = {.mode = S_IFREG | mode,
                            .uid = owner,
                            .gid = owner,
                            .size_bytes = size_bytes,
                            .mtime_s = 1000 + k,
                            .mtime_ns = 5};
    struct blob_chunk chunk = {.id = {{(uint8_t)k}}, .raw_bytes = 4};
    int64_t inode = blob_image_add_inode(b, &in);
    assert_int_equal(inode, k);
    assert_int_equal(blob_image_add_entry(b, 0, names[k], strlen(names[k]), (uint32_t)k), 0);
    assert_int_equal(blob_image_add_extent(b, (uint32_t)k, 0, &chunk), 0);
    if (k == PLAIN)
        assert_int_equal(blob_image_add_xattr(b, (uint32_t)k, "user.colour", "red", 3), 0);
}

static struct blob_image *make_image(void)
{
    struct blob_image_builder *b = NULL;
    struct buf bytes = BUF_EMPTY;
    struct blob_image *image = NULL;
    struct err err = {0};
    struct blob_inode root = {.mode = S_IFDIR | 0755};
    assert_int_equal(blob_image_builder_new(&b), 0);
    assert_int_equal(blob_image_add_inode(b, &root), 0);
    add_file(b, PLAIN, 0664, geteuid(), 4);
    add_file(b, SETUID, 04751, geteuid(), 4);
    add_file(b, OTHERS, 0640, geteuid() ? geteuid() : 1234, 4);
    add_file(b, LONG, 0600, geteuid(), 4096); /* its end is a hole */
    assert_int_equal(blob_image_build(b, &bytes, &err), 0);
    blob_image_builder_free(b);
    assert_int_equal(blob_image_parse(&bytes, &image, &err), 0);
    return image;
}

static void begin_at(struct state *s)
{
    struct err err = {0};
    s->fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(s->fd >= 0);
    assert_int_equal(tree_init(&s->tree, s->image, s->fd, &err), 0);
    tree_is_fresh(&s->tree);
}

static int set_up(void **out)
{
    struct state *s = calloc(1, sizeof(*s));
    const char *tmp = getenv("TMPDIR");
    assert_non_null(s);
    snprintf(s->dir, sizeof(s->dir), "%s/bladed-put-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(s->dir));
    s->image = make_image();
    begin_at(s);
    umask(0077);
    tree_put_open(&s->put, &s->tree);
    *out = s;
    return 0;
}

static int tear_down(void **in)
{
    struct state *s = *in;
    tree_put_close(&s->put);
    tree_fini(&s->tree);
    blob_image_free(s->image);
    close(s->fd);
    assert_int_equal(tree_remove(AT_FDCWD, s->dir), 0);
    free(s);
    return 0;
}

static void put(struct state *s, uint32_t inode)
{
    struct err err = {0};
    const struct tree_piece piece = {.inode = inode, .len_bytes = 4, .bytes = "text"};
    assert_int_equal(tree_put_piece(&s->put, &piece, &err), 0);
}

static struct stat look(struct state *s, uint32_t inode)
{
    struct stat st;
    assert_int_equal(fstatat(s->fd, names[inode], &st, AT_SYMLINK_NOFOLLOW), 0);
    return st;
}

static void a_whole_file_is_finished(void **in)
{
    struct state *s = *in;
    char value[8];
    OWNED_BUF struct buf content = BUF_EMPTY;
    assert_true(s->tree.fresh);
    for (uint32_t k = PLAIN; k <= OTHERS; k++) {
        put(s, k);
        struct stat st = look(s, k);
        struct blob_inode want;
        blob_image_inode(s->image, k, &want);
        assert_int_equal(st.st_mode, want.mode); /* in spite of the umask */
        assert_int_equal(st.st_uid, want.uid);
        assert_int_equal(st.st_gid, want.gid);
        assert_int_equal(st.st_mtim.tv_sec, 1000 + k);
        assert_int_equal(st.st_mtim.tv_nsec, 5);
        assert_int_equal(s->tree.finished[k], 1);
    }
    assert_int_equal(file_read(s->fd, names[PLAIN], 64, &content), 0);
    assert_memory_equal(content.bytes, "text", 4);
    OWNED_FD fd = openat(s->fd, names[PLAIN], O_RDONLY | O_CLOEXEC);
    ssize_t n = fgetxattr(fd, "user.colour", value, sizeof(value));
    assert_true(n == 3 || (n < 0 && errno == ENOTSUP)); /* tmpfs before 6.6 */
}

static void a_file_with_a_hole_is_not(void **in)
{
    struct state *s = *in;
    put(s, LONG);
    assert_int_equal(look(s, LONG).st_mode & 07777, 0600);
    assert_int_equal(s->tree.finished[LONG], 0);
}

/* What an earlier attempt left is written over and finished later. */
static void a_name_that_is_taken(void **in)
{
    struct state *s = *in;
    OWNED_BUF struct buf content = BUF_EMPTY;
    OWNED_FD fd = openat(s->fd, names[PLAIN], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    put(s, PLAIN);
    assert_int_equal(s->tree.finished[PLAIN], 0);
    assert_int_equal(file_read(s->fd, names[PLAIN], 64, &content), 0);
    assert_int_equal(content.len_bytes, 4);
}

/* It is not followed: where it leads is outside. */
static void a_symlink_in_its_place(void **in)
{
    struct state *s = *in;
    struct err err = {0};
    const struct tree_piece piece = {.inode = PLAIN, .len_bytes = 4, .bytes = "text"};
    assert_int_equal(symlinkat("elsewhere", s->fd, names[PLAIN]), 0);
    assert_int_equal(tree_put_piece(&s->put, &piece, &err), -ELOOP);
    assert_non_null(strstr(err.message, names[PLAIN]));
    assert_int_equal(faccessat(s->fd, "elsewhere", F_OK, 0), -1);
}

/* A pipe in its place: nobody waits for a reader. */
static void a_pipe_in_its_place(void **in)
{
    struct state *s = *in;
    struct err err = {0};
    const struct tree_piece piece = {.inode = PLAIN, .len_bytes = 4, .bytes = "text"};
    assert_int_equal(mkfifoat(s->fd, names[PLAIN], 0600), 0);
    assert_true(tree_put_piece(&s->put, &piece, &err) < 0);
}

static void begin_again(struct state *s)
{
    tree_put_close(&s->put);
    tree_fini(&s->tree);
    close(s->fd);
    begin_at(s);
    tree_put_open(&s->put, &s->tree);
}

static void a_group_that_is_inherited(void **in)
{
    struct state *s = *in;
    assert_int_equal(fchmod(s->fd, 02700), 0);
    begin_again(s);
    assert_false(s->tree.fresh);
    put(s, PLAIN);
    assert_int_equal(s->tree.finished[PLAIN], 0);
}

static void an_acl_that_is_inherited(void **in)
{
    /* acl(5) as the kernel has it: version 2, then tag, permissions and id of user::rwx, group::r-x,
     * other::r-x */
    static const uint8_t acl[] = {2, 0, 0,    0,    1,    0,    7,  0, 0xff, 0xff, 0xff, 0xff, 4,    0,
                                  5, 0, 0xff, 0xff, 0xff, 0xff, 32, 0, 5,    0,    0xff, 0xff, 0xff, 0xff};
    struct state *s = *in;
    if (fsetxattr(s->fd, "system.posix_acl_default", acl, sizeof(acl), 0) < 0) {
        print_message("no ACLs below %s: %s\n", s->dir, strerror(errno));
        skip();
    }
    begin_again(s);
    assert_false(s->tree.fresh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_whole_file_is_finished, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_with_a_hole_is_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_that_is_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_symlink_in_its_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pipe_in_its_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_group_that_is_inherited, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_acl_that_is_inherited, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
