#include "seed_copy.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/fdio.h"
#include "images_disk.h"

#define PLACES_TRIED 8 /* files of the held image that have the first chunk */

int seed_source_open(struct images *images, uint64_t number, struct seed_source *out, struct err *err)
{
    struct seed_source s = {.number = number, .tree = {.fd = -1}};
    images_pin(images, number);
    int r = images_get(images, number, &s.image, err);
    if (r == 0) {
        r = images_open_trees(images, number, s.stack, err);
        s.depth = r < 0 ? 0 : (unsigned)r;
    }
    if (r >= 0)
        r = tree_init(&s.tree, s.image, s.stack[0], err);
    if (r < 0) {
        seed_source_close(images, &s);
        return r;
    }
    *out = s;
    return 0;
}

int seed_source_index(struct seed_source *source, struct err *err)
{
    return plan_places_init(&source->places, source->image, err);
}

void seed_source_share(const struct seed_source *of, struct seed_source *out)
{
    *out = *of;
    out->shared = true;
    out->places = (struct plan_places){0};
}

void seed_source_close(struct images *images, struct seed_source *source)
{
    plan_places_fini(&source->places);
    if (!source->shared) {
        tree_fini(&source->tree);
        for (unsigned i = 0; i < source->depth; i++)
            close(source->stack[i]);
        images_unpin(images, source->number);
    }
    *source = (struct seed_source){.tree = {.fd = -1}};
}

void seed_reader_close(struct seed_reader *reader)
{
    if (reader->source && reader->fd >= 0)
        close(reader->fd);
    *reader = (struct seed_reader){.fd = -1};
}

/* From the uppermost tree that has it. What is damaged may be found in a wrong one: the caller checks. */
static int open_file(const struct seed_source *source, uint32_t inode)
{
    int fd = -ENOENT;
    for (unsigned i = 0; fd < 0 && i < source->depth; i++)
        fd = tree_open_in(&source->tree, source->stack[i], inode, O_RDONLY | O_NONBLOCK | O_NOATIME);
    return fd;
}

int seed_read_file(struct seed_reader *reader, const struct seed_source *source, uint32_t inode,
                   uint64_t offset_bytes, void *raw, uint32_t raw_bytes)
{
    if (reader->source != source || reader->inode != inode) {
        seed_reader_close(reader);
        int fd = open_file(source, inode);
        if (fd < 0)
            return fd;
        *reader = (struct seed_reader){.source = source, .inode = inode, .fd = fd};
    }
    ssize_t n = fd_read_at(reader->fd, raw, raw_bytes, offset_bytes);
    if (n < 0)
        return (int)n;
    return (uint32_t)n == raw_bytes ? 0 : -ENODATA;
}

int seed_read(struct seed_reader *reader, const struct seed_source *source, uint32_t chunk, void *raw,
              uint32_t raw_bytes)
{
    struct blob_chunk c;
    blob_image_chunk(source->image, chunk, &c);
    if (c.raw_bytes != raw_bytes)
        return -EBADMSG;
    if (source->places.first[chunk] == source->places.first[chunk + 1])
        return -ENOENT;
    const struct plan_place *place = &source->places.place[source->places.first[chunk]];
    struct blob_extent extent;
    blob_image_extent(source->image, place->extent, &extent);
    return seed_read_file(reader, source, place->inode, extent.offset_bytes, raw, raw_bytes);
}

/* Whether every chunk of `in` is seeded by the chunk at the same place of `old`. */
static bool is_same_file(const struct plan *plan, unsigned source_index, const struct seed_source *source,
                         const struct blob_inode *in, uint32_t old_inode)
{
    struct blob_inode old;
    blob_image_inode(source->image, old_inode, &old);
    if (old.size_bytes != in->size_bytes || old.extents != in->extents)
        return false;
    for (uint32_t k = 0; k < in->extents; k++) {
        struct blob_extent a, b;
        blob_image_extent(plan->image, in->extents_first + k, &a);
        blob_image_extent(source->image, old.extents_first + k, &b);
        if (a.offset_bytes != b.offset_bytes || plan->source[a.chunk] != PLAN_SEEDED ||
            plan->seed[a.chunk].image != source_index || plan->seed[a.chunk].chunk != b.chunk)
            return false;
    }
    return true;
}

static bool find_same_file(const struct plan *plan, const struct seed_source *sources, uint32_t inode,
                           struct seed_clone *out)
{
    struct blob_inode in;
    struct blob_extent extent;
    blob_image_inode(plan->image, inode, &in);
    if (!S_ISREG(in.mode) || in.extents == 0)
        return false;
    blob_image_extent(plan->image, in.extents_first, &extent);
    if (plan->source[extent.chunk] != PLAN_SEEDED)
        return false;
    struct plan_seed seed = plan->seed[extent.chunk];
    const struct seed_source *source = &sources[seed.image];
    uint32_t first = source->places.first[seed.chunk], end = source->places.first[seed.chunk + 1];
    for (uint32_t p = first; p < end && p - first < PLACES_TRIED; p++) {
        uint32_t old = source->places.place[p].inode;
        if (!is_same_file(plan, seed.image, source, &in, old))
            continue;
        *out = (struct seed_clone){.inode = inode, .source = seed.image, .from = old};
        return true;
    }
    return false;
}

int seed_find_clones(const struct plan *plan, const struct seed_source *sources, struct buf *out)
{
    for (uint32_t i = 0; plan->seed_image_count > 0 && i < blob_image_inodes(plan->image); i++) {
        struct seed_clone clone = {0};
        if (find_same_file(plan, sources, i, &clone))
            buf_put(out, &clone, sizeof(clone));
    }
    return out->error;
}

bool seed_can_clone(int dirfd)
{
    OWNED_FD a = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    OWNED_FD b = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return a >= 0 && b >= 0 && fd_write(a, "x", 1) == 0 && ioctl(b, FICLONE, a) == 0;
}

int seed_clone_file(struct seed_reader *reader, const struct seed_source *sources, const struct tree *tree,
                    const struct seed_clone *clone, void *raw)
{
    const struct seed_source *source = &sources[clone->source];
    struct blob_inode in;
    blob_image_inode(tree->image, clone->inode, &in);
    for (uint32_t k = 0; k < in.extents; k++) {
        struct blob_extent extent;
        struct blob_chunk chunk;
        blob_image_extent(tree->image, in.extents_first + k, &extent);
        blob_image_chunk(tree->image, extent.chunk, &chunk);
        int r = seed_read_file(reader, source, clone->from, extent.offset_bytes, raw, chunk.raw_bytes);
        if (r < 0 || blob_check_of(raw, chunk.raw_bytes) != chunk.check)
            return -ENODATA;
    }
    struct stat st;
    if (fstat(reader->fd, &st) < 0 || (uint64_t)st.st_size != in.size_bytes)
        return -ENODATA;
    OWNED_FD to = tree_open(tree, clone->inode, O_WRONLY | O_CREAT);
    if (to < 0)
        return to;
    return ioctl(to, FICLONE, reader->fd) < 0 ? -errno : 0;
}
