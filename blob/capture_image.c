/* From the model to the image: breadth first, the names of each directory in the order that it has them. */
#include <string.h>

#include "capture_parts.h"
#include "image_write.h"

struct numbering {
    uint32_t *number; /* of each node, CAPTURE_NONE until it is reached */
    uint32_t *queue;  /* the nodes by number */
    uint32_t reached;
};

static void put_inode(const struct capture_node *n, struct image_writer *w)
{
    struct blob_inode in = {
        .mode = n->mode,
        .uid = n->uid,
        .gid = n->gid,
        .size_bytes = n->size_bytes,
        .mtime_s = n->mtime_s,
        .mtime_ns = n->mtime_ns,
    };
    uint32_t count = 0;
    if (S_ISDIR(n->mode)) {
        count = n->has.dir ? n->has.dir->count : 0;
    } else if (S_ISREG(n->mode)) {
        count = n->count;
    } else if (S_ISLNK(n->mode)) {
        in.target = n->has.target;
    } else if (S_ISCHR(n->mode) || S_ISBLK(n->mode)) {
        in.rdev_major = (uint32_t)(n->size_bytes >> 32);
        in.rdev_minor = (uint32_t)n->size_bytes;
    }
    image_put_inode(w, &in, n->set, count);
    if (!S_ISREG(n->mode))
        return;
    if (n->whole)
        image_put_extent(w, 0, n->has.chunk);
    for (uint32_t i = 0; !n->whole && i < n->count; i++)
        image_put_extent(w, n->has.extents[i].offset_bytes, n->has.extents[i].chunk);
}

/* One entry; it reaches its node, unless another name did before. */
static int put_entry(const struct blob_capture *c, const struct capture_dir *dir, uint32_t slot,
                     struct numbering *by, struct image_writer *w, struct err *err)
{
    uint32_t child = dir->list[slot].node;
    const char *name = capture_entry_name(dir, slot);
    uint32_t back = 0;
    if (by->number[child] == CAPTURE_NONE) {
        by->number[child] = by->reached;
        by->queue[by->reached++] = child;
    } else if (S_ISDIR(c->nodes[child].mode)) {
        char path[CAPTURE_PATH_BYTES];
        capture_path(c, child, NULL, path);
        return err_set(err, EIO, "%s was moved while the tree was captured: load again.", path);
    } else {
        back = by->reached - by->number[child];
    }
    image_put_entry(w, name, strlen(name), back);
    return 0;
}

static int put_tree(const struct blob_capture *c, struct numbering *by, struct image_writer *w,
                    struct blob_capture_result *result, struct err *err)
{
    by->queue[0] = CAPTURE_ROOT;
    by->number[CAPTURE_ROOT] = 0;
    by->reached = 1;
    for (uint32_t i = 0; i < by->reached; i++) {
        const struct capture_node *n = &c->nodes[by->queue[i]];
        put_inode(n, w);
        if (S_ISREG(n->mode)) {
            result->files++;
            result->bytes += n->size_bytes;
        }
        for (uint32_t k = 0; S_ISDIR(n->mode) && n->has.dir && k < n->has.dir->count; k++) {
            int r = put_entry(c, n->has.dir, k, by, w, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

int capture_write(struct blob_capture *c, struct buf *out, struct blob_capture_result *result,
                  struct err *err)
{
    struct numbering by = {
        .number = malloc(c->n_nodes * sizeof(uint32_t)),
        .queue = calloc(c->n_nodes, sizeof(uint32_t)),
    };
    struct image_writer w = {0};
    int r = -ENOMEM;
    if (by.number && by.queue && image_writer_init(&w, &c->chunks, &c->sets) == 0) {
        memset(by.number, 0xff, c->n_nodes * sizeof(uint32_t));
        r = put_tree(c, &by, &w, result, err);
    } else {
        capture_no_memory(err);
    }
    free(by.number);
    free(by.queue);
    if (r == 0) {
        result->chunks = w.n_chunks;
        r = image_writer_end(&w, out, err);
    }
    image_writer_free(&w);
    return r;
}
