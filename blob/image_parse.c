/*
 * Checking an image that anybody may have written, and indexing it. One pass over each section, in the order
 * of the bytes; memory in proportion to counts that were first compared with the bytes that are there.
 *
 * That inodes are numbered as they are met, breadth first, makes the tree's promises cheap: an entry either
 * names the next inode, which is thereby reached, once, from this directory, or one that has a name already,
 * which must not be a directory.
 */
#include <inttypes.h>
#include <string.h>

#include "image_format.h"

/* A fault in the foreign bytes. */
#define bad(err, ...) err_set(err, EBADMSG, "The image is damaged: " __VA_ARGS__)

static void *zeroed(size_t count, size_t each_bytes)
{
    return calloc(count ? count : 1, each_bytes);
}

static int no_memory(struct err *err)
{
    return err_set(err, ENOMEM, "There is not enough memory to read an image; free some and try again.");
}

/* Takes `bytes` off what is left, for the section that begins at `*at`. */
static bool take(const uint8_t **section, const uint8_t **at, size_t *left, uint64_t bytes)
{
    if (bytes > *left)
        return false;
    *section = *at;
    *at += bytes;
    *left -= (size_t)bytes;
    return true;
}

static int parse_header(struct blob_image *image, struct err *err)
{
    const uint8_t *p = image->bytes.bytes;
    size_t left = image->bytes.len_bytes;
    if (left < IMAGE_HEADER_BYTES || memcmp(p, image_magic, IMAGE_MAGIC_BYTES) != 0)
        return bad(err, "it does not begin as one.");
    uint32_t version = le32_at(p + IMAGE_AT_VERSION);
    if (version > IMAGE_VERSION)
        return err_set(err, EPROTONOSUPPORT,
                       "The image has format %" PRIu32
                       " and this program knows %u: install the newer release.",
                       version, IMAGE_VERSION);
    uint32_t flags = le32_at(p + IMAGE_AT_FLAGS);
    if (version == 0 || flags & ~IMAGE_FLAG_IDS)
        return bad(err, "its version or flags are unknown.");
    if (left > BLOB_IMAGE_MAX_BYTES || le32_at(p + IMAGE_AT_TOTAL_BYTES) != left)
        return bad(err, "its length is not what it says.");

    image->ids = flags & IMAGE_FLAG_IDS;
    image->n_inodes = le32_at(p + IMAGE_AT_INODES);
    image->n_entries = le32_at(p + IMAGE_AT_ENTRIES);
    image->n_extents = le32_at(p + IMAGE_AT_EXTENTS);
    image->n_chunks = le32_at(p + IMAGE_AT_CHUNKS);
    image->n_sets = le32_at(p + IMAGE_AT_SETS);
    image->n_xattrs = le32_at(p + IMAGE_AT_XATTRS);
    image->entry_bytes = le32_at(p + IMAGE_AT_ENTRY_BYTES);
    image->xattr_bytes = le32_at(p + IMAGE_AT_XATTR_BYTES);
    image->target_bytes = le32_at(p + IMAGE_AT_TARGET_BYTES);
    p += IMAGE_HEADER_BYTES;
    left -= IMAGE_HEADER_BYTES;
    if (!take(&image->inodes, &p, &left, (uint64_t)image->n_inodes * INODE_BYTES) ||
        !take(&image->entries, &p, &left, image->entry_bytes) ||
        !take(&image->extents, &p, &left, (uint64_t)image->n_extents * EXTENT_BYTES) ||
        !take(&image->chunks, &p, &left, (uint64_t)image->n_chunks * image_chunk_bytes(image->ids)) ||
        !take(&image->xattrs, &p, &left, image->xattr_bytes) ||
        !take(&image->targets, &p, &left, image->target_bytes) || left != 0)
        return bad(err, "its sections do not fill it.");
    /* What has no fixed length still has a least one: no count can ask for more memory than its bytes. */
    if (image->n_entries > image->entry_bytes / (ENTRY_AT_NAME + 1) ||
        image->n_xattrs > image->xattr_bytes / (XATTR_AT_NAME + 1) ||
        image->n_sets > image->xattr_bytes / sizeof(uint32_t))
        return bad(err, "it says more entries or xattrs than there is room for.");
    if (image->n_inodes == 0)
        return bad(err, "it has no root directory.");
    return 0;
}

