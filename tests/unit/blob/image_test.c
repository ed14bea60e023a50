/* Images: one tree, one run of bytes; what was built is read back; what the builder refuses; golden bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <inttypes.h>

#include "base/fdio.h"
#include "image_sample.h"

static struct blob_image *parsed(struct buf *bytes)
{
    struct blob_image *image = NULL;
    struct err err = {0};
    int r = blob_image_parse(bytes, &image, &err);
    if (r < 0)
        fail_msg("parse: %s", err.message);
    assert_null(bytes->bytes);
    return image;
}

static struct blob_image *sample(void)
{
    struct buf bytes = BUF_EMPTY;
    struct err err = {0};
    int r = sample_build(0, &bytes, &err);
    if (r < 0)
        fail_msg("build: %d %s", r, err.message);
    return parsed(&bytes);
}

static void check_inode(const struct blob_image *image, uint32_t which)
{
    static const uint32_t nlinks[SAMPLE_INODES] = {3, 2, 1, 1, 1, 1, 2, 1, 1, 2};
    struct blob_inode want = sample_inode((int)which), got;
    blob_image_inode(image, which, &got);
    assert_int_equal(got.mode, want.mode);
    assert_int_equal(got.uid, want.uid);
    assert_int_equal(got.gid, want.gid);
    assert_int_equal(got.mtime_s, want.mtime_s);
    assert_int_equal(got.mtime_ns, want.mtime_ns);
    assert_int_equal(got.size_bytes, want.size_bytes);
    assert_int_equal(got.rdev_major, want.rdev_major);
    assert_int_equal(got.rdev_minor, want.rdev_minor);
    assert_int_equal(got.nlink, nlinks[which]);
    assert_int_equal(got.parent, which == SAMPLE_SH ? SAMPLE_BIN : SAMPLE_ROOT);
    if (want.target)
        assert_memory_equal(got.target, want.target, want.size_bytes);
    else
        assert_null(got.target);
}

static void what_was_built_is_read(void **state)
{
    (void)state;
    struct blob_image *image = sample();
    assert_true(blob_image_has_ids(image));
    assert_int_equal(blob_image_inodes(image), SAMPLE_INODES);
    assert_int_equal(blob_image_chunks(image), 3);
    assert_int_equal(blob_image_content_bytes(image), 4096 + 65536 + 4096 + 65536 + 4464);
    for (uint32_t i = 0; i < SAMPLE_INODES; i++)
        check_inode(image, i);

    struct blob_inode in;
    blob_image_inode(image, SAMPLE_BIN, &in);
    static const char *const names[] = {"ash", "sh", "sh.symlink"};
    static const uint32_t inodes[] = {SAMPLE_SH, SAMPLE_SH, SAMPLE_LINK};
    assert_int_equal(in.entries, 3);
    for (uint32_t i = 0; i < in.entries; i++) {
        struct blob_entry entry;
        blob_image_entry(image, in.entries_first + i, &entry);
        assert_int_equal(entry.name_bytes, strlen(names[i]));
        assert_memory_equal(entry.name, names[i], entry.name_bytes);
        assert_int_equal(entry.inode, inodes[i]);
    }
    blob_image_free(image);
}

static void extents_and_chunks(void **state)
{
    (void)state;
    struct blob_image *image = sample();
    struct blob_inode in;
    struct blob_extent extent;
    struct blob_chunk chunk;
    static const uint64_t offsets[] = {8192, UINT64_C(10) << 30, (UINT64_C(20) << 30) - 4096};
    static const uint32_t chunks[] = {0, 1, 0}; /* numbered by first use, in the order of inodes */
    blob_image_inode(image, SAMPLE_SPARSE, &in);
    assert_int_equal(in.extents, 3);
    for (uint32_t i = 0; i < 3; i++) {
        blob_image_extent(image, in.extents_first + i, &extent);
        assert_int_equal(extent.offset_bytes, offsets[i]);
        assert_int_equal(extent.chunk, chunks[i]);
    }
    blob_image_inode(image, SAMPLE_SH, &in);
    assert_int_equal(in.extents, 2);
    blob_image_extent(image, in.extents_first, &extent);
    assert_int_equal(extent.chunk, 1);
    blob_image_extent(image, in.extents_first + 1, &extent);
    assert_int_equal(extent.chunk, 2);
    struct blob_chunk want = sample_chunk(0xdd, 4464);
    blob_image_chunk(image, 2, &chunk);
    assert_int_equal(chunk.raw_bytes, want.raw_bytes);
    assert_int_equal(chunk.check, want.check);
    assert_memory_equal(chunk.id.bytes, want.id.bytes, BLOB_ID_BYTES);
    blob_image_free(image);
}

