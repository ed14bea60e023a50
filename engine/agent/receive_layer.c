#include "receive_layer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/fdio.h"
#include "base/log.h"
#include "images_disk.h"

#define BASES_TRIED 8 /* held images that are compared */
#define DAMAGED "damaged\n"

/* ---- looking at what would stay below ---- */

struct look {
    const struct tree *tree;
    const struct seed_source *base;
    struct layer *layer;
    uint8_t *visible; /* by directory: how many trees of the stack make it up at most */
    uint32_t damaged;
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

static int open_dirs(const struct look *l, uint32_t dir, struct opened *out)
{
    *out = (struct opened){.visible = l->visible[dir]};
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

static void look_at_entries(struct look *l, uint32_t dir, const struct opened *o)
{
    struct blob_inode d;
    blob_image_inode(l->tree->image, dir, &d);
    for (uint32_t e = d.entries_first; e < d.entries_first + d.entries; e++) {
        struct blob_entry entry;
        struct blob_inode below;
        blob_image_entry(l->tree->image, e, &entry);
        uint32_t *match = &l->layer->match[entry.inode];
        if (*match == LAYER_NO_MATCH)
            continue;
        l->visible[entry.inode] = (uint8_t)o->visible;
        blob_image_inode(l->base->image, *match, &below);
        if (is_there(o, &entry, &below))
            continue;
        *match = LAYER_NO_MATCH;
        l->damaged++;
    }
}

static bool is_root_there(const struct look *l)
{
    struct blob_inode in;
    struct stat st;
    blob_image_inode(l->base->image, 0, &in);
    return fstat(l->base->stack[0], &st) == 0 && S_ISDIR(st.st_mode) && st.st_mtim.tv_sec == in.mtime_s &&
           st.st_mtim.tv_nsec == (long)in.mtime_ns;
}

static int look_at_dirs(struct look *l)
{
    for (uint32_t at = 0; at < l->tree->dir_count; at++) {
        struct opened o;
        uint32_t dir = l->tree->dirs[at];
        if (l->layer->match[dir] == LAYER_NO_MATCH)
            continue;
        int r = open_dirs(l, dir, &o);
        if (r == 0)
            look_at_entries(l, dir, &o);
        close_dirs(&o);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Takes away the matches of what is not there as the base's image says. Returns how many, or -errno; -ESTALE
 * when the top directory itself is not. */
static int64_t look_below(const struct tree *tree, const struct seed_source *base, struct layer *layer)
{
    struct look l = {.tree = tree, .base = base, .layer = layer};
    if (!is_root_there(&l))
        return -ESTALE;
    l.visible = calloc(blob_image_inodes(tree->image), 1);
    if (!l.visible)
        return -ENOMEM;
    l.visible[0] = (uint8_t)base->depth;
    int r = look_at_dirs(&l);
    free(l.visible);
    layer_prune(layer, tree);
    return r < 0 ? (int64_t)r : (int64_t)l.damaged;
}

/* ---- choosing ---- */

/* Whether what is below `r->fd` can be stacked, and would be copied else. */
static bool can_layer(const struct receive *r)
{
    static const char probe[] = "trusted.overlay.bladefs";
    if (seed_can_clone(r->fd))
        return false;
    if (fsetxattr(r->fd, probe, "y", 1, 0) < 0 || fremovexattr(r->fd, probe) < 0)
        return false;
    (void)!unlinkat(r->fd, "probe", 0);
    return mknodat(r->fd, "probe", S_IFCHR | 0600, makedev(0, 0)) == 0 && unlinkat(r->fd, "probe", 0) == 0;
}

static bool is_same_file_system(const struct receive *r, const struct seed_source *s)
{
    struct stat own, other;
    bool same = fstat(r->tree_fd, &own) == 0;
    for (unsigned i = 0; i < s->depth; i++)
        same &= fstat(s->stack[i], &other) == 0 && own.st_dev == other.st_dev;
    return same;
}

static bool is_better(const struct layer *a, const struct layer *b)
{
    return a->equal_inodes != b->equal_inodes ? a->equal_inodes > b->equal_inodes
                                              : a->equal_bytes > b->equal_bytes;
}

static void forget(struct receive *r)
{
    if (r->has_base)
        seed_source_close(r->images, &r->base);
    r->has_base = false;
    layer_fini(&r->layer);
}

/* Compares one held image; keeps it as r->base when it pays and is better than that. */
static int consider(struct receive *r, uint64_t number, struct err *err)
{
    struct seed_source source;
    struct layer layer;
    struct err why = {0};
    if (seed_source_open(r->images, number, &source, &why) < 0) {
        log_warn("image %" PRIu64 " is no base for a layer: %s", number, why.message);
        return 0;
    }
    if (layer_compare(&r->tree, &source.tree, &layer) < 0) {
        seed_source_close(r->images, &source);
        return err_set(err, ENOMEM, "no memory to compare images");
    }
    if (!layer_pays(&layer, &r->tree, &source.tree) || !is_same_file_system(r, &source) ||
        (r->has_base && !is_better(&layer, &r->layer))) {
        seed_source_close(r->images, &source);
        layer_fini(&layer);
        return 0;
    }
    forget(r);
    r->base = source;
    r->layer = layer;
    r->has_base = true;
    return 0;
}

/* Whether r->base still pays when its damage is left out; `*damaged`: there is any. */
static int check_base(struct receive *r, bool *damaged, struct err *err)
{
    int64_t found = look_below(&r->tree, &r->base, &r->layer);
    if (found == -ENOMEM)
        return err_set(err, ENOMEM, "no memory to look at the tree of image %" PRIu64, r->base.number);
    if (found != 0)
        log_warn("the tree of image %" PRIu64 " was changed on this blade", r->base.number);
    *damaged = found != 0;
    if (found < 0 || !layer_pays(&r->layer, &r->tree, &r->base.tree))
        forget(r);
    return 0;
}

/* The base of an interrupted attempt, when it is held and undamaged, as it was then. */
static int consider_again(struct receive *r, uint64_t number, struct err *err)
{
    uint64_t bases[64];
    size_t n = images_bases(r->images, bases, sizeof(bases) / sizeof(bases[0]));
    bool held = false, damaged = false;
    for (size_t i = 0; i < n; i++)
        held |= bases[i] == number;
    OWNED_BUF struct buf text = BUF_EMPTY;
    if (!held || file_read(r->fd, "base", 64, &text) < 0 ||
        memmem(text.bytes, text.len_bytes, DAMAGED, strlen(DAMAGED)))
        return 0;
    int result = consider(r, number, err);
    if (result == 0 && r->has_base)
        result = check_base(r, &damaged, err);
    if (damaged)
        forget(r);
    return result;
}

static int consider_all(struct receive *r, struct err *err)
{
    uint64_t bases[BASES_TRIED];
    size_t n = images_bases(r->images, bases, BASES_TRIED);
    bool damaged = false;
    int result = 0;
    for (size_t i = 0; i < n && result == 0; i++)
        result = consider(r, bases[i], err);
    if (result == 0 && r->has_base)
        result = check_base(r, &damaged, err);
    if (result < 0 || !r->has_base)
        return result;
    char text[64];
    snprintf(text, sizeof(text), "%" PRIu64 "\n%s", r->base.number, damaged ? DAMAGED : "");
    result = file_replace(r->fd, "base", 0600, text, strlen(text));
    return result < 0 ? err_sys(err, -result, "cannot note what a layer stands on") : 0;
}

int receive_layer_choose(struct receive *r, struct err *err)
{
    uint64_t began = r->resumed ? images_disk_base(r->fd, ".") : 0;
    if (r->resumed && !began)
        return 0; /* as a whole tree */
    bool can = can_layer(r);
    int result = began && can ? consider_again(r, began, err) : 0;
    if (result == 0 && began && !r->has_base)
        result = receive_start_over(r, err);
    if (result == 0 && !r->has_base && can)
        result = consider_all(r, err);
    if (result < 0 || !r->has_base)
        return result;
    layer_settle(&r->layer, &r->tree, &r->base.tree);
    r->tree.flags = r->layer.flags;
    log_info("%s becomes a layer above image %" PRIu64 ": %" PRIu32 " of %" PRIu32 " inodes stay there",
             r->snapshot, r->base.number, r->layer.equal_inodes, blob_image_inodes(r->image));
    return 0;
}

/* ---- what is gone ---- */

static int white_out(const struct receive *r, uint32_t dir, struct err *err)
{
    struct blob_entry gone;
    OWNED_FD fd = -1;
    for (uint32_t at = 0; layer_next_gone(&r->tree, dir, &r->base.tree, r->layer.match[dir], &at, &gone);) {
        char name[NAME_MAX + 1], shown[256];
        if (fd < 0)
            fd = tree_open(&r->tree, dir, O_RDONLY | O_DIRECTORY);
        memcpy(name, gone.name, gone.name_bytes);
        name[gone.name_bytes] = '\0';
        if (fd >= 0 && (mknodat(fd, name, S_IFCHR, makedev(0, 0)) == 0 || errno == EEXIST))
            continue;
        int code = fd < 0 ? -fd : errno;
        tree_path_show(&r->tree, dir, shown);
        return err_sys(err, code, "cannot note what is gone from %s", shown);
    }
    return 0;
}

int receive_layer_whiteouts(struct receive *r, struct err *err)
{
    int result = 0;
    for (uint32_t at = 0; r->has_base && at < r->tree.dir_count && result == 0; at++) {
        uint32_t dir = r->tree.dirs[at];
        if (r->layer.match[dir] != LAYER_NO_MATCH && !(r->layer.flags[dir] & (TREE_KEPT | TREE_OPAQUE)))
            result = white_out(r, dir, err);
    }
    return result;
}

void receive_layer_free(struct receive *r)
{
    forget(r);
}
