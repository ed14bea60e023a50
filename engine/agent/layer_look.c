#include "layer_look.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"

#define THREADS_MAX 4

struct look {
    const struct tree *tree;
    const struct seed_source *base;
    uint32_t *match; /* the layer's; atomic */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t opened;
    uint32_t next;    /* the next directory, in the order of tree->dirs: parents come before children */
    uint8_t *visible; /* by directory: 1 + how many trees of the stack make it up at most; 0: not known yet */
    uint32_t damaged;
    int error;
};

/* The trees of the stack that have one directory, uppermost first. */
struct opened {
    int fd[IMAGES_STACK_MAX];
    unsigned count, visible;
};

static bool is_opaque(int fd)
{
    char value;
    return fgetxattr(fd, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

/* out->visible: of the directory itself; then of what is in it. */
static int open_dirs(const struct look *l, uint32_t dir, struct opened *out)
{
    for (unsigned i = 0; i < out->visible; i++) {
        int fd = tree_open_in(l->tree, l->base->stack[i], dir, O_RDONLY | O_DIRECTORY);
        if (fd == -ENOENT)
            continue;
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
            return fd;
        if (fd < 0) { /* no directory: it hides what is below */
            out->visible = i;
            break;
        }
        out->fd[out->count++] = fd;
        if (dir != 0 && is_opaque(fd))
            out->visible = i + 1;
    }
    return 0;
}

static void close_dirs(struct opened *o)
{
    while (o->count > 0)
        close(o->fd[--o->count]);
}

static bool is_as_said(const struct stat *st, const struct blob_inode *in)
{
    bool dir = S_ISDIR(in->mode), device = S_ISCHR(in->mode) || S_ISBLK(in->mode);
    return st->st_mode == in->mode && st->st_uid == in->uid && st->st_gid == in->gid &&
           st->st_mtim.tv_sec == in->mtime_s && st->st_mtim.tv_nsec == (long)in->mtime_ns &&
           (dir || ((uint64_t)st->st_size == in->size_bytes && st->st_nlink == in->nlink)) &&
           (!device || st->st_rdev == makedev(in->rdev_major, in->rdev_minor));
}

static bool is_there(const struct opened *o, const struct blob_entry *entry, const struct blob_inode *in)
{
    char name[NAME_MAX + 1];
    struct stat st;
    memcpy(name, entry->name, entry->name_bytes);
    name[entry->name_bytes] = '\0';
    for (unsigned i = 0; i < o->count; i++)
        if (fstatat(o->fd[i], name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            return is_as_said(&st, in);
    return false;
}

static bool is_root_there(const struct look *l)
{
    struct blob_inode in;
    struct stat st;
    blob_image_inode(l->base->image, 0, &in);
    return fstat(l->base->stack[0], &st) == 0 && S_ISDIR(st.st_mode) && st.st_mtim.tv_sec == in.mtime_s &&
           st.st_mtim.tv_nsec == (long)in.mtime_ns;
}

/* The directories in `dir` may be looked at now. */
static void pass_on(struct look *l, const struct blob_inode *d, int error, unsigned visible)
{
    HOLD_LOCK(&l->lock);
    if (error < 0 && l->error == 0)
        l->error = error;
    for (uint32_t e = d->entries_first; e < d->entries_first + d->entries; e++) {
        struct blob_entry entry;
        blob_image_entry(l->tree->image, e, &entry);
        l->visible[entry.inode] = (uint8_t)(visible + 1);
    }
    pthread_cond_broadcast(&l->opened);
}

/* How many of the entries are not there as they should be. */
static uint32_t look_at_entries(struct look *l, const struct blob_inode *d, const struct opened *o)
{
    uint32_t damaged = 0;
    for (uint32_t e = d->entries_first; e < d->entries_first + d->entries; e++) {
        struct blob_entry entry;
        struct blob_inode below;
        blob_image_entry(l->tree->image, e, &entry);
        uint32_t match = __atomic_load_n(&l->match[entry.inode], __ATOMIC_RELAXED);
        if (match == LAYER_NO_MATCH)
            continue;
        blob_image_inode(l->base->image, match, &below);
        if (is_there(o, &entry, &below))
            continue;
        __atomic_store_n(&l->match[entry.inode], LAYER_NO_MATCH, __ATOMIC_RELAXED);
        damaged++;
    }
    return damaged;
}

static void look_at_dir(struct look *l, uint32_t dir, unsigned visible)
{
    struct blob_inode d;
    struct opened o = {.visible = visible};
    blob_image_inode(l->tree->image, dir, &d);
    bool matched = __atomic_load_n(&l->match[dir], __ATOMIC_RELAXED) != LAYER_NO_MATCH;
    int r = matched ? open_dirs(l, dir, &o) : 0;
    pass_on(l, &d, r, matched ? o.visible : 0);
    uint32_t damaged = matched && r == 0 ? look_at_entries(l, &d, &o) : 0;
    close_dirs(&o);
    HOLD_LOCK(&l->lock);
    l->damaged += damaged;
}

/* The next directory, once its parent was opened: false when there is none, or no use. */
static bool next_dir(struct look *l, uint32_t *dir, unsigned *visible)
{
    HOLD_LOCK(&l->lock);
    if (l->error < 0 || l->next >= l->tree->dir_count)
        return false;
    *dir = l->tree->dirs[l->next++];
    while (l->visible[*dir] == 0) /* who has its parent waits for none after that */
        pthread_cond_wait(&l->opened, &l->lock);
    *visible = l->visible[*dir] - 1u;
    return true;
}

static void *look_main(void *arg)
{
    struct look *l = arg;
    uint32_t dir;
    unsigned visible;
    while (next_dir(l, &dir, &visible))
        look_at_dir(l, dir, visible);
    return NULL;
}

static void look_at_dirs(struct look *l)
{
    pthread_t threads[THREADS_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned wanted = cores < 1 ? 1 : cores > THREADS_MAX ? THREADS_MAX : (unsigned)cores;
    unsigned started = 0;
    while (started + 1 < wanted && pthread_create(&threads[started], NULL, look_main, l) == 0)
        started++;
    look_main(l);
    while (started > 0)
        pthread_join(threads[--started], NULL);
}

int64_t layer_look(const struct tree *tree, const struct seed_source *base, struct layer *layer)
{
    struct look l = {.tree = tree, .base = base, .match = layer->match};
    if (!is_root_there(&l))
        return -ESTALE;
    l.visible = calloc(blob_image_inodes(tree->image), 1);
    if (!l.visible)
        return -ENOMEM;
    l.visible[0] = (uint8_t)(base->depth + 1);
    pthread_mutex_init(&l.lock, NULL);
    pthread_cond_init(&l.opened, NULL);
    look_at_dirs(&l);
    pthread_cond_destroy(&l.opened);
    pthread_mutex_destroy(&l.lock);
    free(l.visible);
    layer_prune(layer, tree);
    return l.error < 0 ? (int64_t)l.error : (int64_t)l.damaged;
}
