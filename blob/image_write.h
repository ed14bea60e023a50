/*
 * Writing an image, record by record, in the canonical order: inodes by number, each followed by its entries
 * or extents. Chunks and xattr sets are numbered here, by their first use. A failure is kept until the end.
 */
#ifndef BLOB_IMAGE_WRITE_H
#define BLOB_IMAGE_WRITE_H

#include "image_tables.h"

struct image_writer {
    const struct image_chunks *chunks;
    const struct image_sets *sets;
    uint32_t *chunk_number, *set_number; /* 1 + the number in the image, 0: not used yet */
    struct buf inode_part, entry_part, extent_part, chunk_part, xattr_part, target_part;
    uint32_t n_inodes, n_entries, n_extents, n_chunks, n_sets, n_xattrs;
};

/* The tables are borrowed until image_writer_free. */
int image_writer_init(struct image_writer *w, const struct image_chunks *chunks,
                      const struct image_sets *sets) MUST_CHECK;
void image_writer_free(struct image_writer *w);

/* `set`: its number in the table. `count`: the entries of a directory, the extents of a regular file. */
void image_put_inode(struct image_writer *w, const struct blob_inode *in, uint32_t set, uint32_t count);
/* `back`: 0 for the next new inode, else how far its number lies behind that. */
void image_put_entry(struct image_writer *w, const char *name, size_t name_bytes, uint32_t back);
/* `chunk`: its number in the table. */
void image_put_extent(struct image_writer *w, uint64_t offset_bytes, uint32_t chunk);

/* Appends the image to `out`. -ENOMEM, or -EFBIG over BLOB_IMAGE_MAX_BYTES. */
int image_writer_end(struct image_writer *w, struct buf *out, struct err *err) MUST_CHECK;

#endif
