/* Images from anybody: what parsing lets through can be walked to its last byte, and stripped. */
#include <sys/stat.h>

#include "blob/image.h"
#include "fuzz.h"

static void touch(const void *bytes, size_t len_bytes)
{
    static volatile uint8_t sum;
    for (size_t i = 0; i < len_bytes; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)bytes)[i]);
}

static void walk_directory(const struct blob_image *image, uint32_t inode, const struct blob_inode *in)
{
    for (uint32_t k = 0; k < in->entries; k++) {
        struct blob_entry entry;
        struct blob_inode child;
        blob_image_entry(image, in->entries_first + k, &entry);
        MUST(entry.name_bytes >= 1 && entry.name_bytes <= 255 && entry.inode != 0);
        MUST(entry.inode < blob_image_inodes(image));
        touch(entry.name, entry.name_bytes);
        MUST(blob_image_find(image, inode, entry.name, entry.name_bytes) == entry.inode);
        blob_image_inode(image, entry.inode, &child);
        MUST(!S_ISDIR(child.mode) || child.parent == inode);
    }
}

static void walk_file(const struct blob_image *image, const struct blob_inode *in)
{
    uint64_t end = 0;
    for (uint32_t k = 0; k < in->extents; k++) {
        struct blob_extent extent;
        struct blob_chunk chunk;
        blob_image_extent(image, in->extents_first + k, &extent);
        MUST(extent.chunk < blob_image_chunks(image) && extent.offset_bytes >= end);
        blob_image_chunk(image, extent.chunk, &chunk);
        end = extent.offset_bytes + chunk.raw_bytes;
        MUST(end > extent.offset_bytes && end <= in->size_bytes);
    }
}

static void walk(const struct blob_image *image)
{
    for (uint32_t i = 0; i < blob_image_inodes(image); i++) {
        struct blob_inode in;
        struct blob_xattr x, found;
        blob_image_inode(image, i, &in);
        MUST(in.nlink > 0 && in.parent < blob_image_inodes(image));
        walk_directory(image, i, &in);
        walk_file(image, &in);
        if (in.target)
            touch(in.target, (size_t)in.size_bytes);
        for (uint32_t k = 0; blob_image_xattr(image, in.xattr_set, k, &x); k++) {
            touch(x.name, x.name_bytes);
            touch(x.value, x.value_bytes);
        }
        (void)blob_image_xattr_find(image, i, "security.capability", &found);
    }
    for (uint32_t i = 0; i < blob_image_chunks(image); i++) {
        struct blob_chunk chunk;
        blob_image_chunk(image, i, &chunk);
        touch(&chunk, sizeof(chunk));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    struct buf input = BUF_EMPTY;
    struct blob_image *image = NULL;
    buf_put(&input, bytes, len_bytes);
    if (blob_image_parse(&input, &image, NULL) < 0)
        return 0;
    walk(image);

    struct buf bare = BUF_EMPTY;
    struct blob_image *stripped = NULL;
    MUST(blob_image_strip(image, &bare) == 0);
    MUST(blob_image_parse(&bare, &stripped, NULL) == 0);
    MUST(!blob_image_has_ids(stripped));
    MUST(blob_image_inodes(stripped) == blob_image_inodes(image));
    MUST(blob_image_content_bytes(stripped) == blob_image_content_bytes(image));
    walk(stripped);
    blob_image_free(stripped);
    blob_image_free(image);
    return 0;
}
