/* Reading an image that was parsed: every index was checked there (image_parse.c). */
#include "blob/image.h"

#include <string.h>

#include "image_format.h"

int image_name_compare(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    int r = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    if (r != 0)
        return r;
    return (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

void blob_image_free(struct blob_image *image)
{
    if (!image)
        return;
    buf_free(&image->bytes);
    free(image->inode_index);
    free(image->entry_index);
    free(image->extent_chunk);
    free(image->set_first);
    free(image->xattr_at);
    free(image);
}

bool blob_image_has_ids(const struct blob_image *image)
{
    return image->ids;
}

uint32_t blob_image_inodes(const struct blob_image *image)
{
    return image->n_inodes;
}

uint32_t blob_image_chunks(const struct blob_image *image)
{
    return image->n_chunks;
}

uint64_t blob_image_content_bytes(const struct blob_image *image)
{
    return image->content_bytes;
}

size_t blob_image_bytes(const struct blob_image *image, const uint8_t **bytes)
{
    *bytes = image->bytes.bytes;
    return image->bytes.len_bytes;
}

void blob_image_inode(const struct blob_image *image, uint32_t inode, struct blob_inode *out)
{
    const uint8_t *p = image->inodes + (size_t)inode * INODE_BYTES;
    const struct image_inode_index *index = &image->inode_index[inode];
    uint64_t size = le64_at(p + INODE_AT_SIZE);
    uint32_t count = le32_at(p + INODE_AT_COUNT);

    *out = (struct blob_inode){
        .mode = le32_at(p + INODE_AT_MODE),
        .uid = le32_at(p + INODE_AT_UID),
        .gid = le32_at(p + INODE_AT_GID),
        .nlink = index->nlink,
        .mtime_s = (int64_t)le64_at(p + INODE_AT_MTIME_S),
        .mtime_ns = le32_at(p + INODE_AT_MTIME_NS),
        .parent = index->parent,
        .xattr_set = le32_at(p + INODE_AT_SET),
    };
    if (S_ISDIR(out->mode)) {
        out->entries_first = index->first;
        out->entries = count;
    } else if (S_ISREG(out->mode)) {
        out->size_bytes = size;
        out->extents_first = index->first;
        out->extents = count;
    } else if (S_ISLNK(out->mode)) {
        out->size_bytes = size;
        out->target = (const char *)image->targets + index->first;
    } else if (image_is_device(out->mode)) {
        out->rdev_minor = (uint32_t)size;
        out->rdev_major = (uint32_t)(size >> 32);
    }
}

void blob_image_entry(const struct blob_image *image, uint32_t entry, struct blob_entry *out)
{
    const uint8_t *p = image->entries + image->entry_index[entry].at;
    out->name = (const char *)p + ENTRY_AT_NAME;
    out->name_bytes = p[ENTRY_AT_NAME_BYTES];
    out->inode = image->entry_index[entry].inode;
}

void blob_image_extent(const struct blob_image *image, uint32_t extent, struct blob_extent *out)
{
    out->offset_bytes = le64_at(image->extents + (size_t)extent * EXTENT_BYTES + EXTENT_AT_OFFSET);
    out->chunk = image->extent_chunk[extent];
}

void blob_image_chunk(const struct blob_image *image, uint32_t chunk, struct blob_chunk *out)
{
    const uint8_t *p = image->chunks + (size_t)chunk * image_chunk_bytes(image->ids);
    *out = (struct blob_chunk){
        .raw_bytes = le32_at(p + CHUNK_AT_RAW_BYTES),
        .check = le64_at(p + CHUNK_AT_CHECK),
    };
    if (image->ids)
        memcpy(out->id.bytes, p + CHUNK_AT_ID, BLOB_ID_BYTES);
}

uint32_t blob_image_find(const struct blob_image *image, uint32_t dir, const char *name, size_t name_bytes)
{
    struct blob_inode in;
    blob_image_inode(image, dir, &in);
    uint32_t low = in.entries_first, high = in.entries_first + in.entries;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct blob_entry entry;
        blob_image_entry(image, middle, &entry);
        int r = image_name_compare(entry.name, entry.name_bytes, name, name_bytes);
        if (r == 0)
            return entry.inode;
        if (r < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return BLOB_NO_INODE;
}

static void xattr_at(const struct blob_image *image, uint32_t number, struct blob_xattr *out)
{
    const uint8_t *p = image->xattrs + image->xattr_at[number];
    out->name = (const char *)p + XATTR_AT_NAME;
    out->name_bytes = p[XATTR_AT_NAME_BYTES];
    out->value = p + XATTR_AT_NAME + out->name_bytes;
    out->value_bytes = le32_at(p + XATTR_AT_VALUE_BYTES);
}

bool blob_image_xattr(const struct blob_image *image, uint32_t set, uint32_t k, struct blob_xattr *out)
{
    if (set == 0 || k >= image->set_first[set] - image->set_first[set - 1])
        return false;
    xattr_at(image, image->set_first[set - 1] + k, out);
    return true;
}

bool blob_image_xattr_find(const struct blob_image *image, uint32_t inode, const char *name,
                           struct blob_xattr *out)
{
    uint32_t set = le32_at(image->inodes + (size_t)inode * INODE_BYTES + INODE_AT_SET);
    if (set == 0)
        return false;
    size_t name_bytes = strlen(name);
    uint32_t low = image->set_first[set - 1], high = image->set_first[set];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct blob_xattr xattr;
        xattr_at(image, middle, &xattr);
        int r = image_name_compare(xattr.name, xattr.name_bytes, name, name_bytes);
        if (r == 0) {
            *out = xattr;
            return true;
        }
        if (r < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

int blob_image_strip(const struct blob_image *image, struct buf *out)
{
    const uint8_t *start = image->bytes.bytes;
    if (!image->ids) {
        buf_put(out, start, image->bytes.len_bytes);
        return out->error;
    }
    size_t before = (size_t)(image->chunks - start);
    size_t after = image->bytes.len_bytes - (size_t)(image->xattrs - start);
    size_t total = before + (size_t)image->n_chunks * CHUNK_BYTES + after;
    uint8_t *to = buf_room(out, total);
    if (!to)
        return out->error;

    memcpy(to, start, before);
    le32_to(to + IMAGE_AT_FLAGS, le32_at(to + IMAGE_AT_FLAGS) & ~IMAGE_FLAG_IDS);
    le32_to(to + IMAGE_AT_TOTAL_BYTES, (uint32_t)total);
    to += before;
    for (uint32_t i = 0; i < image->n_chunks; i++, to += CHUNK_BYTES)
        memcpy(to, image->chunks + (size_t)i * image_chunk_bytes(true), CHUNK_BYTES);
    memcpy(to, image->xattrs, after);
    buf_grew(out, total);
    return 0;
}
