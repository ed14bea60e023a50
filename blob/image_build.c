/* The builder: keeps what it is given, in any order, and writes it out in the canonical one. */
#include <inttypes.h>
#include <string.h>

#include "image_format.h"
#include "image_write.h"

#define NONE UINT32_MAX

struct build_inode {
    uint64_t size_bytes;
    int64_t mtime_s;
    uint32_t mode, uid, gid, mtime_ns;
    uint32_t rdev_major, rdev_minor;
    uint32_t target_at; /* in `text` */
    uint32_t extents, extent_first, extent_last;
    uint32_t xattr_last; /* they are linked backwards */
};

struct build_entry {
    uint32_t dir, inode;
    uint32_t name_at;
    uint32_t name_bytes;
};

struct build_extent {
    uint64_t offset_bytes;
    uint32_t chunk;
    uint32_t next;
};

struct build_xattr {
    uint32_t name_at, value_at, value_bytes;
    uint32_t previous;
};

struct blob_image_builder {
    struct build_inode *inodes;
    struct build_entry *entries;
    struct build_extent *extents;
    struct build_xattr *xattrs;
    uint32_t n_inodes, cap_inodes, n_entries, cap_entries, n_extents, cap_extents, n_xattrs, cap_xattrs;
    struct image_chunks chunks;
    struct buf text; /* names, targets and values */
};

int blob_image_builder_new(struct blob_image_builder **out)
{
    struct blob_image_builder *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    *out = b;
    return 0;
}

void blob_image_builder_free(struct blob_image_builder *b)
{
    if (!b)
        return;
    free(b->inodes);
    free(b->entries);
    free(b->extents);
    free(b->xattrs);
    image_chunks_free(&b->chunks);
    buf_free(&b->text);
    free(b);
}

static int no_memory(struct err *err)
{
    return err_set(err, ENOMEM, "There is not enough memory to make an image; free some and try again.");
}

/* Keeps bytes in `text`; their place, or -errno. */
static int64_t keep_text(struct blob_image_builder *b, const void *bytes, size_t len_bytes)
{
    size_t at = b->text.len_bytes;
    if (len_bytes > BLOB_IMAGE_MAX_BYTES - at)
        return -EFBIG;
    buf_put(&b->text, bytes, len_bytes);
    return b->text.error ? b->text.error : (int64_t)at;
}

static bool inode_is_good(const struct blob_inode *in)
{
    if (in->mode & ~(uint32_t)(S_IFMT | 07777) || in->mtime_ns >= 1000000000 || in->uid == UINT32_MAX ||
        in->gid == UINT32_MAX)
        return false;
    if (S_ISREG(in->mode))
        return in->size_bytes <= INT64_MAX;
    if (S_ISLNK(in->mode))
        return in->target && in->size_bytes > 0 && in->size_bytes <= IMAGE_TARGET_MAX_BYTES &&
               !memchr(in->target, '\0', (size_t)in->size_bytes);
    return S_ISDIR(in->mode) || image_is_device(in->mode) || S_ISFIFO(in->mode) || S_ISSOCK(in->mode);
}

int64_t blob_image_add_inode(struct blob_image_builder *b, const struct blob_inode *in)
{
    if (!inode_is_good(in) || (b->n_inodes == 0 && !S_ISDIR(in->mode)))
        return -EINVAL;
    struct build_inode *inodes = array_room(b->inodes, b->n_inodes, &b->cap_inodes, sizeof(*inodes));
    if (!inodes)
        return -ENOMEM;
    b->inodes = inodes;
    int64_t target_at = S_ISLNK(in->mode) ? keep_text(b, in->target, (size_t)in->size_bytes) : 0;
    if (target_at < 0)
        return target_at;
    b->inodes[b->n_inodes] = (struct build_inode){
        .size_bytes = in->size_bytes,
        .mtime_s = in->mtime_s,
        .mode = in->mode,
        .uid = in->uid,
        .gid = in->gid,
        .mtime_ns = in->mtime_ns,
        .rdev_major = in->rdev_major,
        .rdev_minor = in->rdev_minor,
        .target_at = (uint32_t)target_at,
        .extent_first = NONE,
        .extent_last = NONE,
        .xattr_last = NONE,
    };
    return b->n_inodes++;
}

static bool name_is_good(const char *name, size_t len_bytes)
{
    if (len_bytes == 0 || len_bytes > IMAGE_NAME_MAX_BYTES || memchr(name, '/', len_bytes) ||
        memchr(name, '\0', len_bytes))
        return false;
    return !(name[0] == '.' && (len_bytes == 1 || (len_bytes == 2 && name[1] == '.')));
}

