/*
 * Hostile images: each promise of blob_image_parse (image.h) broken by hand, one byte or field at a time. The
 * agent's safety rests on these.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "image_format.h"
#include "image_sample.h"
#include "random.h"

/* The sample's sections. */
struct lay {
    uint8_t *header, *inodes, *entries, *extents, *chunks, *xattrs, *targets;
};

static struct lay lay_of(const struct buf *b)
{
    struct lay l = {.header = b->bytes};
    l.inodes = l.header + IMAGE_HEADER_BYTES;
    l.entries = l.inodes + (size_t)le32_at(l.header + IMAGE_AT_INODES) * INODE_BYTES;
    l.extents = l.entries + le32_at(l.header + IMAGE_AT_ENTRY_BYTES);
    l.chunks = l.extents + (size_t)le32_at(l.header + IMAGE_AT_EXTENTS) * EXTENT_BYTES;
    l.xattrs = l.chunks + (size_t)le32_at(l.header + IMAGE_AT_CHUNKS) * image_chunk_bytes(true);
    l.targets = l.xattrs + le32_at(l.header + IMAGE_AT_XATTR_BYTES);
    return l;
}

static uint8_t *inode(const struct lay *l, unsigned which, unsigned field)
{
    return l->inodes + (size_t)which * INODE_BYTES + field;
}

/* Where entry `k` of all lies. */
static uint8_t *entry(const struct lay *l, unsigned k)
{
    uint8_t *p = l->entries;
    while (k-- > 0)
        p += ENTRY_AT_NAME + p[ENTRY_AT_NAME_BYTES];
    return p;
}

static uint8_t *extent(const struct lay *l, unsigned k, unsigned field)
{
    return l->extents + (size_t)k * EXTENT_BYTES + field;
}

/* Entries: 0 bin, 1 console, 2 disk, 3 empty, 4 fifo, 5 link, 6 socket, 7 sparse; 8 ash, 9 sh, 10 sh.symlink.
 * Extents: 0 to 2 of sparse (chunks 0 1 0), 3 and 4 of sh (chunks 1 2). */
enum { ENTRY_BIN, ENTRY_CONSOLE, ENTRY_ASH = 8, ENTRY_SH, ENTRY_SYMLINK };

#define DAMAGE(name) static void name(const struct lay *l)

