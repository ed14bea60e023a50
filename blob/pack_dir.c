#include "pack_dir.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"

#define NAME_DIGITS 16

struct pack_dir {
    int fd; /* borrowed */
};

struct pack_grower {
    int fd;
};

int pack_dir_open(int store_dirfd, struct err *err)
{
    if (mkdirat(store_dirfd, "packs", 0700) == 0) {
        if (fsync(store_dirfd) < 0)
            return err_sys(err, errno, "the store's directory cannot be synced");
    } else if (errno != EEXIST) {
        return err_sys(err, errno, "the store's directory packs cannot be made");
    }
    int fd = openat(store_dirfd, "packs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? err_sys(err, errno, "the store's directory packs cannot be opened") : fd;
}

void pack_dir_name(uint32_t number, char out[PACK_NAME_BYTES])
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

static int dir_list_packs(void *packs, uint32_t **numbers, size_t *count, struct err *err)
{
    const struct pack_dir *d = packs;
    OWNED_DIR dir = NULL;
    int r = dir_list(d->fd, &dir);
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

/* ---- packs ---- */

static int open_pack(const struct pack_dir *d, uint32_t number, int flags)
{
    char name[PACK_NAME_BYTES];
    pack_dir_name(number, name);
    int fd = openat(d->fd, name, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

static int dir_fd(void *packs, uint32_t number)
{
    return open_pack(packs, number, O_RDONLY);
}

static int64_t dir_size(void *packs, uint32_t number)
{
    OWNED_FD fd = dir_fd(packs, number);
    struct stat st;
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    return S_ISREG(st.st_mode) ? st.st_size : -EINVAL;
}

static ssize_t dir_read(void *packs, uint32_t number, void *out, size_t len_bytes, uint64_t offset)
{
    OWNED_FD fd = dir_fd(packs, number);
    return fd < 0 ? fd : fd_read_at(fd, out, len_bytes, offset);
}

static int dir_remove(void *packs, uint32_t number)
{
    const struct pack_dir *d = packs;
    char name[PACK_NAME_BYTES];
    pack_dir_name(number, name);
    return unlinkat(d->fd, name, 0) < 0 ? -errno : 0;
}

static int dir_sync(void *packs)
{
    const struct pack_dir *d = packs;
    return fsync(d->fd) < 0 ? -errno : 0;
}

/* A pack that is torn by a kill is one without a footer. */
static int dir_put(void *packs, uint32_t number, const void *bytes, size_t len_bytes)
{
    OWNED_FD fd = open_pack(packs, number, O_WRONLY | O_CREAT | O_EXCL);
    if (fd < 0)
        return fd;
    int r = fd_write_at(fd, bytes, len_bytes, 0);
    if (r == 0 && fdatasync(fd) < 0)
        r = -errno;
    if (r == 0)
        r = dir_sync(packs);
    if (r < 0 && dir_remove(packs, number) < 0)
        return r; /* it stays as it is, and is scanned at the next start */
    return r;
}

static void dir_close(void *packs)
{
    free(packs);
}

/* ---- packs that grow ---- */

static int dir_grow(void *packs, uint32_t number, bool anew, struct pack_grower **out)
{
    OWNED struct pack_grower *pack = malloc(sizeof(*pack));
    if (!pack)
        return -ENOMEM;
    pack->fd = open_pack(packs, number, O_RDWR | (anew ? O_CREAT | O_EXCL : 0));
    if (pack->fd < 0)
        return pack->fd;
    *out = STEAL(pack);
    return 0;
}

static int dir_write(struct pack_grower *pack, const void *bytes, size_t len_bytes, uint64_t offset)
{
    return fd_write_at(pack->fd, bytes, len_bytes, offset);
}

static int dir_cut(struct pack_grower *pack, uint64_t at_bytes)
{
    return ftruncate(pack->fd, (off_t)at_bytes) < 0 ? -errno : 0;
}

static int dir_sync_records(struct pack_grower *pack)
{
    return fdatasync(pack->fd) < 0 ? -errno : 0;
}

static void dir_begin_sync(struct pack_grower *pack)
{
    (void)sync_file_range(pack->fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* dir_sync_records is what counts */
}

static int dir_seal(struct pack_grower *pack, const void *footer, size_t footer_bytes, uint64_t at_bytes)
{
    return fd_write_at(pack->fd, footer, footer_bytes, at_bytes);
}

static void dir_close_grower(struct pack_grower *pack)
{
    close(pack->fd);
    free(pack);
}

int pack_dir_new(int dirfd, struct pack_io *out, struct err *err)
{
    static const struct pack_ops ops = {
        .close = dir_close,
        .list = dir_list_packs,
        .size = dir_size,
        .read = dir_read,
        .fd = dir_fd,
        .remove = dir_remove,
        .sync = dir_sync,
        .put = dir_put,
        .grow = dir_grow,
        .write = dir_write,
        .cut = dir_cut,
        .sync_records = dir_sync_records,
        .begin_sync = dir_begin_sync,
        .seal = dir_seal,
        .close_grower = dir_close_grower,
    };
    struct pack_dir *d = malloc(sizeof(*d));
    if (!d)
        return err_sys(err, ENOMEM, "the store's packs cannot be opened");
    d->fd = dirfd;
    *out = (struct pack_io){.ops = &ops, .packs = d};
    return 0;
}