int blob_image_add_entry(struct blob_image_builder *b, uint32_t dir, const char *name, size_t name_bytes,
                         uint32_t inode)
{
    if (dir >= b->n_inodes || inode >= b->n_inodes || inode == 0 || !S_ISDIR(b->inodes[dir].mode) ||
        !name_is_good(name, name_bytes))
        return -EINVAL;
    struct build_entry *entries = array_room(b->entries, b->n_entries, &b->cap_entries, sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    b->entries = entries;
    int64_t at = keep_text(b, name, name_bytes);
    if (at < 0)
        return (int)at;
    b->entries[b->n_entries++] = (struct build_entry){
        .dir = dir, .inode = inode, .name_at = (uint32_t)at, .name_bytes = (uint32_t)name_bytes};
    return 0;
}

int blob_image_add_extent(struct blob_image_builder *b, uint32_t inode, uint64_t offset_bytes,
                          const struct blob_chunk *chunk)
{
    if (inode >= b->n_inodes || !S_ISREG(b->inodes[inode].mode) || chunk->raw_bytes == 0 ||
        chunk->raw_bytes > BLOB_CHUNK_MAX_BYTES)
        return -EINVAL;
    struct build_inode *in = &b->inodes[inode];
    uint64_t end = 0;
    if (in->extent_last != NONE) {
        const struct build_extent *last = &b->extents[in->extent_last];
        end = last->offset_bytes + b->chunks.list[last->chunk].raw_bytes;
    }
    if (offset_bytes < end || offset_bytes > in->size_bytes ||
        in->size_bytes - offset_bytes < chunk->raw_bytes)
        return -EINVAL;

    struct build_extent *extents = array_room(b->extents, b->n_extents, &b->cap_extents, sizeof(*extents));
    if (!extents)
        return -ENOMEM;
    b->extents = extents;
    int64_t number = image_chunks_add(&b->chunks, chunk);
    if (number < 0)
        return (int)number;
    b->extents[b->n_extents] =
        (struct build_extent){.offset_bytes = offset_bytes, .chunk = (uint32_t)number, .next = NONE};
    if (in->extent_last == NONE)
        in->extent_first = b->n_extents;
    else
        b->extents[in->extent_last].next = b->n_extents;
    in->extent_last = b->n_extents++;
    in->extents++;
    return 0;
}

int blob_image_add_xattr(struct blob_image_builder *b, uint32_t inode, const char *name, const void *value,
                         size_t value_bytes)
{
    size_t name_bytes = strlen(name);
    if (inode >= b->n_inodes || name_bytes == 0 || name_bytes > IMAGE_NAME_MAX_BYTES ||
        value_bytes > IMAGE_XATTR_VALUE_MAX_BYTES)
        return -EINVAL;
    struct build_xattr *xattrs = array_room(b->xattrs, b->n_xattrs, &b->cap_xattrs, sizeof(*xattrs));
    if (!xattrs)
        return -ENOMEM;
    b->xattrs = xattrs;
    int64_t name_at = keep_text(b, name, name_bytes + 1);
    int64_t value_at = name_at < 0 ? name_at : keep_text(b, value, value_bytes);
    if (value_at < 0)
        return (int)value_at;
    b->xattrs[b->n_xattrs] = (struct build_xattr){
        .name_at = (uint32_t)name_at,
        .value_at = (uint32_t)value_at,
        .value_bytes = (uint32_t)value_bytes,
        .previous = b->inodes[inode].xattr_last,
    };
    b->inodes[inode].xattr_last = b->n_xattrs++;
    return 0;
}

/* The entries of each directory together, sorted: those of `dir` are order[first[dir]] to first[dir + 1]. */
struct order {
    uint32_t *first;
    uint32_t *order;
    uint32_t *number; /* of each inode, NONE until it is reached */
    uint32_t *queue;  /* the inodes by number */
    uint32_t *set;    /* of each inode, in the table's numbers */
};

static int by_entry_name(const void *a, const void *b, void *builder)
{
    const struct blob_image_builder *t = builder;
    const struct build_entry *x = &t->entries[*(const uint32_t *)a], *y = &t->entries[*(const uint32_t *)b];
    const uint8_t *text = t->text.bytes;
    return image_name_compare(text + x->name_at, x->name_bytes, text + y->name_at, y->name_bytes);
}

static int order_entries(struct blob_image_builder *b, struct order *o, struct err *err)
{
    o->first = calloc((size_t)b->n_inodes + 2, sizeof(uint32_t));
    o->order = calloc((size_t)b->n_entries + 1, sizeof(uint32_t));
    o->number = malloc(b->n_inodes * sizeof(uint32_t));
    o->queue = calloc(b->n_inodes, sizeof(uint32_t));
    o->set = calloc(b->n_inodes, sizeof(uint32_t));
    if (!o->first || !o->order || !o->number || !o->queue || !o->set)
        return no_memory(err);
    memset(o->number, 0xff, b->n_inodes * sizeof(uint32_t));

    /* first[d + 2] counts d's entries, then first[d + 1] is where the next of d's goes. */
    for (uint32_t i = 0; i < b->n_entries; i++)
        o->first[b->entries[i].dir + 2]++;
    for (uint32_t d = 2; d < b->n_inodes + 2; d++)
        o->first[d] += o->first[d - 1];
    for (uint32_t i = 0; i < b->n_entries; i++)
        o->order[o->first[b->entries[i].dir + 1]++] = i;
    for (uint32_t d = 0; d < b->n_inodes; d++) {
        uint32_t count = o->first[d + 1] - o->first[d];
        uint32_t *entries = o->order + o->first[d];
        qsort_r(entries, count, sizeof(uint32_t), by_entry_name, b);
        for (uint32_t i = 1; i < count; i++)
            if (by_entry_name(&entries[i - 1], &entries[i], b) == 0)
                return err_set(err, EINVAL, "Two entries of directory %" PRIu32 " have one name.", d);
    }
    return 0;
}

static int64_t set_of(const struct blob_image_builder *b, const struct build_inode *in,
                      struct image_sets *sets)
{
    size_t count = 0;
    for (uint32_t x = in->xattr_last; x != NONE; x = b->xattrs[x].previous)
        count++;
    if (count == 0)
        return 0;
    OWNED struct blob_xattr *list = calloc(count, sizeof(*list));
    if (!list)
        return -ENOMEM;
    size_t k = 0;
    for (uint32_t x = in->xattr_last; x != NONE; x = b->xattrs[x].previous) {
        list[k].name = (const char *)b->text.bytes + b->xattrs[x].name_at;
        list[k].name_bytes = (uint16_t)strlen(list[k].name);
        list[k].value = b->text.bytes + b->xattrs[x].value_at;
        list[k++].value_bytes = b->xattrs[x].value_bytes;
    }
    return image_sets_add(sets, list, count);
}

/* The xattr set of every inode, in the table's numbers. */
static int number_sets(const struct blob_image_builder *b, struct image_sets *sets, uint32_t *set_numbers,
                       struct err *err)
{
    for (uint32_t i = 0; i < b->n_inodes; i++) {
        int64_t set = set_of(b, &b->inodes[i], sets);
        if (set < 0)
            return err_sys(err, (int)-set, "The xattrs of inode %" PRIu32 " make no set", i);
        set_numbers[i] = (uint32_t)set;
    }
    return 0;
}

static void put_inode(const struct blob_image_builder *b, struct image_writer *w, uint32_t i, uint32_t set,
                      uint32_t entries)
{
    const struct build_inode *in = &b->inodes[i];
    struct blob_inode out = {
        .mode = in->mode,
        .uid = in->uid,
        .gid = in->gid,
        .size_bytes = in->size_bytes,
        .mtime_s = in->mtime_s,
        .mtime_ns = in->mtime_ns,
        .rdev_major = in->rdev_major,
        .rdev_minor = in->rdev_minor,
        .target = S_ISLNK(in->mode) ? (const char *)b->text.bytes + in->target_at : NULL,
    };
    image_put_inode(w, &out, set, S_ISDIR(in->mode) ? entries : in->extents);
    for (uint32_t x = in->extent_first; x != NONE; x = b->extents[x].next)
        image_put_extent(w, b->extents[x].offset_bytes, b->extents[x].chunk);
}

/* Breadth first: the queue of inodes is their order. */
static int write_tree(const struct blob_image_builder *b, struct order *o, struct image_writer *w,
                      struct err *err)
{
    uint32_t reached = 1;
    o->queue[0] = 0;
    o->number[0] = 0;
    for (uint32_t n = 0; n < reached; n++) {
        uint32_t i = o->queue[n];
        uint32_t first = o->first[i], last = o->first[i + 1];
        put_inode(b, w, i, o->set[i], last - first);
        for (uint32_t k = first; k < last; k++) {
            const struct build_entry *entry = &b->entries[o->order[k]];
            uint32_t back = 0;
            if (o->number[entry->inode] == NONE) {
                o->number[entry->inode] = reached;
                o->queue[reached] = entry->inode;
            } else if (S_ISDIR(b->inodes[entry->inode].mode)) {
                return err_set(err, EINVAL, "Directory %" PRIu32 " has two names.", entry->inode);
            } else {
                back = reached - o->number[entry->inode];
            }
            image_put_entry(w, (const char *)b->text.bytes + entry->name_at, entry->name_bytes, back);
            reached += back == 0;
        }
    }
    if (reached != b->n_inodes)
        return err_set(err, EINVAL, "%" PRIu32 " inodes have no name.", b->n_inodes - reached);
    return 0;
}

static int build(struct blob_image_builder *b, struct order *o, struct image_sets *sets,
                 struct image_writer *w, struct buf *out, struct err *err)
{
    int r = order_entries(b, o, err);
    if (r < 0)
        return r;
    r = number_sets(b, sets, o->set, err);
    if (r < 0)
        return r;
    if (image_writer_init(w, &b->chunks, sets) < 0)
        return no_memory(err);
    r = write_tree(b, o, w, err);
    if (r < 0)
        return r;
    return image_writer_end(w, out, err);
}

int blob_image_build(struct blob_image_builder *b, struct buf *out, struct err *err)
{
    if (b->n_inodes == 0)
        return err_set(err, EINVAL, "An image needs a root directory.");
    struct order o = {0};
    struct image_sets sets = {0};
    struct image_writer w = {0};
    int r = build(b, &o, &sets, &w, out, err);
    image_writer_free(&w);
    image_sets_free(&sets);
    free(o.first);
    free(o.order);
    free(o.number);
    free(o.queue);
    free(o.set);
    return r;
}
