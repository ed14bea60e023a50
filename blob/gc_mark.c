/* What must stay: the chunks that the roots are made of, and those that the images among them name. */
#include <inttypes.h>
#include <string.h>

#include "gc_parts.h"
#include "image_format.h"

static int take_root(void *arg, const struct blob_id *object)
{
    struct gc *gc = arg;
    if (gc->root_count == gc->root_room) {
        size_t room = gc->root_room ? gc->root_room * 2 : 256;
        struct blob_id *roots = reallocarray(gc->roots, room, sizeof(*roots));
        if (!roots)
            return -ENOMEM;
        gc->roots = roots;
        gc->root_room = room;
    }
    gc->roots[gc->root_count++] = *object;
    return 0;
}

static int compare_ids(const void *a, const void *b)
{
    return blob_id_compare(a, b);
}

int gc_list_roots(struct gc *gc, const struct blob_gc_roots *roots, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        int r = roots[i].list(roots[i].cookie, take_root, gc, err);
        if (r < 0)
            return r;
    }
    if (gc->root_count > 0)
        qsort(gc->roots, gc->root_count, sizeof(*gc->roots), compare_ids);
    return 0;
}

static int take_id(void *arg, const struct blob_id *id)
{
    struct gc *gc = arg;
    return id_set_add(&gc->live, id);
}

static int no_image(const char *what, struct err *err)
{
    return err_set(err, EBADMSG, "an image is damaged: %s", what);
}

/* The ids in the section of chunks; the image was checked when it was made and its bytes have their ids, so
 * the rest of it need not be looked at. An object that is no image has none. */
static int mark_image(struct gc *gc, const struct buf *image, struct err *err)
{
    const uint8_t *bytes = image->bytes;
    if (image->len_bytes < IMAGE_HEADER_BYTES || memcmp(bytes, image_magic, IMAGE_MAGIC_BYTES) != 0)
        return 0;
    if (le32_at(bytes + IMAGE_AT_VERSION) > IMAGE_VERSION)
        return err_set(err, EPROTONOSUPPORT,
                       "an image is of a newer format (%" PRIu32 "): use the newer bladefs",
                       le32_at(bytes + IMAGE_AT_VERSION));
    if (!(le32_at(bytes + IMAGE_AT_FLAGS) & IMAGE_FLAG_IDS))
        return no_image("it has no ids", err);
    uint64_t from = IMAGE_HEADER_BYTES + (uint64_t)le32_at(bytes + IMAGE_AT_INODES) * INODE_BYTES +
                    le32_at(bytes + IMAGE_AT_ENTRY_BYTES) +
                    (uint64_t)le32_at(bytes + IMAGE_AT_EXTENTS) * EXTENT_BYTES;
    uint64_t count = le32_at(bytes + IMAGE_AT_CHUNKS);
    uint32_t each = image_chunk_bytes(true);
    if (from > image->len_bytes || count * each > image->len_bytes - from)
        return no_image("it ends before its chunks", err);
    for (uint64_t i = 0; i < count; i++) {
        struct blob_id id;
        memcpy(id.bytes, bytes + from + i * each + CHUNK_AT_ID, BLOB_ID_BYTES);
        if (take_id(gc, &id) < 0)
            return err_sys(err, ENOMEM, "the chunks that must stay cannot be noted");
    }
    return 0;
}

int gc_mark(struct gc *gc, struct err *err)
{
    for (size_t i = 0; i < gc->root_count; i++) {
        int r = gc_cancelled(gc, err);
        if (r < 0)
            return r;
        if (i > 0 && blob_id_compare(&gc->roots[i - 1], &gc->roots[i]) == 0)
            continue;
        OWNED_BUF struct buf content = BUF_EMPTY;
        r = store_object_walk(gc->store, &gc->roots[i], BLOB_IMAGE_MAX_BYTES, take_id, gc, &content, err);
        if (r == 0)
            r = mark_image(gc, &content, err);
        if (r < 0) {
            gc->result.root_failed = true;
            gc->result.failed_root = gc->roots[i];
            return r;
        }
    }
    return 0;
}
