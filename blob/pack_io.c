#include "pack_io.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"

#define NAME_DIGITS 16

int pack_io_open(struct pack_io *io, int store_dirfd, struct err *err)
{
    if (mkdirat(store_dirfd, "packs", 0700) == 0) {
        if (fsync(store_dirfd) < 0)
            return err_sys(err, errno, "the store's directory cannot be synced");
    } else if (errno != EEXIST) {
        return err_sys(err, errno, "the store's directory packs cannot be made");
    }
    int fd = openat(store_dirfd, "packs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "the store's directory packs cannot be opened");
    io->dirfd = fd;
    return 0;
}

void pack_io_close(struct pack_io *io)
{
    if (io->dirfd >= 0)
        close(io->dirfd);
    io->dirfd = -1;
}

void pack_io_name(uint32_t number, char out[PACK_NAME_BYTES])
{
    snprintf(out, PACK_NAME_BYTES, "%016" PRIx32 ".pack", number);
}

/* 16 lower-case hexadecimal digits and ".pack"; 0 is no pack's number. */
static bool number_of(const char *name, uint64_t *number)
{
    uint64_t n = 0;
    for (int i = 0; i < NAME_DIGITS; i++) {
        const char *digit = name[i] ? strchr("0123456789abcdef", name[i]) : NULL;
        if (!digit)
            return false;
        n = n << 4 | (uint64_t)(digit - "0123456789abcdef");
    }
    *number = n;
    return strcmp(name + NAME_DIGITS, ".pack") == 0 && n > 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int pack_io_list(const struct pack_io *io, uint32_t **numbers, size_t *count, struct err *err)
{
    OWNED_DIR dir = NULL;
    int r = dir_list(io->dirfd, &dir);
    if (r < 0)
        return err_sys(err, -r, "the store's directory packs cannot be opened");

    OWNED uint32_t *list = NULL;
    size_t used = 0;
    size_t room = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry && errno)
            return err_sys(err, errno, "the store's directory packs cannot be read");
        if (!entry)
            break;
        uint64_t number;
        if (!number_of(entry->d_name, &number))
            continue;
        if (number >= UINT32_MAX)
            return err_set(err, EPROTONOSUPPORT, "packs/%s has a number beyond what this program knows",
                           entry->d_name);
        if (used == room) {
            room = room ? room * 2 : 256;
            uint32_t *more = reallocarray(list, room, sizeof(*list));
            if (!more)
                return err_sys(err, ENOMEM, "the store's packs cannot be listed");
            list = more;
        }
        list[used++] = (uint32_t)number;
    }
    if (used)
        qsort(list, used, sizeof(*list), compare_numbers);
    *numbers = STEAL(list);
    *count = used;
    return 0;
}

int pack_io_create(const struct pack_io *io, uint32_t number)
{
    char name[PACK_NAME_BYTES];
    pack_io_name(number, name);
    int fd = openat(io->dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

int pack_io_open_pack(const struct pack_io *io, uint32_t number, bool writable)
{
    char name[PACK_NAME_BYTES];
    pack_io_name(number, name);
    int fd = openat(io->dirfd, name, (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int pack_io_remove(const struct pack_io *io, uint32_t number)
{
    char name[PACK_NAME_BYTES];
    pack_io_name(number, name);
    return unlinkat(io->dirfd, name, 0) < 0 ? -errno : 0;
}

int64_t pack_io_size(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    return S_ISREG(st.st_mode) ? st.st_size : -EINVAL;
}

int pack_io_cut(int fd, uint64_t at_bytes)
{
    return ftruncate(fd, (off_t)at_bytes) < 0 ? -errno : 0;
}

int pack_io_sync(int fd)
{
    return fdatasync(fd) < 0 ? -errno : 0;
}

int pack_io_sync_names(const struct pack_io *io)
{
    return fsync(io->dirfd) < 0 ? -errno : 0;
}

void pack_io_start_writeback(int fd)
{
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* a hint: pack_io_sync is what counts */
}
