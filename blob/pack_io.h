/*
 * Packs as files: all that knows that a pack is a file, how it is named and which directory it is in. A pack
 * is written from its start to its end, read in ranges, listed by number, and never longer than an object
 * store likes: packs can move to one by another implementation of this.
 */
#ifndef BLOB_PACK_IO_H
#define BLOB_PACK_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct pack_io {
    int dirfd; /* STORE/packs, owned; -1 when closed */
};

#define PACK_NAME_BYTES sizeof("0123456789abcdef.pack")

/* Opens STORE/packs, and makes it where it is not. Blocks. */
int pack_io_open(struct pack_io *io, int store_dirfd, struct err *err) MUST_CHECK;
void pack_io_close(struct pack_io *io);

void pack_io_name(uint32_t number, char out[PACK_NAME_BYTES]);

/* The numbers of all packs, ascending; the caller frees `*numbers`. Other files are not looked at. */
int pack_io_list(const struct pack_io *io, uint32_t **numbers, size_t *count, struct err *err) MUST_CHECK;

/* fds, the caller's. A pack that is made must not be there yet. */
int pack_io_create(const struct pack_io *io, uint32_t number) MUST_CHECK;
int pack_io_remove(const struct pack_io *io, uint32_t number) MUST_CHECK;
int pack_io_open_pack(const struct pack_io *io, uint32_t number, bool writable) MUST_CHECK;

/* base/fdio.h reads and writes; these are the rest. */
int64_t pack_io_size(int fd) MUST_CHECK;
int pack_io_cut(int fd, uint64_t at_bytes) MUST_CHECK;
int pack_io_sync(int fd) MUST_CHECK;
int pack_io_sync_names(const struct pack_io *io) MUST_CHECK;
/* Lets the kernel begin to write back what was written, without waiting for it. */
void pack_io_start_writeback(int fd);

#endif
