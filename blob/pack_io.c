#include "pack_io.h"

#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"

#define READ_PIECE_BYTES 4096u /* where the disk gives errors */

void pack_io_close(struct pack_io *io)
{
    if (io->packs)
        io->ops->close(STEAL(io->packs));
}

int pack_io_seal(const struct pack_io *io, uint32_t number, struct pack_grower *pack, const void *footer,
                 size_t footer_bytes, uint64_t at_bytes)
{
    if (io->ops->seal)
        return io->ops->seal(pack, footer, footer_bytes, at_bytes);
    OWNED uint8_t *bytes = malloc(at_bytes + footer_bytes);
    if (!bytes)
        return -ENOMEM;
    ssize_t n = io->ops->read(io->packs, number, bytes, at_bytes, 0);
    if (n < 0 || (uint64_t)n < at_bytes)
        return n < 0 ? (int)n : -EIO;
    memcpy(bytes + at_bytes, footer, footer_bytes);
    return io->ops->put(io->packs, number, bytes, at_bytes + footer_bytes);
}

int pack_reader_open(const struct pack_io *io, uint32_t number, struct pack_reader *out)
{
    int fd = io->ops->fd ? io->ops->fd(io->packs, number) : -EOPNOTSUPP;
    if (fd < 0 && fd != -EOPNOTSUPP)
        return fd;
    *out = (struct pack_reader){.io = io, .number = number, .fd = fd < 0 ? -1 : fd};
    return 0;
}

int64_t pack_reader_size(const struct pack_reader *reader)
{
    if (reader->fd < 0)
        return reader->io->ops->size(reader->io->packs, reader->number);
    struct stat st;
    if (fstat(reader->fd, &st) < 0)
        return -errno;
    return S_ISREG(st.st_mode) ? st.st_size : -EINVAL;
}

ssize_t pack_reader_read(const struct pack_reader *reader, void *out, size_t len_bytes, uint64_t offset)
{
    if (reader->fd < 0)
        return reader->io->ops->read(reader->io->packs, reader->number, out, len_bytes, offset);
    return fd_read_at(reader->fd, out, len_bytes, offset);
}

int pack_reader_read_around(const struct pack_reader *reader, uint8_t *out, size_t len_bytes, size_t *bad_at)
{
    if (pack_reader_read(reader, out, len_bytes, 0) == (ssize_t)len_bytes)
        return 0;
    int error = 0;
    for (size_t at = 0; at < len_bytes; at += READ_PIECE_BYTES) {
        size_t piece = len_bytes - at < READ_PIECE_BYTES ? len_bytes - at : READ_PIECE_BYTES;
        ssize_t n = pack_reader_read(reader, out + at, piece, at);
        if (n == (ssize_t)piece)
            continue;
        memset(out + at, 0, piece);
        if (error == 0) {
            error = n < 0 ? (int)n : -EIO;
            *bad_at = at;
        }
    }
    return error;
}

void pack_reader_close(struct pack_reader *reader)
{
    cleanup_fd(&reader->fd);
    reader->fd = -1;
}
