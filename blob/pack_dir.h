/* Packs as files of a directory, STORE/packs: how they are named, and that one which grows is the file that
 * it is when it is sealed. */
#ifndef BLOB_PACK_DIR_H
#define BLOB_PACK_DIR_H

#include "pack_io.h"

#define PACK_NAME_BYTES sizeof("0123456789abcdef.pack")

/* Opens STORE/packs, and makes it where it is not: the fd. Blocks. */
int pack_dir_open(int store_dirfd, struct err *err) MUST_CHECK;
/* The packs in it; `dirfd` is borrowed. */
int pack_dir_new(int dirfd, struct pack_io *out, struct err *err) MUST_CHECK;

void pack_dir_name(uint32_t number, char out[PACK_NAME_BYTES]);

#endif