static void names_are_found(void **state)
{
    (void)state;
    struct blob_image *image = sample();
    assert_int_equal(blob_image_find(image, SAMPLE_ROOT, "bin", 3), SAMPLE_BIN);
    assert_int_equal(blob_image_find(image, SAMPLE_ROOT, "sparse", 6), SAMPLE_SPARSE);
    assert_int_equal(blob_image_find(image, SAMPLE_BIN, "sh", 2), SAMPLE_SH);
    assert_int_equal(blob_image_find(image, SAMPLE_BIN, "s", 1), BLOB_NO_INODE);
    assert_int_equal(blob_image_find(image, SAMPLE_BIN, "sh.", 3), BLOB_NO_INODE);
    assert_int_equal(blob_image_find(image, SAMPLE_ROOT, "aaa", 3), BLOB_NO_INODE);
    assert_int_equal(blob_image_find(image, SAMPLE_ROOT, "zzz", 3), BLOB_NO_INODE);
    assert_int_equal(blob_image_find(image, SAMPLE_LINK, "sh", 2), BLOB_NO_INODE);
    blob_image_free(image);
}

static void xattrs_are_read(void **state)
{
    (void)state;
    struct blob_image *image = sample();
    struct blob_inode in, other;
    struct blob_xattr x;
    blob_image_inode(image, SAMPLE_SH, &in);
    blob_image_inode(image, SAMPLE_EMPTY, &other);
    assert_int_equal(in.xattr_set, other.xattr_set); /* equal sets are one */
    assert_int_equal(in.xattr_set, 1);               /* by first use: the empty file's */
    static const char *const names[] = {"security.capability", "user.a", "user.b"};
    for (uint32_t k = 0; k < 3; k++) {
        assert_true(blob_image_xattr(image, in.xattr_set, k, &x));
        assert_int_equal(x.name_bytes, strlen(names[k]));
        assert_memory_equal(x.name, names[k], x.name_bytes);
    }
    assert_false(blob_image_xattr(image, in.xattr_set, 3, &x));
    assert_false(blob_image_xattr(image, 0, 0, &x));
    assert_true(blob_image_xattr_find(image, SAMPLE_SH, "user.b", &x));
    assert_int_equal(x.value_bytes, 3);
    assert_memory_equal(x.value, "two", 3);
    assert_true(blob_image_xattr_find(image, SAMPLE_SH, "user.a", &x));
    assert_int_equal(x.value_bytes, 0);
    assert_false(blob_image_xattr_find(image, SAMPLE_SH, "user.c", &x));
    assert_false(blob_image_xattr_find(image, SAMPLE_ROOT, "user.a", &x));
    assert_true(blob_image_xattr_find(image, SAMPLE_SPARSE, "user.c", &x));
    blob_image_free(image);
}

static void the_order_of_adding_does_not_show(void **state)
{
    (void)state;
    OWNED_BUF struct buf first = BUF_EMPTY;
    assert_int_equal(sample_build(0, &first, NULL), 0);
    for (unsigned seed = 1; seed < 60; seed++) {
        OWNED_BUF struct buf other = BUF_EMPTY;
        assert_int_equal(sample_build(seed, &other, NULL), 0);
        assert_int_equal(other.len_bytes, first.len_bytes);
        assert_memory_equal(other.bytes, first.bytes, first.len_bytes);
    }
}

static void stripped_is_the_same_without_ids(void **state)
{
    (void)state;
    struct blob_image *image = sample();
    struct buf bytes = BUF_EMPTY;
    assert_int_equal(blob_image_strip(image, &bytes), 0);
    size_t stripped_bytes = bytes.len_bytes;
    struct blob_image *stripped = parsed(&bytes);
    const uint8_t *view;
    assert_int_equal(blob_image_bytes(image, &view) - stripped_bytes, 3 * BLOB_ID_BYTES);
    assert_int_equal(blob_image_bytes(stripped, &view), stripped_bytes);
    assert_false(blob_image_has_ids(stripped));
    for (uint32_t i = 0; i < SAMPLE_INODES; i++)
        check_inode(stripped, i);
    for (uint32_t i = 0; i < 3; i++) {
        struct blob_chunk with, without;
        blob_image_chunk(image, i, &with);
        blob_image_chunk(stripped, i, &without);
        assert_int_equal(with.check, without.check);
        assert_int_equal(with.raw_bytes, without.raw_bytes);
        for (size_t k = 0; k < BLOB_ID_BYTES; k++)
            assert_int_equal(without.id.bytes[k], 0);
    }
    /* Stripping twice changes nothing more. */
    OWNED_BUF struct buf again = BUF_EMPTY;
    assert_int_equal(blob_image_strip(stripped, &again), 0);
    assert_int_equal(again.len_bytes, stripped_bytes);
    assert_memory_equal(again.bytes, view, stripped_bytes);
    blob_image_free(stripped);
    blob_image_free(image);
}

