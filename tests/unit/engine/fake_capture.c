#include "fake_capture.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"

#define FILES 8

struct file {
    char name[32];
    uint64_t inode;
    char text[32];
};

struct blob_capture {
    struct fake *fake;
    int tree_fd;
    bool cancelled;
    size_t count;
    struct file files[FILES];
};

static struct fake *current;

void fake_use(struct fake *fake)
{
    current = fake;
}

int blob_capture_new(struct blob_store *store, int treefd, const struct blob_capture_options *options,
                     struct blob_capture **out, struct err *err)
{
    (void)store;
    (void)options;
    struct blob_capture *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(err, ENOMEM, "no memory");
    c->fake = current;
    c->tree_fd = treefd;
    *out = c;
    return 0;
}

void blob_capture_free(struct blob_capture *capture)
{
    free(capture);
}

static void at(struct blob_capture *c, enum fake_at where)
{
    if (c->fake->hook)
        c->fake->hook(c->fake->arg, where);
}

static void read_file(struct blob_capture *c, struct file *file)
{
    OWNED_FD fd = openat(c->tree_fd, file->name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : fd_read_at(fd, file->text, sizeof(file->text) - 1, 0);
    file->text[n < 0 ? 0 : n] = '\0';
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static void read_all(struct blob_capture *c)
{
    OWNED_DIR dir = fdopendir(openat(c->tree_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    c->count = 0;
    for (const struct dirent *e = readdir(dir); e && c->count < FILES; e = readdir(dir)) {
        if (e->d_name[0] == '.')
            continue;
        struct file *file = &c->files[c->count++];
        snprintf(file->name, sizeof(file->name), "%s", e->d_name);
        file->inode = e->d_ino;
        read_file(c, file);
    }
    qsort(c->files, c->count, sizeof(c->files[0]), by_name);
}

static int ended(struct blob_capture *c, struct err *err)
{
    return __atomic_load_n(&c->cancelled, __ATOMIC_RELAXED) ? err_set(err, ECANCELED, "cancelled") : 0;
}

int blob_capture_scan(struct blob_capture *c, struct err *err)
{
    __atomic_add_fetch(&c->fake->scans, 1, __ATOMIC_RELAXED);
    at(c, FAKE_SCAN);
    read_all(c);
    return ended(c, err);
}

int blob_capture_rescan(struct blob_capture *c, const uint64_t *inodes, size_t count, struct err *err)
{
    struct stat st;
    __atomic_add_fetch(&c->fake->rescans, 1, __ATOMIC_RELAXED);
    at(c, FAKE_RESCAN);
    for (size_t i = 0; i < count; i++) {
        if (fstat(c->tree_fd, &st) == 0 && st.st_ino == inodes[i])
            read_all(c);
        for (size_t k = 0; k < c->count; k++)
            if (c->files[k].inode == inodes[i])
                read_file(c, &c->files[k]);
    }
    return ended(c, err);
}

int blob_capture_finish(struct blob_capture *c, struct blob_capture_result *out, struct err *err)
{
    static const struct blob_secret secret;
    at(c, FAKE_FINISH);
    size_t len = 0;
    c->fake->image[0] = '\0';
    for (size_t k = 0; k < c->count; k++)
        len += (size_t)snprintf(c->fake->image + len, sizeof(c->fake->image) - len, "%s=%s;",
                                c->files[k].name, c->files[k].text);
    memset(out, 0, sizeof(*out));
    out->image = blob_id_of(&secret, c->fake->image, len);
    out->files = c->count;
    return ended(c, err);
}

void blob_capture_rest(struct blob_capture *c)
{
    (void)c;
}

void blob_capture_go_on(struct blob_capture *c)
{
    c->fake = current;
    __atomic_store_n(&c->cancelled, false, __ATOMIC_RELAXED);
}

uint64_t blob_capture_bytes(const struct blob_capture *c)
{
    return c->count + 1;
}

void blob_capture_touch(const struct blob_capture *c)
{
    (void)c;
}

void blob_capture_count_anew(struct blob_capture *c)
{
    (void)c;
}

void blob_capture_cancel(struct blob_capture *c)
{
    __atomic_add_fetch(&c->fake->cancels, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&c->cancelled, true, __ATOMIC_RELAXED);
}