static int allocate(struct blob_image *image, struct err *err)
{
    image->inode_index = zeroed(image->n_inodes, sizeof(*image->inode_index));
    image->entry_index = zeroed(image->n_entries, sizeof(*image->entry_index));
    image->extent_chunk = zeroed(image->n_extents, sizeof(*image->extent_chunk));
    image->set_first = zeroed((size_t)image->n_sets + 1, sizeof(*image->set_first));
    image->xattr_at = zeroed(image->n_xattrs, sizeof(*image->xattr_at));
    if (!image->inode_index || !image->entry_index || !image->extent_chunk || !image->set_first ||
        !image->xattr_at)
        return no_memory(err);
    return 0;
}

static int parse_chunks(struct blob_image *image, struct err *err)
{
    for (uint32_t i = 0; i < image->n_chunks; i++) {
        const uint8_t *p = image->chunks + (size_t)i * image_chunk_bytes(image->ids);
        uint32_t raw_bytes = le32_at(p + CHUNK_AT_RAW_BYTES);
        if (raw_bytes == 0 || raw_bytes > BLOB_CHUNK_MAX_BYTES)
            return bad(err, "chunk %" PRIu32 " has %" PRIu32 " bytes.", i, raw_bytes);
    }
    return 0;
}

/* One xattr of a set, after `previous` (NULL for the first). Returns the bytes that it takes, or -EBADMSG. */
static int64_t parse_xattr(const uint8_t *p, size_t left, const uint8_t *previous)
{
    if (left < XATTR_AT_NAME)
        return -EBADMSG;
    uint32_t name_bytes = p[XATTR_AT_NAME_BYTES];
    uint32_t value_bytes = le32_at(p + XATTR_AT_VALUE_BYTES);
    if (name_bytes == 0 || value_bytes > IMAGE_XATTR_VALUE_MAX_BYTES ||
        left - XATTR_AT_NAME < (size_t)name_bytes + value_bytes)
        return -EBADMSG;
    if (memchr(p + XATTR_AT_NAME, '\0', name_bytes))
        return -EBADMSG;
    if (previous && image_name_compare(previous + XATTR_AT_NAME, previous[XATTR_AT_NAME_BYTES],
                                       p + XATTR_AT_NAME, name_bytes) >= 0)
        return -EBADMSG;
    return XATTR_AT_NAME + (int64_t)name_bytes + value_bytes;
}

static int parse_xattrs(struct blob_image *image, struct err *err)
{
    const uint8_t *start = image->xattrs;
    size_t at = 0, end = image->xattr_bytes;
    uint32_t number = 0;
    for (uint32_t set = 0; set < image->n_sets; set++) {
        image->set_first[set] = number;
        uint32_t count = end - at < sizeof(uint32_t) ? 0 : le32_at(start + at);
        if (count == 0 || count > image->n_xattrs - number)
            return bad(err, "xattr set %" PRIu32 " is empty or too long.", set + 1);
        at += sizeof(uint32_t);
        const uint8_t *previous = NULL;
        size_t list_bytes = 0;
        for (uint32_t k = 0; k < count; k++) {
            int64_t taken = parse_xattr(start + at, end - at, previous);
            if (taken < 0)
                return bad(err, "xattr set %" PRIu32 " is malformed.", set + 1);
            previous = start + at;
            list_bytes += (size_t)previous[XATTR_AT_NAME_BYTES] + 1;
            if (list_bytes > IMAGE_XATTR_LIST_MAX_BYTES)
                return bad(err, "xattr set %" PRIu32 " has more names than a file can have.", set + 1);
            image->xattr_at[number++] = (uint32_t)at;
            at += (size_t)taken;
        }
    }
    image->set_first[image->n_sets] = number;
    if (at != end || number != image->n_xattrs)
        return bad(err, "its xattrs do not fill their place.");
    return 0;
}

static bool name_is_good(const uint8_t *name, size_t len_bytes)
{
    if (len_bytes == 0 || memchr(name, '/', len_bytes) || memchr(name, '\0', len_bytes))
        return false;
    return !(name[0] == '.' && (len_bytes == 1 || (len_bytes == 2 && name[1] == '.')));
}

