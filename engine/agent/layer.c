#include "layer.h"

#include <string.h>

static bool same_xattrs(const struct blob_image *a, uint32_t set_a, const struct blob_image *b,
                        uint32_t set_b)
{
    for (uint32_t k = 0;; k++) {
        struct blob_xattr x, y;
        bool more = blob_image_xattr(a, set_a, k, &x);
        if (more != blob_image_xattr(b, set_b, k, &y))
            return false;
        if (!more)
            return true;
        if (x.name_bytes != y.name_bytes || memcmp(x.name, y.name, x.name_bytes) != 0 ||
            x.value_bytes != y.value_bytes || memcmp(x.value, y.value, x.value_bytes) != 0)
            return false;
    }
}

static bool same_attributes(const struct tree *a, const struct blob_inode *x, const struct tree *b,
                            const struct blob_inode *y)
{
    return x->mode == y->mode && x->uid == y->uid && x->gid == y->gid && x->mtime_s == y->mtime_s &&
           x->mtime_ns == y->mtime_ns && same_xattrs(a->image, x->xattr_set, b->image, y->xattr_set);
}

static bool same_content(const struct tree *a, const struct blob_inode *x, const struct tree *b,
                         const struct blob_inode *y)
{
    if (x->extents != y->extents)
        return false;
    for (uint32_t k = 0; k < x->extents; k++) {
        struct blob_extent p, q;
        struct blob_chunk c, d;
        blob_image_extent(a->image, x->extents_first + k, &p);
        blob_image_extent(b->image, y->extents_first + k, &q);
        if (p.offset_bytes != q.offset_bytes)
            return false;
        blob_image_chunk(a->image, p.chunk, &c);
        blob_image_chunk(b->image, q.chunk, &d);
        if (c.raw_bytes != d.raw_bytes || c.check != d.check)
            return false;
    }
    return true;
}

/* Of two that are no directories; `nlink`: all names of the one are names of the other. */
static bool same_inode(const struct tree *a, const struct blob_inode *x, const struct tree *b,
                       const struct blob_inode *y)
{
    if (x->nlink != y->nlink || x->size_bytes != y->size_bytes || x->rdev_major != y->rdev_major ||
        x->rdev_minor != y->rdev_minor || !same_attributes(a, x, b, y))
        return false;
    if (S_ISLNK(x->mode))
        return memcmp(x->target, y->target, x->size_bytes) == 0;
    return !S_ISREG(x->mode) || same_content(a, x, b, y);
}

static uint64_t content_bytes(const struct blob_image *image, const struct blob_inode *in)
{
    uint64_t total = 0;
    for (uint32_t k = 0; k < in->extents; k++) {
        struct blob_extent extent;
        struct blob_chunk chunk;
        blob_image_extent(image, in->extents_first + k, &extent);
        blob_image_chunk(image, extent.chunk, &chunk);
        total += chunk.raw_bytes;
    }
    return total;
}

static void count(struct layer *l, const struct tree *tree)
{
    l->equal_inodes = 0;
    l->equal_bytes = 0;
    for (uint32_t i = 0; i < blob_image_inodes(tree->image); i++) {
        struct blob_inode in;
        if (l->match[i] == LAYER_NO_MATCH)
            continue;
        blob_image_inode(tree->image, i, &in);
        l->equal_inodes++;
        l->equal_bytes += S_ISREG(in.mode) ? content_bytes(tree->image, &in) : 0;
    }
}

/* Pairs by name what a directory and its counterpart have. `names`: by inode, how many of its names led to
 * its match. */
static void pair_names(struct layer *l, const struct tree *tree, uint32_t dir, const struct tree *base,
                       uint32_t *names)
{
    struct blob_inode d;
    blob_image_inode(tree->image, dir, &d);
    for (uint32_t e = d.entries_first; e < d.entries_first + d.entries; e++) {
        struct blob_entry entry;
        struct blob_inode in, below;
        blob_image_entry(tree->image, e, &entry);
        uint32_t found = blob_image_find(base->image, l->match[dir], entry.name, entry.name_bytes);
        if (found == BLOB_NO_INODE)
            continue;
        l->flags[entry.inode] |= TREE_SHADOWS;
        blob_image_inode(tree->image, entry.inode, &in);
        blob_image_inode(base->image, found, &below);
        if (S_ISDIR(in.mode) != S_ISDIR(below.mode))
            continue;
        if (l->match[entry.inode] == LAYER_NO_MATCH)
            l->match[entry.inode] = found;
        names[entry.inode] += l->match[entry.inode] == found;
    }
}

/* What is no directory must be equal, and have the same names. */
static void check_pairs(struct layer *l, const struct tree *tree, const struct tree *base,
                        const uint32_t *names)
{
    for (uint32_t i = 0; i < blob_image_inodes(tree->image); i++) {
        struct blob_inode in, below;
        blob_image_inode(tree->image, i, &in);
        if (S_ISDIR(in.mode) || l->match[i] == LAYER_NO_MATCH)
            continue;
        blob_image_inode(base->image, l->match[i], &below);
        if (names[i] != in.nlink || !same_inode(tree, &in, base, &below))
            l->match[i] = LAYER_NO_MATCH;
    }
}

