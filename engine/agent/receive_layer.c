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
#include "layer_look.h"

#define BASES_TRIED 8 /* held images that are compared */
#define DAMAGED "damaged\n"

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
    int64_t found = layer_look(&r->tree, &r->base, &r->layer);
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