DAMAGE(other_magic)
{
    l->header[0] ^= 1;
}
DAMAGE(version_zero)
{
    le32_to(l->header + IMAGE_AT_VERSION, 0);
}
DAMAGE(unknown_flag)
{
    le32_to(l->header + IMAGE_AT_FLAGS, 3);
}
DAMAGE(no_ids_said)
{
    le32_to(l->header + IMAGE_AT_FLAGS, 0);
}
DAMAGE(other_total)
{
    le32_to(l->header + IMAGE_AT_TOTAL_BYTES, le32_at(l->header + IMAGE_AT_TOTAL_BYTES) - 1);
}
DAMAGE(no_inodes)
{
    le32_to(l->header + IMAGE_AT_INODES, 0);
}
DAMAGE(many_inodes)
{
    le32_to(l->header + IMAGE_AT_INODES, UINT32_MAX);
}
DAMAGE(many_entries)
{
    le32_to(l->header + IMAGE_AT_ENTRIES, UINT32_MAX);
}
DAMAGE(an_entry_too_many)
{
    le32_to(l->header + IMAGE_AT_ENTRIES, 12);
}
DAMAGE(an_entry_too_few)
{
    le32_to(l->header + IMAGE_AT_ENTRIES, 10);
}
DAMAGE(many_extents)
{
    le32_to(l->header + IMAGE_AT_EXTENTS, UINT32_MAX);
}
DAMAGE(many_chunks)
{
    le32_to(l->header + IMAGE_AT_CHUNKS, UINT32_MAX);
}
DAMAGE(many_sets)
{
    le32_to(l->header + IMAGE_AT_SETS, UINT32_MAX);
}
DAMAGE(a_set_too_few)
{
    le32_to(l->header + IMAGE_AT_SETS, 1);
}
DAMAGE(many_xattrs)
{
    le32_to(l->header + IMAGE_AT_XATTRS, UINT32_MAX);
}
DAMAGE(an_xattr_too_few)
{
    le32_to(l->header + IMAGE_AT_XATTRS, 3);
}
DAMAGE(entry_bytes_wrong)
{
    le32_to(l->header + IMAGE_AT_ENTRY_BYTES, le32_at(l->header + IMAGE_AT_ENTRY_BYTES) + 1);
}
DAMAGE(entry_bytes_for_targets)
{
    le32_to(l->header + IMAGE_AT_ENTRY_BYTES, le32_at(l->header + IMAGE_AT_ENTRY_BYTES) + 1);
    le32_to(l->header + IMAGE_AT_TARGET_BYTES, le32_at(l->header + IMAGE_AT_TARGET_BYTES) - 1);
}
DAMAGE(root_is_a_file)
{
    le32_to(inode(l, SAMPLE_ROOT, INODE_AT_MODE), S_IFREG | 0644);
}
DAMAGE(no_type)
{
    le32_to(inode(l, SAMPLE_FIFO, INODE_AT_MODE), 0644);
}
DAMAGE(unknown_type)
{
    le32_to(inode(l, SAMPLE_FIFO, INODE_AT_MODE), 0xf000 | 0644);
}
DAMAGE(mode_beyond_16_bits)
{
    le32_to(inode(l, SAMPLE_FIFO, INODE_AT_MODE), 0x10000 | S_IFIFO | 0644);
}
DAMAGE(owner_that_chown_ignores)
{
    le32_to(inode(l, SAMPLE_SH, INODE_AT_UID), UINT32_MAX);
}
DAMAGE(group_that_chown_ignores)
{
    le32_to(inode(l, SAMPLE_SH, INODE_AT_GID), UINT32_MAX);
}
DAMAGE(a_full_second)
{
    le32_to(inode(l, SAMPLE_SH, INODE_AT_MTIME_NS), 1000000000);
}
DAMAGE(size_of_a_directory)
{
    le64_to(inode(l, SAMPLE_BIN, INODE_AT_SIZE), 4096);
}
DAMAGE(size_of_a_fifo)
{
    le64_to(inode(l, SAMPLE_FIFO, INODE_AT_SIZE), 1);
}
DAMAGE(count_of_a_device)
{
    le32_to(inode(l, SAMPLE_DISK, INODE_AT_COUNT), 1);
}
DAMAGE(count_of_a_socket)
{
    le32_to(inode(l, SAMPLE_SOCKET, INODE_AT_COUNT), 1);
}
DAMAGE(count_of_a_symlink)
{
    le32_to(inode(l, SAMPLE_LINK, INODE_AT_COUNT), 1);
}
DAMAGE(a_negative_size)
{
    le64_to(inode(l, SAMPLE_EMPTY, INODE_AT_SIZE), UINT64_C(1) << 63);
}
DAMAGE(directory_count_up)
{
    le32_to(inode(l, SAMPLE_BIN, INODE_AT_COUNT), 4);
}
DAMAGE(directory_count_huge)
{
    le32_to(inode(l, SAMPLE_ROOT, INODE_AT_COUNT), UINT32_MAX);
}
DAMAGE(directory_count_down)
{
    le32_to(inode(l, SAMPLE_BIN, INODE_AT_COUNT), 2);
}
DAMAGE(entries_of_nobody)
{
    le32_to(inode(l, SAMPLE_ROOT, INODE_AT_COUNT), 0);
}
DAMAGE(set_out_of_range)
{
    le32_to(inode(l, SAMPLE_SH, INODE_AT_SET), 3);
}
DAMAGE(set_not_of_first_use)
{
    le32_to(inode(l, SAMPLE_EMPTY, INODE_AT_SET), 2);
}
DAMAGE(set_of_nobody)
{
    le32_to(inode(l, SAMPLE_SPARSE, INODE_AT_SET), 0);
}
DAMAGE(extents_of_nobody)
{
    le32_to(inode(l, SAMPLE_SH, INODE_AT_COUNT), 1);
}
DAMAGE(extents_too_many)
{
    le32_to(inode(l, SAMPLE_SH, INODE_AT_COUNT), 3);
}
DAMAGE(extent_behind_the_end)
{
    le64_to(inode(l, SAMPLE_SH, INODE_AT_SIZE), 69999);
}
DAMAGE(extent_far_behind_the_end)
{
    le64_to(extent(l, 4, EXTENT_AT_OFFSET), UINT64_MAX);
}
DAMAGE(extent_that_wraps)
{
    le64_to(extent(l, 4, EXTENT_AT_OFFSET), UINT64_MAX - 4000);
}
DAMAGE(extents_that_overlap)
{
    le64_to(extent(l, 4, EXTENT_AT_OFFSET), 65535);
}
DAMAGE(extents_that_descend)
{
    le64_to(extent(l, 1, EXTENT_AT_OFFSET), 0);
}
DAMAGE(extent_before_the_first_chunk)
{
    le32_to(extent(l, 2, EXTENT_AT_BACK), 3);
}
DAMAGE(extent_behind_the_last_chunk)
{
    le32_to(extent(l, 3, EXTENT_AT_BACK), 0);
}
DAMAGE(chunk_of_nobody)
{
    le32_to(extent(l, 4, EXTENT_AT_BACK), 2);
}
DAMAGE(empty_chunk)
{
    le32_to(l->chunks + CHUNK_AT_RAW_BYTES, 0);
}
DAMAGE(chunk_too_long)
{
    le32_to(l->chunks + CHUNK_AT_RAW_BYTES, BLOB_CHUNK_MAX_BYTES + 1);
}
DAMAGE(name_with_slash)
{
    entry(l, ENTRY_ASH)[ENTRY_AT_NAME + 1] = '/';
}
DAMAGE(name_with_nul)
{
    entry(l, ENTRY_ASH)[ENTRY_AT_NAME + 2] = '\0';
}
DAMAGE(name_of_no_bytes)
{
    entry(l, ENTRY_BIN)[ENTRY_AT_NAME_BYTES] = 0;
}
DAMAGE(name_over_the_end)
{
    entry(l, ENTRY_SYMLINK)[ENTRY_AT_NAME_BYTES] = 255;
}
DAMAGE(name_dot_dot)
{
    entry(l, ENTRY_SH)[ENTRY_AT_NAME] = '.';
    entry(l, ENTRY_SH)[ENTRY_AT_NAME + 1] = '.';
}
DAMAGE(name_dot_dot_first)
{
    /* "bin" and the back field of "console" are not touched: "ash" becomes ".." and a byte of the next. */
    uint8_t *p = entry(l, ENTRY_ASH);
    p[ENTRY_AT_NAME_BYTES] = 2;
    memcpy(p + ENTRY_AT_NAME, "..", 2);
}
DAMAGE(name_dot)
{
    uint8_t *p = entry(l, ENTRY_ASH);
    p[ENTRY_AT_NAME_BYTES] = 1;
    p[ENTRY_AT_NAME] = '.';
}
DAMAGE(names_not_sorted)
{
    entry(l, ENTRY_ASH)[ENTRY_AT_NAME] = 't';
}
DAMAGE(one_name_twice)
{
    entry(l, ENTRY_SYMLINK)[ENTRY_AT_NAME + 2] = '\0';
    entry(l, ENTRY_SYMLINK)[ENTRY_AT_NAME_BYTES] = 2;
}
DAMAGE(link_to_the_root)
{
    le32_to(entry(l, ENTRY_SH) + ENTRY_AT_BACK, SAMPLE_INODES);
}
DAMAGE(link_before_the_root)
{
    le32_to(entry(l, ENTRY_SH) + ENTRY_AT_BACK, SAMPLE_INODES + 1);
}
DAMAGE(link_to_a_directory)
{
    le32_to(entry(l, ENTRY_SH) + ENTRY_AT_BACK, SAMPLE_INODES - SAMPLE_BIN);
}
DAMAGE(link_to_an_inode_too_many)
{
    le32_to(entry(l, ENTRY_SH) + ENTRY_AT_BACK, 0);
}
DAMAGE(inode_without_a_name)
{
    le32_to(entry(l, ENTRY_ASH) + ENTRY_AT_BACK, SAMPLE_INODES - 1 - SAMPLE_FIFO);
}
DAMAGE(target_with_nul)
{
    l->targets[3] = '\0';
}
DAMAGE(target_of_no_bytes)
{
    le64_to(inode(l, SAMPLE_LINK, INODE_AT_SIZE), 0);
}
DAMAGE(target_over_the_end)
{
    le64_to(inode(l, SAMPLE_LINK, INODE_AT_SIZE), 7);
}
DAMAGE(target_far_too_long)
{
    le64_to(inode(l, SAMPLE_LINK, INODE_AT_SIZE), UINT64_MAX);
}
DAMAGE(target_not_filled)
{
    le64_to(inode(l, SAMPLE_LINK, INODE_AT_SIZE), 5);
}
DAMAGE(empty_set)
{
    le32_to(l->xattrs, 0);
}
DAMAGE(set_too_long)
{
    le32_to(l->xattrs, UINT32_MAX);
}
DAMAGE(xattr_of_no_name)
{
    l->xattrs[4 + XATTR_AT_NAME_BYTES] = 0;
}
DAMAGE(xattr_name_with_nul)
{
    l->xattrs[4 + XATTR_AT_NAME] = '\0';
}
DAMAGE(xattr_value_too_long)
{
    le32_to(l->xattrs + 4 + XATTR_AT_VALUE_BYTES, UINT32_MAX);
}
DAMAGE(xattr_value_over_the_end)
{
    le32_to(l->xattrs + 4 + XATTR_AT_VALUE_BYTES, 1000);
}
DAMAGE(xattrs_not_sorted)
{
    l->xattrs[4 + XATTR_AT_NAME] = 'z';
}