int layer_compare(const struct tree *tree, const struct tree *base, struct layer *out)
{
    uint32_t inodes = blob_image_inodes(tree->image);
    struct layer l = {.match = malloc((size_t)inodes * sizeof(*l.match)), .flags = calloc(inodes, 1)};
    uint32_t *names = calloc(inodes, sizeof(*names));
    if (!l.match || !l.flags || !names) {
        free(names);
        layer_fini(&l);
        return -ENOMEM;
    }
    memset(l.match, 0xff, (size_t)inodes * sizeof(*l.match));
    l.match[0] = 0;
    for (uint32_t at = 0; at < tree->dir_count; at++)
        if (l.match[tree->dirs[at]] != LAYER_NO_MATCH)
            pair_names(&l, tree, tree->dirs[at], base, names);
    check_pairs(&l, tree, base, names);
    free(names);
    count(&l, tree);
    *out = l;
    return 0;
}

void layer_fini(struct layer *layer)
{
    free(layer->match);
    free(layer->flags);
    *layer = (struct layer){0};
}

bool layer_pays(const struct layer *layer, const struct tree *tree, const struct tree *base)
{
    static const char *const mount_points[] = {"proc", "sys", "dev"};
    for (size_t i = 0; i < sizeof(mount_points) / sizeof(mount_points[0]); i++) {
        const char *name = mount_points[i];
        if (blob_image_find(base->image, 0, name, strlen(name)) != BLOB_NO_INODE &&
            blob_image_find(tree->image, 0, name, strlen(name)) == BLOB_NO_INODE)
            return false;
    }
    uint64_t all = blob_image_content_bytes(tree->image);
    return layer->equal_inodes > 1 && layer->equal_bytes >= all - all / 2;
}

void layer_prune(struct layer *layer, const struct tree *tree)
{
    for (uint32_t at = 0; at < tree->dir_count; at++) {
        struct blob_inode d;
        if (layer->match[tree->dirs[at]] != LAYER_NO_MATCH)
            continue;
        blob_image_inode(tree->image, tree->dirs[at], &d);
        for (uint32_t e = d.entries_first; e < d.entries_first + d.entries; e++) {
            struct blob_entry entry;
            blob_image_entry(tree->image, e, &entry);
            layer->match[entry.inode] = LAYER_NO_MATCH;
        }
    }
    count(layer, tree);
}

bool layer_next_gone(const struct tree *tree, uint32_t dir, const struct tree *base, uint32_t base_dir,
                     uint32_t *at, struct blob_entry *out)
{
    struct blob_inode d;
    blob_image_inode(base->image, base_dir, &d);
    while (*at < d.entries) {
        struct blob_entry entry;
        blob_image_entry(base->image, d.entries_first + (*at)++, &entry);
        if (blob_image_find(tree->image, dir, entry.name, entry.name_bytes) == BLOB_NO_INODE) {
            *out = entry;
            return true;
        }
    }
    return false;
}

static bool is_same_dir(const struct layer *l, const struct tree *tree, uint32_t dir, const struct tree *base)
{
    struct blob_inode a, b;
    struct blob_entry gone;
    uint32_t at = 0;
    if (dir == 0 || l->match[dir] == LAYER_NO_MATCH)
        return false;
    blob_image_inode(tree->image, dir, &a);
    blob_image_inode(base->image, l->match[dir], &b);
    return same_attributes(tree, &a, base, &b) &&
           !layer_next_gone(tree, dir, base, l->match[dir], &at, &gone);
}

/* Its entries are settled already. A directory with nothing in it that stays below hides what is there. */
static void settle_dir(struct layer *l, const struct tree *tree, uint32_t dir, const struct tree *base)
{
    struct blob_inode d;
    bool same = is_same_dir(l, tree, dir, base), any_below = false;
    blob_image_inode(tree->image, dir, &d);
    for (uint32_t e = d.entries_first; e < d.entries_first + d.entries; e++) {
        struct blob_entry entry;
        blob_image_entry(tree->image, e, &entry);
        bool kept = l->flags[entry.inode] & TREE_KEPT;
        same &= kept;
        any_below |= kept || l->flags[entry.inode] & TREE_HOLDS_KEPT;
    }
    if (same)
        l->flags[dir] |= TREE_KEPT;
    else if (any_below)
        l->flags[dir] |= TREE_HOLDS_KEPT;
    else if (dir != 0 && l->flags[dir] & TREE_SHADOWS)
        l->flags[dir] |= TREE_OPAQUE;
}

void layer_settle(struct layer *layer, const struct tree *tree, const struct tree *base)
{
    for (uint32_t i = 0; i < blob_image_inodes(tree->image); i++) {
        struct blob_inode in;
        layer->flags[i] &= TREE_SHADOWS;
        blob_image_inode(tree->image, i, &in);
        if (!S_ISDIR(in.mode) && layer->match[i] != LAYER_NO_MATCH)
            layer->flags[i] |= TREE_KEPT;
    }
    for (uint32_t at = tree->dir_count; at-- > 0;)
        settle_dir(layer, tree, tree->dirs[at], base);
}
