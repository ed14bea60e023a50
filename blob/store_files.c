#include <string.h>

#include "base/fdio.h"
#include "store_parts.h"

#define IDLE_FILES_MAX 64 /* fds kept open; more only while so many are in use */

static struct pack_file *find(struct blob_store *store, uint32_t number)
{
    for (size_t i = 0; i < store->file_count; i++)
        if (store->files[i].number == number)
            return &store->files[i];
    return NULL;
}

static void use(struct blob_store *store, struct pack_file *file)
{
    file->users++;
    file->used_at = ++store->file_uses;
}

/* A place for one more: that of the file which was idle longest, or a new one. */
static struct pack_file *place(struct blob_store *store, int *close_fd)
{
    if (store->file_count >= IDLE_FILES_MAX) {
        struct pack_file *oldest = NULL;
        for (size_t i = 0; i < store->file_count; i++) {
            struct pack_file *f = &store->files[i];
            if (f->users == 0 && (!oldest || f->used_at < oldest->used_at))
                oldest = f;
        }
        if (oldest) {
            *close_fd = oldest->fd;
            return oldest;
        }
    }
    struct pack_file *files = reallocarray(store->files, store->file_count + 1, sizeof(*files));
    if (!files)
        return NULL;
    store->files = files;
    return &files[store->file_count++];
}

/* The fd, -EAGAIN when packs were removed meanwhile, or another -errno. */
static int open_file(struct blob_store *store, uint32_t number)
{
    uint64_t drops;
    {
        HOLD_LOCK(&store->files_lock);
        drops = store->file_drops;
        struct pack_file *file = find(store, number);
        if (file) {
            use(store, file);
            return file->fd;
        }
    }
    const struct pack_ops *ops = store->io.ops;
    OWNED_FD fd = ops->fd ? ops->fd(store->io.packs, number) : -EOPNOTSUPP;
    if (fd < 0)
        return fd;
    OWNED_FD close_fd = -1;
    HOLD_LOCK(&store->files_lock);
    if (store->file_drops != drops)
        return -EAGAIN;                           /* was it this one, it must not stay open */
    struct pack_file *file = find(store, number); /* another thread may have been quicker */
    if (!file) {
        file = place(store, &close_fd);
        if (!file)
            return -ENOMEM;
        *file = (struct pack_file){.number = number, .fd = steal_fd(&fd)};
    }
    use(store, file);
    return file->fd;
}

int store_file_get(struct blob_store *store, uint32_t number)
{
    for (;;) {
        int fd = open_file(store, number);
        if (fd != -EAGAIN)
            return fd;
    }
}

/* Takes a file that nobody uses out of the table; its fd is to be closed. */
static void take_out(struct blob_store *store, struct pack_file *file, int *close_fd)
{
    *close_fd = file->fd;
    *file = store->files[--store->file_count];
}

void store_file_put(struct blob_store *store, uint32_t number)
{
    OWNED_FD close_fd = -1;
    HOLD_LOCK(&store->files_lock);
    struct pack_file *file = find(store, number);
    if (file && file->users > 0 && --file->users == 0 && file->gone)
        take_out(store, file, &close_fd);
}

void store_file_drop(struct blob_store *store, uint32_t number)
{
    OWNED_FD close_fd = -1;
    HOLD_LOCK(&store->files_lock);
    store->file_drops++;
    struct pack_file *file = find(store, number);
    if (file && file->users > 0)
        file->gone = true;
    else if (file)
        take_out(store, file, &close_fd);
}

ssize_t store_file_read(struct blob_store *store, uint32_t number, void *out, size_t len_bytes,
                        uint64_t offset)
{
    int fd = store_file_get(store, number);
    if (fd == -EOPNOTSUPP)
        return store->io.ops->read(store->io.packs, number, out, len_bytes, offset);
    if (fd < 0)
        return fd;
    ssize_t n = fd_read_at(fd, out, len_bytes, offset);
    store_file_put(store, number);
    return n;
}

void store_files_free(struct blob_store *store)
{
    for (size_t i = 0; i < store->file_count; i++)
        close(store->files[i].fd);
    free(store->files);
}
