#include "pack_blocks.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include "base/container.h"

struct owned_block {
    struct pack_block block;
    struct loop_op op;
    struct pack_blocks *blocks;
    uint8_t *bytes;
    unsigned index, users;
    uint64_t used_at;
    uint32_t got_bytes;
    int fd; /* borrowed while it is read, -1: the store reads */
};

struct pack_blocks {
    struct loop *loop;
    struct blob_store *store;
    void (*ready)(void *arg);
    void *arg;
    void *region;
    unsigned reading;
    bool never_at_once;
    uint64_t uses, read_bytes;
    struct owned_block all[PACK_BLOCKS];
};

int pack_blocks_new(struct loop *loop, struct blob_store *store, void (*ready)(void *arg), void *arg,
                    struct pack_blocks **out, struct err *err)
{
    struct pack_blocks *blocks = calloc(1, sizeof(*blocks));
    size_t bytes = (size_t)PACK_BLOCKS * PACK_BLOCK_BYTES;
    void *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!blocks || region == MAP_FAILED) {
        free(blocks);
        if (region != MAP_FAILED)
            munmap(region, bytes);
        return err_set(err, ENOMEM, "no memory for the buffers of loads");
    }
    *blocks =
        (struct pack_blocks){.loop = loop, .store = store, .ready = ready, .arg = arg, .region = region};
    for (unsigned i = 0; i < PACK_BLOCKS; i++) {
        uint8_t *at = (uint8_t *)region + (size_t)i * PACK_BLOCK_BYTES;
        blocks->all[i] = (struct owned_block){
            .block = {.bytes = at, .ready = true}, .blocks = blocks, .bytes = at, .index = i};
    }
    loop_register(loop, region, PACK_BLOCKS, PACK_BLOCK_BYTES);
    *out = blocks;
    return 0;
}

bool pack_blocks_idle(const struct pack_blocks *blocks)
{
    return blocks->reading == 0;
}

void pack_blocks_free(struct pack_blocks *blocks)
{
    if (!blocks)
        return;
    munmap(blocks->region, (size_t)PACK_BLOCKS * PACK_BLOCK_BYTES);
    free(blocks);
}

static struct pack_block *use(struct pack_blocks *blocks, struct owned_block *b)
{
    b->users++;
    b->used_at = ++blocks->uses;
    return &b->block;
}

struct pack_block *pack_blocks_find(struct pack_blocks *blocks, uint64_t pack, uint32_t offset_bytes,
                                    uint32_t record_bytes)
{
    for (unsigned i = 0; i < PACK_BLOCKS; i++) {
        struct owned_block *b = &blocks->all[i];
        if (b->block.len_bytes > 0 && b->block.pack == pack && b->block.offset_bytes <= offset_bytes &&
            offset_bytes + (uint64_t)record_bytes <= b->block.offset_bytes + (uint64_t)b->block.len_bytes &&
            b->block.result == 0)
            return use(blocks, b);
    }
    return NULL;
}

/* ---- reading ---- */

/* Each record is checked once, whoever sends it how often. */
static uint32_t good_bytes(const struct owned_block *b)
{
    uint32_t at = 0;
    struct blob_record record;
    while (at < b->block.len_bytes) {
        int n = blob_record_decode(b->bytes + at, b->block.len_bytes - at, &record);
        if (n < 0)
            break;
        at += (uint32_t)n;
    }
    return at;
}

static void be_ready(struct owned_block *b, int result)
{
    if (b->fd >= 0)
        blob_store_pack_put(b->blocks->store, b->block.pack);
    b->blocks->reading--;
    b->blocks->read_bytes += b->got_bytes;
    b->block.result = result;
    b->block.good_bytes = result == 0 ? good_bytes(b) : 0;
    b->block.ready = true;
}

/* What the kernel has in its cache is copied here and now. A file system all in memory cannot be asked that
 * way (io_uring would hand the read to another thread), and never makes anybody wait. */
