#include "image_write.h"

#include <string.h>

#include "image_format.h"

int image_writer_init(struct image_writer *w, const struct image_chunks *chunks,
                      const struct image_sets *sets)
{
    *w = (struct image_writer){.chunks = chunks, .sets = sets};
    w->chunk_number = calloc((size_t)chunks->count + 1, sizeof(uint32_t));
    w->set_number = calloc((size_t)sets->count + 1, sizeof(uint32_t));
    if (w->chunk_number && w->set_number)
        return 0;
    image_writer_free(w);
    return -ENOMEM;
}

void image_writer_free(struct image_writer *w)
{
    free(w->chunk_number);
    free(w->set_number);
    buf_free(&w->inode_part);
    buf_free(&w->entry_part);
    buf_free(&w->extent_part);
    buf_free(&w->chunk_part);
    buf_free(&w->xattr_part);
    buf_free(&w->target_part);
    *w = (struct image_writer){0};
}

static uint32_t use_set(struct image_writer *w, uint32_t set)
{
    if (set == 0)
        return 0;
    if (w->set_number[set] == 0) {
        w->set_number[set] = ++w->n_sets;
        const uint8_t *bytes = w->sets->bytes.bytes + w->sets->list[set - 1].at;
        w->n_xattrs += le32_at(bytes);
        buf_put(&w->xattr_part, bytes, w->sets->list[set - 1].len_bytes);
    }
    return w->set_number[set];
}

void image_put_inode(struct image_writer *w, const struct blob_inode *in, uint32_t set, uint32_t count)
{
    uint64_t size = 0;
    if (S_ISREG(in->mode) || S_ISLNK(in->mode))
        size = in->size_bytes;
    else if (image_is_device(in->mode))
        size = (uint64_t)in->rdev_major << 32 | in->rdev_minor;

    buf_put_u32(&w->inode_part, in->mode);
    buf_put_u32(&w->inode_part, in->uid);
    buf_put_u32(&w->inode_part, in->gid);
    buf_put_u32(&w->inode_part, in->mtime_ns);
    buf_put_u64(&w->inode_part, (uint64_t)in->mtime_s);
    buf_put_u64(&w->inode_part, size);
    buf_put_u32(&w->inode_part, count);
    buf_put_u32(&w->inode_part, use_set(w, set));
    if (S_ISLNK(in->mode))
        buf_put(&w->target_part, in->target, (size_t)in->size_bytes);
    w->n_inodes++;
}

void image_put_entry(struct image_writer *w, const char *name, size_t name_bytes, uint32_t back)
{
    buf_put_u32(&w->entry_part, back);
    buf_put_u8(&w->entry_part, (uint8_t)name_bytes);
    buf_put(&w->entry_part, name, name_bytes);
    w->n_entries++;
}

void image_put_extent(struct image_writer *w, uint64_t offset_bytes, uint32_t chunk)
{
    const struct blob_chunk *c = &w->chunks->list[chunk];
    uint32_t back = 0;
    if (w->chunk_number[chunk]) {
        back = w->n_chunks - (w->chunk_number[chunk] - 1);
    } else {
        w->chunk_number[chunk] = ++w->n_chunks;
        buf_put_u32(&w->chunk_part, c->raw_bytes);
        buf_put_u64(&w->chunk_part, c->check);
        buf_put(&w->chunk_part, c->id.bytes, BLOB_ID_BYTES);
    }
    buf_put_u64(&w->extent_part, offset_bytes);
    buf_put_u32(&w->extent_part, back);
    w->n_extents++;
}

/* The parts in the order of the format; each is freed once it is copied, as they are large. */
static void put_parts(struct image_writer *w, struct buf *out)
{
    struct buf *parts[] = {&w->inode_part, &w->entry_part, &w->extent_part,
                           &w->chunk_part, &w->xattr_part, &w->target_part};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        buf_put(out, parts[i]->bytes, parts[i]->len_bytes);
        buf_free(parts[i]);
    }
}

int image_writer_end(struct image_writer *w, struct buf *out, struct err *err)
{
    const struct buf *parts[] = {&w->inode_part, &w->entry_part, &w->extent_part,
                                 &w->chunk_part, &w->xattr_part, &w->target_part};
    size_t total = IMAGE_HEADER_BYTES;
    int r = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        total += parts[i]->len_bytes;
        r = r ? r : parts[i]->error;
    }
    if (r == 0 && total > BLOB_IMAGE_MAX_BYTES)
        return err_set(err, EFBIG,
                       "The tree's names, files and chunks need an image of %zu bytes, and %zu is the most; "
                       "make two snapshots of it.",
                       total, BLOB_IMAGE_MAX_BYTES);
    uint8_t *header = r == 0 ? buf_room(out, total) : NULL;
    if (!header)
        return err_set(err, ENOMEM, "There is not enough memory to make an image; free some and try again.");

    memcpy(header, image_magic, IMAGE_MAGIC_BYTES);
    le32_to(header + IMAGE_AT_VERSION, IMAGE_VERSION);
    le32_to(header + IMAGE_AT_FLAGS, IMAGE_FLAG_IDS);
    le32_to(header + IMAGE_AT_INODES, w->n_inodes);
    le32_to(header + IMAGE_AT_ENTRIES, w->n_entries);
    le32_to(header + IMAGE_AT_EXTENTS, w->n_extents);
    le32_to(header + IMAGE_AT_CHUNKS, w->n_chunks);
    le32_to(header + IMAGE_AT_SETS, w->n_sets);
    le32_to(header + IMAGE_AT_XATTRS, w->n_xattrs);
    le32_to(header + IMAGE_AT_ENTRY_BYTES, (uint32_t)w->entry_part.len_bytes);
    le32_to(header + IMAGE_AT_XATTR_BYTES, (uint32_t)w->xattr_part.len_bytes);
    le32_to(header + IMAGE_AT_TARGET_BYTES, (uint32_t)w->target_part.len_bytes);
    le32_to(header + IMAGE_AT_TOTAL_BYTES, (uint32_t)total);
    buf_grew(out, IMAGE_HEADER_BYTES);
    put_parts(w, out);
    return 0;
}
