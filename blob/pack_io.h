/*
 * Where packs are kept: an interface. A pack is written from its start to its end, sealed, then only read, in
 * ranges, and removed as a whole; it is listed by number, and never longer than an object store likes. The
 * directory of a store (pack_dir.h) is one kind; another one needs `put`, `read`, `size`, `list` and `remove`
 * of whole objects, and a journal of its own for the packs that still grow.
 */
#ifndef BLOB_PACK_IO_H
#define BLOB_PACK_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct pack_grower; /* a pack that takes records: each kind has its own */

/* All return 0 or more, or -errno; all but `begin_sync` and the `close`s may block. Any thread; a grower is
 * one thread's at a time, but for `sync_records`. */
struct pack_ops {
    void (*close)(void *packs);

    /* Packs, sealed or growing, by number. -ENOENT: there is none. */
    /* All numbers, ascending; the caller frees `*numbers`. */
    int (*list)(void *packs, uint32_t **numbers, size_t *count, struct err *err);
    int64_t (*size)(void *packs, uint32_t number);
    /* As fd_read_at: fewer bytes at the end only. */
    ssize_t (*read)(void *packs, uint32_t number, void *out, size_t len_bytes, uint64_t offset);
    /* An fd that reads the pack, the caller's, also when it is removed. NULL: they have none, as has a kind
     * whose `fd` returns -EOPNOTSUPP. */
    int (*fd)(void *packs, uint32_t number);
    /* Not yet for good: see `sync`. Who reads it through an fd goes on. */
    int (*remove)(void *packs, uint32_t number);
    /* Which packs there are is on disk. */
    int (*sync)(void *packs);
    /* A whole sealed pack, on disk when it returns; one of that number that grew is replaced by it. -EEXIST:
     * there is a sealed one. */
    int (*put)(void *packs, uint32_t number, const void *bytes, size_t len_bytes);

    /* Packs that grow. `anew`: it must not be there yet; else it must. */
    int (*grow)(void *packs, uint32_t number, bool anew, struct pack_grower **out);
    int (*write)(struct pack_grower *pack, const void *bytes, size_t len_bytes, uint64_t offset);
    int (*cut)(struct pack_grower *pack, uint64_t at_bytes);
    int (*sync_records)(struct pack_grower *pack);
    void (*begin_sync)(struct pack_grower *pack); /* a hint */
    /* The footer behind the records, which end at `at_bytes`: it need not be on disk. NULL: the whole pack is
     * put. */
    int (*seal)(struct pack_grower *pack, const void *footer, size_t footer_bytes, uint64_t at_bytes);
    void (*close_grower)(struct pack_grower *pack);
};

struct pack_io {
    const struct pack_ops *ops;
    void *packs; /* owned */
};

void pack_io_close(struct pack_io *io);

/* Seals a pack whose records are on disk. */
int pack_io_seal(const struct pack_io *io, uint32_t number, struct pack_grower *pack, const void *footer,
                 size_t footer_bytes, uint64_t at_bytes) MUST_CHECK;

/* Several reads of one pack: through an fd where there is one. */
struct pack_reader {
    const struct pack_io *io;
    uint32_t number;
    int fd; /* -1: none */
};
#define PACK_READER_NONE ((struct pack_reader){.fd = -1})
#define OWNED_READER __attribute__((cleanup(pack_reader_close))) struct pack_reader

int pack_reader_open(const struct pack_io *io, uint32_t number, struct pack_reader *out) MUST_CHECK;
int64_t pack_reader_size(const struct pack_reader *reader) MUST_CHECK;
ssize_t pack_reader_read(const struct pack_reader *reader, void *out, size_t len_bytes,
                         uint64_t offset) MUST_CHECK;
/* Reads its first bytes, as many as can be read: zeros stand for the rest. 0: all; else the -errno of the
 * first place that cannot be read, which is `*bad_at`. */
int pack_reader_read_around(const struct pack_reader *reader, uint8_t *out, size_t len_bytes,
                            size_t *bad_at) MUST_CHECK;
void pack_reader_close(struct pack_reader *reader);

#endif