static void compare_golden(const char *name, const uint8_t *bytes, size_t len_bytes)
{
    OWNED_FD dir = open(GOLDEN_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);
    if (getenv("GOLDEN_WRITE"))
        assert_int_equal(file_replace(dir, name, 0644, bytes, len_bytes), 0);
    OWNED_BUF struct buf golden = BUF_EMPTY;
    assert_int_equal(file_read(dir, name, 1 << 20, &golden), 0);
    assert_int_equal(golden.len_bytes, len_bytes);
    assert_memory_equal(golden.bytes, bytes, len_bytes);
}

static void golden_bytes(void **state)
{
    (void)state;
    struct blob_image *image = sample();
    const uint8_t *bytes;
    size_t len_bytes = blob_image_bytes(image, &bytes);
    compare_golden("image.bin", bytes, len_bytes);
    OWNED_BUF struct buf stripped = BUF_EMPTY;
    assert_int_equal(blob_image_strip(image, &stripped), 0);
    compare_golden("image-stripped.bin", stripped.bytes, stripped.len_bytes);
    blob_image_free(image);
}

/* A tree of `files` files in directories of 50, with `skip` left out. */
static void build_many(uint32_t files, uint32_t skip, struct buf *out)
{
    struct blob_image_builder *b = NULL;
    assert_int_equal(blob_image_builder_new(&b), 0);
    struct blob_inode dir = {.mode = S_IFDIR | 0755}, file = {.mode = S_IFREG | 0644, .size_bytes = 1000};
    assert_int_equal(blob_image_add_inode(b, &dir), 0);
    int64_t in = 0;
    for (uint32_t i = 0; i < files; i++) {
        char name[32];
        if (i % 50 == 0) {
            in = blob_image_add_inode(b, &dir);
            snprintf(name, sizeof(name), "dir-%06u", i);
            assert_int_equal(blob_image_add_entry(b, 0, name, strlen(name), (uint32_t)in), 0);
        }
        if (i == skip)
            continue;
        int64_t inode = blob_image_add_inode(b, &file);
        assert_true(inode > 0);
        snprintf(name, sizeof(name), "file-%06u", i);
        assert_int_equal(blob_image_add_entry(b, (uint32_t)in, name, strlen(name), (uint32_t)inode), 0);
        struct blob_chunk chunk = {.raw_bytes = 1000, .check = i};
        memcpy(chunk.id.bytes, &i, sizeof(i));
        assert_int_equal(blob_image_add_extent(b, (uint32_t)inode, 0, &chunk), 0);
    }
    assert_int_equal(blob_image_build(b, out, NULL), 0);
    blob_image_builder_free(b);
}

/* What makes images of nearly the same tree share their chunks: a file more moves bytes, but alters few. */
static void one_file_more_alters_few_bytes(void **state)
{
    (void)state;
    OWNED_BUF struct buf a = BUF_EMPTY;
    OWNED_BUF struct buf b = BUF_EMPTY;
    build_many(5000, UINT32_MAX, &a);
    build_many(5000, 777, &b);
    /* In every section the records before and after the one that is missing are the same bytes: count how
     * many bytes two pointers, that skip together, do not match. */
    size_t i = 0, k = 0, odd = 0;
    while (i < a.len_bytes && k < b.len_bytes) {
        if (a.bytes[i] == b.bytes[k]) {
            i++;
            k++;
            continue;
        }
        odd++;
        /* A record less in b: find where they meet again. */
        size_t skip = 1;
        while (skip < 64 && (i + skip + 64 > a.len_bytes || k + 64 > b.len_bytes ||
                             memcmp(a.bytes + i + skip, b.bytes + k, 64) != 0))
            skip++;
        i += skip < 64 ? skip : 1;
        k += skip < 64 ? 0 : 1;
    }
    assert_true(odd < 64);
    struct blob_image *image = parsed(&a);
    assert_int_equal(blob_image_inodes(image), 1 + 5000 + 100);
    uint32_t dir = blob_image_find(image, 0, "dir-004950", 10);
    assert_true(dir != BLOB_NO_INODE);
    assert_true(blob_image_find(image, dir, "file-004999", 11) != BLOB_NO_INODE);
    blob_image_free(image);
}