static uint32_t mode_of(const struct blob_image *image, uint32_t inode)
{
    return le32_at(image->inodes + (size_t)inode * INODE_BYTES + INODE_AT_MODE);
}

/* How far the counting up has come. */
struct progress {
    uint32_t inodes; /* reached */
    uint32_t entries, extents, chunks, sets;
    uint32_t entries_at, targets_at;
};

/* Which inode an entry of `dir` names; it counts the name. BLOB_NO_INODE: none that it may. */
static uint32_t link_entry(struct blob_image *image, struct progress *done, uint32_t dir, uint32_t back)
{
    if (back == 0) {
        if (done->inodes == image->n_inodes)
            return BLOB_NO_INODE;
        uint32_t inode = done->inodes++;
        image->inode_index[inode].parent = dir;
        if (S_ISDIR(mode_of(image, inode))) {
            image->inode_index[inode].nlink = 2;
            image->inode_index[dir].nlink++;
        } else {
            image->inode_index[inode].nlink = 1;
        }
        return inode;
    }
    if (back >= done->inodes)
        return BLOB_NO_INODE; /* the root, or nothing */
    uint32_t inode = done->inodes - back;
    if (S_ISDIR(mode_of(image, inode)))
        return BLOB_NO_INODE;
    image->inode_index[inode].nlink++;
    return inode;
}

static int parse_directory(struct blob_image *image, struct progress *done, uint32_t dir, uint32_t count,
                           struct err *err)
{
    if (count > image->n_entries - done->entries)
        return bad(err, "directory %" PRIu32 " has too many entries.", dir);
    image->inode_index[dir].first = done->entries;
    const uint8_t *previous = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *p = image->entries + done->entries_at;
        size_t left = image->entry_bytes - done->entries_at;
        if (left < ENTRY_AT_NAME || left - ENTRY_AT_NAME < p[ENTRY_AT_NAME_BYTES])
            return bad(err, "directory %" PRIu32 " is cut off.", dir);
        uint32_t name_bytes = p[ENTRY_AT_NAME_BYTES];
        if (!name_is_good(p + ENTRY_AT_NAME, name_bytes))
            return bad(err, "directory %" PRIu32 " has a name that no file can have.", dir);
        if (previous && image_name_compare(previous + ENTRY_AT_NAME, previous[ENTRY_AT_NAME_BYTES],
                                           p + ENTRY_AT_NAME, name_bytes) >= 0)
            return bad(err, "directory %" PRIu32 " is not sorted.", dir);
        uint32_t inode = link_entry(image, done, dir, le32_at(p + ENTRY_AT_BACK));
        if (inode == BLOB_NO_INODE)
            return bad(err, "an entry of directory %" PRIu32 " names no inode that it may.", dir);
        image->entry_index[done->entries].at = done->entries_at;
        image->entry_index[done->entries].inode = inode;
        done->entries++;
        done->entries_at += ENTRY_AT_NAME + name_bytes;
        previous = p;
    }
    return 0;
}

static int parse_file(struct blob_image *image, struct progress *done, uint32_t inode, uint64_t size_bytes,
                      uint32_t count, struct err *err)
{
    if (count > image->n_extents - done->extents)
        return bad(err, "file %" PRIu32 " has too many extents.", inode);
    if (size_bytes > INT64_MAX)
        return bad(err, "file %" PRIu32 " is larger than files can be.", inode);
    image->inode_index[inode].first = done->extents;
    uint64_t end = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *p = image->extents + (size_t)done->extents * EXTENT_BYTES;
        uint64_t offset = le64_at(p + EXTENT_AT_OFFSET);
        uint32_t back = le32_at(p + EXTENT_AT_BACK);
        if (back > done->chunks || (back == 0 && done->chunks == image->n_chunks))
            return bad(err, "an extent of file %" PRIu32 " names no chunk.", inode);
        uint32_t chunk = back ? done->chunks - back : done->chunks++;
        uint32_t raw_bytes =
            le32_at(image->chunks + (size_t)chunk * image_chunk_bytes(image->ids) + CHUNK_AT_RAW_BYTES);
        if (offset < end || offset > size_bytes || size_bytes - offset < raw_bytes)
            return bad(err, "an extent of file %" PRIu32 " lies outside it or over another.", inode);
        end = offset + raw_bytes;
        image->extent_chunk[done->extents++] = chunk;
        image->content_bytes += raw_bytes;
    }
    return 0;
}