static const struct {
    const char *name;
    void (*damage)(const struct lay *l);
} damages[] = {
#define ROW(name)                                                                                            \
    {                                                                                                        \
#name, name                                                                                          \
    }
    ROW(other_magic),
    ROW(version_zero),
    ROW(unknown_flag),
    ROW(no_ids_said),
    ROW(other_total),
    ROW(no_inodes),
    ROW(many_inodes),
    ROW(many_entries),
    ROW(an_entry_too_many),
    ROW(an_entry_too_few),
    ROW(many_extents),
    ROW(many_chunks),
    ROW(many_sets),
    ROW(a_set_too_few),
    ROW(many_xattrs),
    ROW(an_xattr_too_few),
    ROW(entry_bytes_wrong),
    ROW(entry_bytes_for_targets),
    ROW(root_is_a_file),
    ROW(no_type),
    ROW(unknown_type),
    ROW(mode_beyond_16_bits),
    ROW(owner_that_chown_ignores),
    ROW(group_that_chown_ignores),
    ROW(a_full_second),
    ROW(size_of_a_directory),
    ROW(size_of_a_fifo),
    ROW(count_of_a_device),
    ROW(count_of_a_socket),
    ROW(count_of_a_symlink),
    ROW(a_negative_size),
    ROW(directory_count_up),
    ROW(directory_count_huge),
    ROW(directory_count_down),
    ROW(entries_of_nobody),
    ROW(set_out_of_range),
    ROW(set_not_of_first_use),
    ROW(set_of_nobody),
    ROW(extents_of_nobody),
    ROW(extents_too_many),
    ROW(extent_behind_the_end),
    ROW(extent_far_behind_the_end),
    ROW(extent_that_wraps),
    ROW(extents_that_overlap),
    ROW(extents_that_descend),
    ROW(extent_before_the_first_chunk),
    ROW(extent_behind_the_last_chunk),
    ROW(chunk_of_nobody),
    ROW(empty_chunk),
    ROW(chunk_too_long),
    ROW(name_with_slash),
    ROW(name_with_nul),
    ROW(name_of_no_bytes),
    ROW(name_over_the_end),
    ROW(name_dot_dot),
    ROW(name_dot_dot_first),
    ROW(name_dot),
    ROW(names_not_sorted),
    ROW(one_name_twice),
    ROW(link_to_the_root),
    ROW(link_before_the_root),
    ROW(link_to_a_directory),
    ROW(link_to_an_inode_too_many),
    ROW(inode_without_a_name),
    ROW(target_with_nul),
    ROW(target_of_no_bytes),
    ROW(target_over_the_end),
    ROW(target_far_too_long),
    ROW(target_not_filled),
    ROW(empty_set),
    ROW(set_too_long),
    ROW(xattr_of_no_name),
    ROW(xattr_name_with_nul),
    ROW(xattr_value_too_long),
    ROW(xattr_value_over_the_end),
    ROW(xattrs_not_sorted),
};

