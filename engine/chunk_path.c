#include "chunk_path.h"

#include <string.h>

/* Puts a name before what is in `out` from `*at` on. False when there is no room. */
static bool put_before(char *out, size_t *at, const char *name, size_t name_bytes)
{
    if (*at < name_bytes + 1)
        return false;
    *at -= name_bytes;
    for (size_t i = 0; i < name_bytes; i++)
        out[*at + i] = (unsigned char)name[i] < ' ' ? '?' : name[i];
    out[--*at] = '/';
    return true;
}

static void inode_path(const struct blob_image *image, uint32_t inode, char *out, size_t out_bytes)
{
    size_t at = out_bytes - 1;
    out[at] = '\0';
    struct blob_inode in;
    while (inode != 0) {
        struct blob_inode dir;
        struct blob_entry entry = {.inode = BLOB_NO_INODE};
        blob_image_inode(image, inode, &in);
        blob_image_inode(image, in.parent, &dir);
        for (uint32_t i = 0; i < dir.entries && entry.inode != inode; i++)
            blob_image_entry(image, dir.entries_first + i, &entry);
        if (entry.inode != inode || !put_before(out, &at, entry.name, entry.name_bytes))
            break;
        inode = in.parent;
    }
    memmove(out, out + at, out_bytes - at);
}

void chunk_path(const struct blob_image *image, uint32_t chunk, char *out, size_t out_bytes)
{
    out[0] = '\0';
    for (uint32_t i = 0; i < blob_image_inodes(image); i++) {
        struct blob_inode in;
        blob_image_inode(image, i, &in);
        for (uint32_t k = 0; k < in.extents; k++) {
            struct blob_extent extent;
            blob_image_extent(image, in.extents_first + k, &extent);
            if (extent.chunk == chunk) {
                inode_path(image, i, out, out_bytes);
                return;
            }
        }
    }
}
