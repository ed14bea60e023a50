/* A small tree with one of everything, for the tests of images: added in any order, it is the same image. */
#ifndef TEST_BLOB_IMAGE_SAMPLE_H
#define TEST_BLOB_IMAGE_SAMPLE_H

#include <string.h>
#include <sys/stat.h>

#include "blob/image.h"

/* Inodes of the sample, as they are numbered canonically. */
enum {
    SAMPLE_ROOT,
    SAMPLE_BIN,
    SAMPLE_CONSOLE,
    SAMPLE_DISK,
    SAMPLE_EMPTY,
    SAMPLE_FIFO,
    SAMPLE_LINK,
    SAMPLE_SOCKET,
    SAMPLE_SPARSE,
    SAMPLE_SH,
    SAMPLE_INODES
};

static inline struct blob_chunk sample_chunk(uint8_t fill, uint32_t raw_bytes)
{
    struct blob_chunk chunk = {.raw_bytes = raw_bytes, .check = UINT64_C(0x0102030405060700) + fill};
    memset(chunk.id.bytes, fill, sizeof(chunk.id.bytes));
    return chunk;
}

static inline struct blob_inode sample_inode(int which)
{
    struct blob_inode in = {.uid = 10u + (uint32_t)which,
                            .gid = 20u + (uint32_t)which,
                            .mtime_s = 1000 + which,
                            .mtime_ns = 999999990u + (uint32_t)which % 10};
    switch (which) {
    case SAMPLE_ROOT:
        in.mode = S_IFDIR | 0755;
        in.mtime_s = -1;
        break;
    case SAMPLE_BIN:
        in.mode = S_IFDIR | 01777;
        break;
    case SAMPLE_CONSOLE:
        in.mode = S_IFCHR | 0600;
        in.rdev_major = 5;
        in.rdev_minor = 1;
        break;
    case SAMPLE_DISK:
        in.mode = S_IFBLK | 0660;
        in.rdev_major = 259;
        in.rdev_minor = 70000;
        break;
    case SAMPLE_EMPTY:
        in.mode = S_IFREG | 0;
        break;
    case SAMPLE_FIFO:
        in.mode = S_IFIFO | 0644;
        break;
    case SAMPLE_LINK:
        in.mode = S_IFLNK | 0777;
        in.target = "bin/sh";
        in.size_bytes = 6;
        break;
    case SAMPLE_SOCKET:
        in.mode = S_IFSOCK | 0755;
        break;
    case SAMPLE_SPARSE:
        in.mode = S_IFREG | 0640;
        in.size_bytes = UINT64_C(20) << 30;
        break;
    default:
        in.mode = S_IFREG | 04755;
        in.size_bytes = 70000;
        break;
    }
    return in;
}

/* Builds it with the inodes and entries added in the order that `seed` gives (0: as they are numbered). */
static inline int sample_build(unsigned seed, struct buf *out, struct err *err)
{
    static const struct {
        int dir, inode;
        const char *name;
    } entries[] = {
        {SAMPLE_ROOT, SAMPLE_BIN, "bin"},        {SAMPLE_ROOT, SAMPLE_CONSOLE, "console"},
        {SAMPLE_ROOT, SAMPLE_DISK, "disk"},      {SAMPLE_ROOT, SAMPLE_EMPTY, "empty"},
        {SAMPLE_ROOT, SAMPLE_FIFO, "fifo"},      {SAMPLE_ROOT, SAMPLE_LINK, "link"},
        {SAMPLE_ROOT, SAMPLE_SOCKET, "socket"},  {SAMPLE_ROOT, SAMPLE_SPARSE, "sparse"},
        {SAMPLE_BIN, SAMPLE_SH, "ash"},          {SAMPLE_BIN, SAMPLE_SH, "sh"},
        {SAMPLE_BIN, SAMPLE_LINK, "sh.symlink"},
    };
    const unsigned n_entries = sizeof(entries) / sizeof(entries[0]);
    struct blob_image_builder *b = NULL;
    int r = blob_image_builder_new(&b);
    uint32_t number[SAMPLE_INODES];
    for (unsigned i = 0; r == 0 && i < SAMPLE_INODES; i++) {
        /* The root comes first, always; 9 others, stepped through by 1, 2, 4, 5, 7 or 8, which are prime
         * to 9. */
        static const unsigned steps[] = {1, 2, 4, 5, 7, 8};
        unsigned which = i == 0 ? 0 : 1 + ((i - 1) * steps[seed % 6] + seed) % (SAMPLE_INODES - 1);
        struct blob_inode in = sample_inode((int)which);
        int64_t added = blob_image_add_inode(b, &in);
        r = added < 0 ? (int)added : 0;
        number[which] = (uint32_t)added;
    }
    for (unsigned i = 0; r == 0 && i < n_entries; i++) {
        unsigned k = (i * (1 + seed % 10) + seed) % n_entries; /* 11 is prime */
        r = blob_image_add_entry(b, number[entries[k].dir], entries[k].name, strlen(entries[k].name),
                                 number[entries[k].inode]);
    }
    struct blob_chunk a = sample_chunk(0xaa, 4096), c = sample_chunk(0xcc, 65536),
                      d = sample_chunk(0xdd, 4464);
    if (r == 0)
        r = blob_image_add_extent(b, number[SAMPLE_SH], 0, &c);
    if (r == 0)
        r = blob_image_add_extent(b, number[SAMPLE_SPARSE], 8192, &a);
    if (r == 0)
        r = blob_image_add_extent(b, number[SAMPLE_SH], 65536, &d);
    if (r == 0)
        r = blob_image_add_extent(b, number[SAMPLE_SPARSE], UINT64_C(10) << 30, &c);
    if (r == 0)
        r = blob_image_add_extent(b, number[SAMPLE_SPARSE], (UINT64_C(20) << 30) - 4096, &a);
    static const char *const xattrs[][2] = {
        {"user.b", "two"}, {"security.capability", "cap"}, {"user.a", ""}};
    for (unsigned i = 0; r == 0 && i < 3; i++) {
        const char *const *x = xattrs[(i + seed) % 3];
        r = blob_image_add_xattr(b, number[SAMPLE_SH], x[0], x[1], strlen(x[1]));
        if (r == 0)
            r = blob_image_add_xattr(b, number[SAMPLE_EMPTY], x[0], x[1], strlen(x[1]));
    }
    if (r == 0)
        r = blob_image_add_xattr(b, number[SAMPLE_SPARSE], "user.c", "x", 1);
    if (r == 0)
        r = blob_image_build(b, out, err);
    blob_image_builder_free(b);
    return r;
}

#endif