static ssize_t read_at_once(const struct owned_block *b)
{
    struct statfs fs;
    const struct iovec to = {.iov_base = b->bytes, .iov_len = b->block.len_bytes};
    ssize_t n = preadv2(b->fd, &to, 1, b->block.offset_bytes, RWF_NOWAIT);
    if (n < 0 && errno == EOPNOTSUPP && fstatfs(b->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC)
        n = pread(b->fd, b->bytes, b->block.len_bytes, b->block.offset_bytes);
    return n;
}

/* Packs that are no files. -ENOENT, and the block is empty: the pack is gone. */
static int read_through_store(struct owned_block *b)
{
    ssize_t n = blob_store_pack_read(b->blocks->store, b->block.pack, b->bytes, b->block.len_bytes,
                                     b->block.offset_bytes);
    b->got_bytes = n < 0 ? 0 : (uint32_t)n;
    be_ready(b, n < 0 ? (int)n : b->got_bytes < b->block.len_bytes ? -ENODATA : 0);
    if (n == -ENOENT)
        b->block.len_bytes = 0;
    return b->block.result;
}

static void submit(struct owned_block *b)
{
    loop_read_fixed(b->blocks->loop, &b->op, b->fd, b->bytes + b->got_bytes,
                    b->block.len_bytes - b->got_bytes, b->block.offset_bytes + (uint64_t)b->got_bytes,
                    b->index);
}

static void read_done(struct loop_op *op, int result)
{
    struct owned_block *b = CONTAINER_OF(op, struct owned_block, op);
    if (result > 0)
        b->got_bytes += (uint32_t)result;
    if (result == -EINTR || result == -EAGAIN || (result > 0 && b->got_bytes < b->block.len_bytes)) {
        submit(b);
        return;
    }
    be_ready(b, result < 0 ? result : b->got_bytes < b->block.len_bytes ? -ENODATA : 0);
    b->blocks->ready(b->blocks->arg);
}

static struct owned_block *oldest_unused(struct pack_blocks *blocks)
{
    struct owned_block *oldest = NULL;
    for (unsigned i = 0; i < PACK_BLOCKS; i++) {
        struct owned_block *b = &blocks->all[i];
        if (b->users == 0 && b->block.ready && (!oldest || b->used_at < oldest->used_at))
            oldest = b;
    }
    return oldest;
}

int pack_blocks_read(struct pack_blocks *blocks, uint64_t pack, uint32_t offset_bytes, uint32_t len_bytes,
                     struct pack_block **out, struct err *err)
{
    struct owned_block *b = oldest_unused(blocks);
    *out = NULL;
    if (!b)
        return 0;
    int fd = blob_store_pack_get(blocks->store, pack, err);
    if (fd < 0 && fd != -EOPNOTSUPP)
        return fd;
    b->fd = fd < 0 ? -1 : fd;
    b->got_bytes = 0;
    b->block = (struct pack_block){
        .bytes = b->bytes, .pack = pack, .offset_bytes = offset_bytes, .len_bytes = len_bytes};
    b->op.done = read_done;
    blocks->reading++;
    if (b->fd < 0) {
        int r = read_through_store(b);
        if (r == -ENOENT)
            return err_sys(err, ENOENT, "pack %llu of the store cannot be read", (unsigned long long)pack);
        *out = use(blocks, b);
        return 0;
    }
    *out = use(blocks, b);
    ssize_t n = blocks->never_at_once ? 0 : read_at_once(b);
    if (n > 0)
        b->got_bytes = (uint32_t)n;
    if (b->got_bytes == len_bytes)
        be_ready(b, 0);
    else
        submit(b);
    return 0;
}

void pack_block_put(struct pack_blocks *blocks, struct pack_block *block)
{
    struct owned_block *b = CONTAINER_OF(block, struct owned_block, block);
    (void)blocks;
    b->users--;
    if (b->users == 0 && block->ready && block->result < 0)
        block->len_bytes = 0; /* the next one tries again */
}

void pack_blocks_never_at_once(struct pack_blocks *blocks)
{
    blocks->never_at_once = true;
}

uint64_t pack_blocks_read_bytes(const struct pack_blocks *blocks)
{
    return blocks->read_bytes;
}
