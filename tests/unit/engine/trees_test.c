#include "scratch.h"

#include <sys/xattr.h>

#include "blob/capture.h"
#include "parts.h"

#define BIG_BYTES 700001
#define HOLE_AT 65536 /* 64 KiB of data, a hole of 1 MiB, 10 bytes */
#define HOLE_END (HOLE_AT + (1 << 20))

struct fixture {
    const struct scratch *scratch;
    struct engine engine;
    int tree_fd;
    uint8_t *big;
    uint32_t running;
    bool has_xattrs, has_holes;
};

static void make_tree(struct fixture *f)
{
    assert_int_equal(mkdirat(f->scratch->fd, "tree", 0755), 0);
    f->tree_fd = openat(f->scratch->fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->tree_fd >= 0);
    scratch_write(f->tree_fd, "hello", "hello, world\n");
    assert_int_equal(linkat(f->tree_fd, "hello", f->tree_fd, "again", 0), 0);
    assert_int_equal(symlinkat("../hello", f->tree_fd, "link"), 0);
    assert_int_equal(mkdirat(f->tree_fd, "dir", 0700), 0);
    assert_int_equal(mkdirat(f->tree_fd, "dir/inner", 0750), 0);
    scratch_write(f->tree_fd, "dir/empty", "");

    f->big = malloc(BIG_BYTES);
    assert_non_null(f->big);
    uint64_t x = 88172645463325252u; /* Marsaglia's xorshift64 */
    for (size_t i = 0; i < BIG_BYTES; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        f->big[i] = (uint8_t)x;
    }
    OWNED_FD big = openat(f->tree_fd, "big", O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    assert_int_equal(fd_write(big, f->big, BIG_BYTES), 0);
    struct timespec times[2] = {{.tv_sec = 1, .tv_nsec = 2}, {.tv_sec = 1000000000, .tv_nsec = 123456789}};
    assert_int_equal(futimens(big, times), 0);
    f->has_xattrs = fsetxattr(big, "user.one", "1", 1, 0) == 0 && fsetxattr(big, "user.two", "22", 2, 0) == 0;

    OWNED_FD sparse = openat(f->tree_fd, "sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(fd_write_at(sparse, f->big, HOLE_AT, 0), 0);
    assert_int_equal(fd_write_at(sparse, "0123456789", 10, HOLE_END), 0);
    f->has_holes = lseek(sparse, 0, SEEK_HOLE) == HOLE_AT;
}

static void open_parts(struct fixture *f)
{
    struct err err = {0};
    if (blob_store_open(f->scratch->fd, 1, &f->engine.store, &err) < 0 ||
        catalog_open(f->scratch->path, &f->engine.catalog, &err) < 0 ||
        runnings_new(f->engine.store, f->engine.catalog, &f->engine.runnings, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(blob_cache_new(f->engine.store, 1 << 20, &f->engine.cache), 0);
}

static void close_parts(struct fixture *f)
{
    runnings_free(f->engine.runnings);
    blob_cache_free(f->engine.cache);
    blob_store_close(f->engine.store);
    catalog_close(f->engine.catalog);
}

static void capture(struct fixture *f)
{
    struct err err = {0};
    struct blob_capture *c = NULL;
    struct blob_capture_result result;
    const struct blob_capture_options options = {.threads = 1, .level = 1};
    if (blob_capture_new(f->engine.store, f->tree_fd, &options, &c, &err) < 0 ||
        blob_capture_scan(c, &err) < 0 || blob_capture_finish(c, &result, &err) < 0)
        fail_msg("%s", err.message);
    blob_capture_free(c);
    struct catalog_running row = {.name = "web", .content = result.image};
    assert_int_equal(catalog_running_add(f->engine.catalog, &row, false, NULL), 1);
    assert_int_equal(runnings_added(f->engine.runnings, &row), 0);
    f->running = row.id;
}

static int setup(void **state)
{
    void *scratch = NULL;
    if (scratch_make(&scratch) < 0)
        return -1;
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->scratch = scratch;
    make_tree(f);
    open_parts(f);
    capture(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    void *scratch = (void *)f->scratch;
    close_parts(f);
    close(f->tree_fd);
    free(f->big);
    free(f);
    return scratch_remove(&scratch);
}

static struct engine_tree *open_tree(struct fixture *f)
{
    struct engine_tree *tree = NULL;
    struct err err = {0};
    if (engine_tree_open(&f->engine, f->running, &tree, &err) < 0)
        fail_msg("%s", err.message);
    return tree;
}

static uint32_t find(struct engine_tree *tree, uint32_t dir, const char *name)
{
    uint32_t inode = 0;
    if (engine_tree_find(tree, dir, name, &inode) < 0)
        fail_msg("%s is not there", name);
    return inode;
}

static void attributes_are_the_source_s(void **state)
{
    struct fixture *f = *state;
    struct engine_tree *tree = open_tree(f);
    static const char *const names[] = {"hello", "again", "link", "dir", "big", "sparse"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct stat want;
        struct stat got;
        assert_int_equal(fstatat(f->tree_fd, names[i], &want, AT_SYMLINK_NOFOLLOW), 0);
        assert_int_equal(engine_tree_stat(tree, find(tree, 0, names[i]), &got), 0);
        assert_int_equal(got.st_mode, want.st_mode);
        assert_int_equal(got.st_uid, want.st_uid);
        assert_int_equal(got.st_gid, want.st_gid);
        assert_int_equal(got.st_nlink, S_ISDIR(want.st_mode) ? 3 : want.st_nlink);
        if (!S_ISDIR(want.st_mode))
            assert_int_equal(got.st_size, want.st_size);
        assert_memory_equal(&got.st_mtim, &want.st_mtim, sizeof(want.st_mtim));
        assert_memory_equal(&got.st_ctim, &want.st_mtim, sizeof(want.st_mtim));
    }
    struct stat st;
    assert_int_equal(find(tree, 0, "hello"), find(tree, 0, "again"));
    assert_int_equal(engine_tree_stat(tree, find(tree, 0, "big"), &st), 0);
    assert_int_equal(st.st_blocks, (BIG_BYTES + 4095) / 4096 * 8);
    assert_int_equal(engine_tree_stat(tree, 4711, &st), -ENOENT);
    engine_tree_put(tree);
}

static void directories_are_listed_in_order(void **state)
{
    struct engine_tree *tree = open_tree(*state);
    static const char *const want[] = {"again", "big", "dir", "hello", "link", "sparse"};
    const char *name = NULL;
    size_t len = 0;
    uint32_t inode = 0;
    for (uint32_t k = 0; k < 6; k++) {
        assert_int_equal(engine_tree_entry(tree, 0, k, &name, &len, &inode), 1);
        assert_int_equal(len, strlen(want[k]));
        assert_memory_equal(name, want[k], len);
        assert_int_equal(inode, find(tree, 0, want[k]));
    }
    assert_int_equal(engine_tree_entry(tree, 0, 6, &name, &len, &inode), 0);
    uint32_t dir = find(tree, 0, "dir");
    uint32_t inner = find(tree, dir, "inner");
    assert_int_equal(engine_tree_parent(tree, inner), dir);
    assert_int_equal(engine_tree_parent(tree, dir), 0);
    assert_int_equal(engine_tree_parent(tree, 0), 0);
    assert_int_equal(engine_tree_entry(tree, inner, 0, &name, &len, &inode), 0);
    assert_int_equal(engine_tree_find(tree, dir, "none", &inode), -ENOENT);
    assert_int_equal(engine_tree_find(tree, find(tree, 0, "hello"), "x", &inode), -ENOTDIR);
    engine_tree_put(tree);
}

static void content_is_read(void **state)
{
    struct fixture *f = *state;
    struct engine_tree *tree = open_tree(f);
    uint32_t big = find(tree, 0, "big");
    static const struct {
        uint64_t offset;
        size_t len;
    } reads[] = {{0, BIG_BYTES}, {0, 1}, {1, 200000}, {65535, 2}, {699999, 100}, {300000, 131072}};
    OWNED uint8_t *out = malloc(BIG_BYTES);
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
        size_t left = BIG_BYTES - (size_t)reads[i].offset;
        size_t want = reads[i].len < left ? reads[i].len : left;
        memset(out, 0xaa, BIG_BYTES);
        assert_int_equal(engine_tree_read(tree, big, out, reads[i].len, reads[i].offset), want);
        assert_memory_equal(out, f->big + reads[i].offset, want);
    }
    assert_int_equal(engine_tree_read(tree, big, out, 10, BIG_BYTES), 0);
    assert_int_equal(engine_tree_read(tree, big, out, 10, UINT64_MAX), 0);
    assert_int_equal(engine_tree_read(tree, find(tree, 0, "dir"), out, 10, 0), -EINVAL);
    assert_int_equal(engine_tree_read(tree, find(tree, find(tree, 0, "dir"), "empty"), out, 10, 0), 0);
    engine_tree_put(tree);
}

static void holes_are_holes(void **state)
{
    struct fixture *f = *state;
    struct engine_tree *tree = open_tree(f);
    uint32_t sparse = find(tree, 0, "sparse");
    uint8_t out[64];
    uint8_t want[64] = {0};
    static const uint8_t digits[] = {'0', '1', '2', '3', '4', '5', '6', '7', '8', '9'};
    memcpy(want, f->big + HOLE_AT - 20, 20);
    assert_int_equal(engine_tree_read(tree, sparse, out, 64, HOLE_AT - 20), 64);
    assert_memory_equal(out, want, 64);
    memset(want, 0, sizeof(want));
    memcpy(want + 30, digits, sizeof(digits));
    assert_int_equal(engine_tree_read(tree, sparse, out, 64, HOLE_END - 30), 40);
    assert_memory_equal(out, want, 40);
    assert_int_equal(engine_tree_seek(tree, sparse, HOLE_END + 10, SEEK_DATA), -ENXIO);
    assert_int_equal(engine_tree_seek(tree, sparse, HOLE_END, SEEK_HOLE), HOLE_END + 10);
    assert_int_equal(engine_tree_seek(tree, sparse, 0, SEEK_CUR), -EINVAL);
    if (f->has_holes) {
        assert_int_equal(engine_tree_seek(tree, sparse, 5, SEEK_DATA), 5);
        assert_int_equal(engine_tree_seek(tree, sparse, 5, SEEK_HOLE), HOLE_AT);
        assert_int_equal(engine_tree_seek(tree, sparse, HOLE_AT + 1, SEEK_HOLE), HOLE_AT + 1);
        assert_int_equal(engine_tree_seek(tree, sparse, HOLE_AT + 1, SEEK_DATA), HOLE_END);
    }
    engine_tree_put(tree);
}

static void targets_and_xattrs(void **state)
{
    struct fixture *f = *state;
    struct engine_tree *tree = open_tree(f);
    const char *target = NULL;
    size_t len = 0;
    assert_int_equal(engine_tree_readlink(tree, find(tree, 0, "link"), &target, &len), 0);
    assert_int_equal(len, 8);
    assert_memory_equal(target, "../hello", 8);
    assert_int_equal(engine_tree_readlink(tree, 0, &target, &len), -EINVAL);
    if (f->has_xattrs) {
        const void *value = NULL;
        uint32_t big = find(tree, 0, "big");
        assert_int_equal(engine_tree_getxattr(tree, big, "user.two", &value, &len), 0);
        assert_int_equal(len, 2);
        assert_memory_equal(value, "22", 2);
        assert_int_equal(engine_tree_getxattr(tree, big, "user.three", &value, &len), -ENODATA);
        OWNED_BUF struct buf names = BUF_EMPTY;
        assert_int_equal(engine_tree_listxattr(tree, big, &names), 0);
        assert_int_equal(names.len_bytes, 18);
        assert_memory_equal(names.bytes, "user.one\0user.two", 18);
        assert_int_equal(engine_tree_getxattr(tree, 0, "user.one", &value, &len), -ENODATA);
    }
    engine_tree_put(tree);
}

/* Opened twice it is one image; removed, it stays readable for who has it; and it comes back after a restart.
 */
static void images_are_shared(void **state)
{
    struct fixture *f = *state;
    struct catalog_running row;
    struct shared_image *a = NULL;
    struct shared_image *b = NULL;
    close_parts(f);
    open_parts(f);
    assert_int_equal(runnings_get(f->engine.runnings, f->running, &row), 0);
    assert_int_equal(runnings_image_get(f->engine.runnings, row.image, &a, NULL), 0);
    assert_int_equal(runnings_image_get(f->engine.runnings, row.image, &b, NULL), 0);
    assert_ptr_equal(a, b);
    runnings_image_put(f->engine.runnings, a);
    runnings_image_put(f->engine.runnings, b);
    struct engine_tree *tree = open_tree(f);
    assert_int_equal(runnings_remove(f->engine.runnings, f->running, NULL), 0);
    char text[32];
    assert_int_equal(engine_tree_read(tree, find(tree, 0, "hello"), text, sizeof(text), 0), 13);
    engine_tree_put(tree);
    assert_int_equal(engine_tree_open(&f->engine, f->running, &tree, NULL), -ENOENT);
}

static void a_missing_image_is_said(void **state)
{
    struct fixture *f = *state;
    struct catalog_running row = {.name = "lost", .content = {.bytes = {1, 2, 3}}};
    assert_int_equal(catalog_running_add(f->engine.catalog, &row, false, NULL), 1);
    assert_int_equal(runnings_added(f->engine.runnings, &row), 0);
    for (int i = 0; i < 2; i++) {
        struct engine_tree *tree = NULL;
        struct err err = {0};
        assert_true(engine_tree_open(&f->engine, row.id, &tree, &err) < 0);
        assert_true(err.message[0] != '\0');
    }
}

#define WITH_TREE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TREE(attributes_are_the_source_s),
        WITH_TREE(directories_are_listed_in_order),
        WITH_TREE(content_is_read),
        WITH_TREE(holes_are_holes),
        WITH_TREE(targets_and_xattrs),
        WITH_TREE(images_are_shared),
        WITH_TREE(a_missing_image_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
