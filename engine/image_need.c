#include "image_need.h"

#include <string.h>
#include <sys/stat.h>

/* The name of `inode` in `dir`, of several any; it is there, for `dir` is its parent. */
static struct blob_entry name_in(const struct blob_image *image, uint32_t dir, uint32_t inode)
{
    struct blob_inode in;
    struct blob_entry entry = {0};
    blob_image_inode(image, dir, &in);
    for (uint32_t k = 0; k < in.entries; k++) {
        blob_image_entry(image, in.entries_first + k, &entry);
        if (entry.inode == inode)
            break;
    }
    return entry;
}

/* From the file up to the root; the caller frees it. */
static char *path_of(const struct blob_image *image, uint32_t inode)
{
    size_t room = 256;
    size_t at = room - 1;
    char *path = calloc(1, room);
    while (path && inode != 0) {
        struct blob_inode in;
        blob_image_inode(image, inode, &in);
        struct blob_entry entry = name_in(image, in.parent, inode);
        size_t len = room - at; /* what is there, with its NUL */
        if (!entry.name)
            break;
        if (entry.name_bytes + 1u > at) {
            char *more = calloc(1, room * 2);
            if (more)
                memcpy(more + room * 2 - len, path + at, len);
            free(path);
            path = more;
            at = room * 2 - len;
            room *= 2;
            continue;
        }
        if (len > 1)
            path[--at] = '/';
        at -= entry.name_bytes;
        memcpy(path + at, entry.name, entry.name_bytes);
        inode = in.parent;
    }
    if (path)
        memmove(path, path + at, room - at);
    return path;
}

static int needs_of_file(const struct blob_image *image, uint32_t inode, const struct blob_inode *in,
                         const uint8_t *bad, bool once, int (*each)(void *arg, const struct image_need *need),
                         void *arg)
{
    OWNED char *path = NULL;
    for (uint32_t k = 0; k < in->extents; k++) {
        struct blob_extent extent;
        struct image_need need;
        blob_image_extent(image, in->extents_first + k, &extent);
        if (!bad[extent.chunk])
            continue;
        if (!path && !(path = path_of(image, inode)))
            return -ENOMEM;
        need.path = path;
        need.offset_bytes = extent.offset_bytes;
        blob_image_chunk(image, extent.chunk, &need.chunk);
        int r = each(arg, &need);
        if (r < 0 || once)
            return r;
    }
    return 0;
}

int image_needs(const struct blob_image *image, struct blob_fsck *fsck, bool once_a_file,
                int (*each)(void *arg, const struct image_need *need), void *arg)
{
    uint32_t chunks = blob_image_chunks(image);
    OWNED uint8_t *bad = calloc((size_t)chunks + 1, sizeof(*bad));
    bool any = false;
    if (!bad)
        return -ENOMEM;
    for (uint32_t i = 0; i < chunks; i++) {
        struct blob_chunk chunk;
        blob_image_chunk(image, i, &chunk);
        bad[i] = !blob_fsck_has(fsck, &chunk.id);
        any = any || bad[i];
    }
    for (uint32_t i = 0; any && i < blob_image_inodes(image); i++) {
        struct blob_inode in;
        blob_image_inode(image, i, &in);
        int r = S_ISREG(in.mode) ? needs_of_file(image, i, &in, bad, once_a_file, each, arg) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}