static int parse_target(struct blob_image *image, struct progress *done, uint32_t inode, uint64_t size_bytes,
                        struct err *err)
{
    if (size_bytes == 0 || size_bytes > IMAGE_TARGET_MAX_BYTES ||
        size_bytes > image->target_bytes - done->targets_at ||
        memchr(image->targets + done->targets_at, '\0', (size_t)size_bytes))
        return bad(err, "symlink %" PRIu32 " has no target that it can have.", inode);
    image->inode_index[inode].first = done->targets_at;
    done->targets_at += (uint32_t)size_bytes;
    return 0;
}

static int parse_inode(struct blob_image *image, struct progress *done, uint32_t inode, struct err *err)
{
    const uint8_t *p = image->inodes + (size_t)inode * INODE_BYTES;
    uint32_t mode = le32_at(p + INODE_AT_MODE);
    uint64_t size = le64_at(p + INODE_AT_SIZE);
    uint32_t count = le32_at(p + INODE_AT_COUNT);
    uint32_t set = le32_at(p + INODE_AT_SET);

    if (mode & ~(uint32_t)(S_IFMT | 07777))
        return bad(err, "inode %" PRIu32 " has an impossible mode.", inode);
    /* To chown, all ones mean "as it is". */
    if (le32_at(p + INODE_AT_UID) == UINT32_MAX || le32_at(p + INODE_AT_GID) == UINT32_MAX)
        return bad(err, "inode %" PRIu32 " has an impossible owner.", inode);
    if (le32_at(p + INODE_AT_MTIME_NS) >= 1000000000)
        return bad(err, "inode %" PRIu32 " has an impossible time.", inode);
    if (set > done->sets + 1 || set > image->n_sets)
        return bad(err, "inode %" PRIu32 " has an xattr set that is not there.", inode);
    if (set > done->sets)
        done->sets = set;

    if (S_ISDIR(mode) && size == 0)
        return parse_directory(image, done, inode, count, err);
    if (S_ISREG(mode))
        return parse_file(image, done, inode, size, count, err);
    if (S_ISLNK(mode) && count == 0)
        return parse_target(image, done, inode, size, err);
    if (image_is_device(mode) && count == 0)
        return 0;
    if ((S_ISFIFO(mode) || S_ISSOCK(mode)) && count == 0 && size == 0)
        return 0;
    return bad(err, "inode %" PRIu32 " is of no known type, or has what its type cannot have.", inode);
}

static int parse_tree(struct blob_image *image, struct err *err)
{
    if (!S_ISDIR(mode_of(image, 0)))
        return bad(err, "its root is not a directory.");
    image->inode_index[0].nlink = 2;
    struct progress done = {.inodes = 1};
    for (uint32_t inode = 0; inode < image->n_inodes; inode++) {
        if (inode == done.inodes)
            return bad(err, "inode %" PRIu32 " has no name.", inode);
        int r = parse_inode(image, &done, inode, err);
        if (r < 0)
            return r;
    }
    if (done.entries != image->n_entries || done.entries_at != image->entry_bytes ||
        done.extents != image->n_extents || done.chunks != image->n_chunks || done.sets != image->n_sets ||
        done.targets_at != image->target_bytes)
        return bad(err, "it has entries, extents, chunks, xattrs or targets that nothing uses.");
    return 0;
}

int blob_image_parse(struct buf *bytes, struct blob_image **out, struct err *err)
{
    struct blob_image *image = calloc(1, sizeof(*image));
    if (!image) {
        buf_free(bytes);
        return no_memory(err);
    }
    image->bytes = *bytes;
    *bytes = BUF_EMPTY;

    int r = parse_header(image, err);
    if (r == 0)
        r = allocate(image, err);
    if (r == 0)
        r = parse_chunks(image, err);
    if (r == 0)
        r = parse_xattrs(image, err);
    if (r == 0)
        r = parse_tree(image, err);
    if (r < 0) {
        blob_image_free(image);
        return r;
    }
    *out = image;
    return 0;
}