static void each_damage_is_seen(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        struct buf bytes = BUF_EMPTY;
        assert_int_equal(sample_build(0, &bytes, NULL), 0);
        struct lay l = lay_of(&bytes);
        damages[i].damage(&l);
        struct blob_image *image = NULL;
        struct err err = {0};
        int r = blob_image_parse(&bytes, &image, &err);
        if (r != -EBADMSG)
            fail_msg("%s: %d", damages[i].name, r);
        assert_true(err.message[0] != '\0');
        assert_null(bytes.bytes);
        assert_null(image);
    }
}

static void a_newer_format_is_named(void **state)
{
    (void)state;
    struct buf bytes = BUF_EMPTY;
    assert_int_equal(sample_build(0, &bytes, NULL), 0);
    le32_to(bytes.bytes + IMAGE_AT_VERSION, IMAGE_VERSION + 1);
    struct blob_image *image = NULL;
    assert_int_equal(blob_image_parse(&bytes, &image, NULL), -EPROTONOSUPPORT);
}

/* Names that the builder would never write, sorted and all: only the name itself is at fault. */
static void dot_names_alone_in_a_directory(void **state)
{
    (void)state;
    static const char *const names[] = {"..", ".", "/", "a/"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct blob_image_builder *b = NULL;
        struct buf bytes = BUF_EMPTY;
        struct blob_inode dir = {.mode = S_IFDIR};
        assert_int_equal(blob_image_builder_new(&b), 0);
        assert_int_equal(blob_image_add_inode(b, &dir), 0);
        assert_int_equal(blob_image_add_inode(b, &dir), 1);
        assert_int_equal(blob_image_add_entry(b, 0, "xx", strlen(names[i]), 1), 0);
        assert_int_equal(blob_image_build(b, &bytes, NULL), 0);
        blob_image_builder_free(b);
        struct lay l = lay_of(&bytes);
        memcpy(entry(&l, 0) + ENTRY_AT_NAME, names[i], strlen(names[i]));
        struct blob_image *image = NULL;
        assert_int_equal(blob_image_parse(&bytes, &image, NULL), -EBADMSG);
    }
}