static void deep_trees(void **state)
{
    (void)state;
    struct blob_image_builder *b = NULL;
    assert_int_equal(blob_image_builder_new(&b), 0);
    struct blob_inode dir = {.mode = S_IFDIR | 0700};
    char name[255];
    memset(name, 'n', sizeof(name));
    for (uint32_t i = 0; i < 4001; i++) {
        assert_int_equal(blob_image_add_inode(b, &dir), i);
        if (i > 0)
            assert_int_equal(blob_image_add_entry(b, i - 1, name, sizeof(name), i), 0);
    }
    struct buf bytes = BUF_EMPTY;
    assert_int_equal(blob_image_build(b, &bytes, NULL), 0);
    blob_image_builder_free(b);
    struct blob_image *image = parsed(&bytes);
    struct blob_inode in;
    blob_image_inode(image, 4000, &in);
    assert_int_equal(in.parent, 3999);
    assert_int_equal(blob_image_find(image, 3999, name, sizeof(name)), 4000);
    blob_image_free(image);
}

static void the_builder_refuses(void **state)
{
    (void)state;
    struct blob_image_builder *b = NULL;
    OWNED_BUF struct buf out = BUF_EMPTY;
    struct err err = {0};
    assert_int_equal(blob_image_builder_new(&b), 0);
    assert_int_equal(blob_image_build(b, &out, &err), -EINVAL); /* no root */
    struct blob_inode dir = {.mode = S_IFDIR}, file = {.mode = S_IFREG, .size_bytes = 10};
    assert_int_equal(blob_image_add_inode(b, &file), -EINVAL); /* the root is a directory */
    assert_int_equal(blob_image_add_inode(b, &dir), 0);
    assert_int_equal(blob_image_add_inode(b, &file), 1);
    struct blob_inode odd = {.mode = 0777};
    assert_int_equal(blob_image_add_inode(b, &odd), -EINVAL);
    odd = (struct blob_inode){.mode = S_IFLNK, .target = "", .size_bytes = 0};
    assert_int_equal(blob_image_add_inode(b, &odd), -EINVAL);
    odd = (struct blob_inode){.mode = S_IFIFO, .mtime_ns = 1000000000};
    assert_int_equal(blob_image_add_inode(b, &odd), -EINVAL);

    static const char *const names[] = {"", ".", "..", "a/b"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(blob_image_add_entry(b, 0, names[i], strlen(names[i]), 1), -EINVAL);
    assert_int_equal(blob_image_add_entry(b, 0, "a\0b", 3, 1), -EINVAL);
    assert_int_equal(blob_image_add_entry(b, 1, "a", 1, 1), -EINVAL);
    assert_int_equal(blob_image_add_entry(b, 0, "a", 1, 0), -EINVAL);
    assert_int_equal(blob_image_add_entry(b, 0, "a", 1, 2), -EINVAL);

    struct blob_chunk chunk = sample_chunk(1, 6);
    assert_int_equal(blob_image_add_extent(b, 0, 0, &chunk), -EINVAL);
    assert_int_equal(blob_image_add_extent(b, 1, 5, &chunk), -EINVAL); /* behind the end */
    assert_int_equal(blob_image_add_extent(b, 1, 2, &chunk), 0);
    assert_int_equal(blob_image_add_extent(b, 1, 4, &chunk), -EINVAL); /* over another */
    assert_int_equal(blob_image_add_xattr(b, 1, "", "x", 1), -EINVAL);

    assert_int_equal(blob_image_build(b, &out, &err), -EINVAL); /* the file has no name */
    assert_int_equal(blob_image_add_entry(b, 0, "a", 1, 1), 0);
    assert_int_equal(blob_image_build(b, &out, &err), 0);
    assert_int_equal(blob_image_add_entry(b, 0, "a", 1, 1), 0);
    assert_int_equal(blob_image_build(b, &out, &err), -EINVAL); /* one name twice */
    blob_image_builder_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_built_is_read),
        cmocka_unit_test(extents_and_chunks),
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(xattrs_are_read),
        cmocka_unit_test(the_order_of_adding_does_not_show),
        cmocka_unit_test(stripped_is_the_same_without_ids),
        cmocka_unit_test(golden_bytes),
        cmocka_unit_test(one_file_more_alters_few_bytes),
        cmocka_unit_test(deep_trees),
        cmocka_unit_test(the_builder_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