static void every_cut_is_seen(void **state)
{
    (void)state;
    OWNED_BUF struct buf whole = BUF_EMPTY;
    assert_int_equal(sample_build(0, &whole, NULL), 0);
    for (size_t len = 0; len < whole.len_bytes; len++) {
        struct buf bytes = BUF_EMPTY;
        buf_put(&bytes, whole.bytes, len);
        if (len >= IMAGE_HEADER_BYTES) /* the length alone must not be what gives it away */
            le32_to(bytes.bytes + IMAGE_AT_TOTAL_BYTES, (uint32_t)len);
        struct blob_image *image = NULL;
        assert_int_equal(blob_image_parse(&bytes, &image, NULL), -EBADMSG);
    }
}

static uint64_t walk(const struct blob_image *image)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < blob_image_inodes(image); i++) {
        struct blob_inode in;
        blob_image_inode(image, i, &in);
        for (uint64_t k = 0; in.target && k < in.size_bytes; k++)
            sum += (unsigned char)in.target[k];
        for (uint32_t k = 0; k < in.entries; k++) {
            struct blob_entry e;
            blob_image_entry(image, in.entries_first + k, &e);
            assert_true(e.inode < blob_image_inodes(image));
            assert_int_equal(blob_image_find(image, i, e.name, e.name_bytes), e.inode);
        }
        for (uint32_t k = 0; k < in.extents; k++) {
            struct blob_extent e;
            struct blob_chunk c;
            blob_image_extent(image, in.extents_first + k, &e);
            assert_true(e.chunk < blob_image_chunks(image));
            blob_image_chunk(image, e.chunk, &c);
            assert_true(e.offset_bytes + c.raw_bytes <= in.size_bytes);
        }
        struct blob_xattr x;
        for (uint32_t k = 0; blob_image_xattr(image, in.xattr_set, k, &x); k++)
            for (uint32_t v = 0; v < x.value_bytes; v++)
                sum += x.value[v];
    }
    return sum;
}

/* What is not refused is safe to walk, whatever was altered. */
static void random_damage_is_seen_or_harmless(void **state)
{
    (void)state;
    OWNED_BUF struct buf whole = BUF_EMPTY;
    assert_int_equal(sample_build(0, &whole, NULL), 0);
    uint64_t seed = 7, sum = 0;
    for (int i = 0; i < 100000; i++) {
        struct buf bytes = BUF_EMPTY;
        buf_put(&bytes, whole.bytes, whole.len_bytes);
        for (uint64_t k = random_next(&seed) % 3 + 1; k > 0; k--)
            bytes.bytes[random_next(&seed) % bytes.len_bytes] = (uint8_t)random_next(&seed);
        struct blob_image *image = NULL;
        if (blob_image_parse(&bytes, &image, NULL) == 0)
            sum += walk(image);
        blob_image_free(image);
    }
    assert_true(sum > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_damage_is_seen),
        cmocka_unit_test(a_newer_format_is_named),
        cmocka_unit_test(dot_names_alone_in_a_directory),
        cmocka_unit_test(every_cut_is_seen),
        cmocka_unit_test(random_damage_is_seen_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
