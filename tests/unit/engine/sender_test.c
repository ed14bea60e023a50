/* The sender with a real store and connections that the test opens and closes: what goes out, in which order,
 * and never more than was allowed. */
#include "scratch.h"

#include "base/container.h"
#include "base/loop.h"
#include "sender_parts.h"

#define CHUNKS 60u
#define CHUNK_BYTES 100000u

static bool through_ring; /* and never at once from the kernel's cache */

struct fixture {
    const struct scratch *scratch;
    struct loop *loop;
    struct blob_store *store;
    struct sender_pool *pool;
    struct plan plan;
    struct shared_image target;
    struct descriptor descriptor;
    struct loop_op guard;
    int64_t guard_ms;
};

/* A connection: it takes everything, and says how much waits. */
struct wire_end {
    struct fixture *f;
    struct sender *sender;
    size_t pending_bytes;
    uint64_t credit; /* given */
    uint64_t got_bytes;
    uint32_t chunks[2 * CHUNKS];
    uint32_t count, wanted;
    unsigned descriptors, seeds;
    struct err err;
    bool drains; /* at once */
    bool broken; /* refuses everything */
    bool failed;
};

static size_t pending(void *arg)
{
    return ((struct wire_end *)arg)->pending_bytes;
}

static int take(void *arg, const struct wire_message *m)
{
    struct wire_end *end = arg;
    static uint8_t raw[BLOB_CHUNK_MAX_BYTES];
    if (end->broken)
        return -EPIPE;
    if (m->type == WIRE_DESCRIPTOR) {
        end->descriptors++;
        assert_int_equal(end->seeds, 0);
    } else if (m->type == WIRE_SEEDS) {
        end->seeds++;
        assert_true(m->seeds.last);
    } else {
        struct blob_chunk c;
        assert_int_equal(m->type, WIRE_CHUNK);
        assert_true(end->seeds > 0);
        blob_image_chunk(end->f->target.image, m->chunk.chunk, &c);
        assert_int_equal(blob_expand((enum blob_codec)m->chunk.codec, m->chunk.payload.at,
                                     m->chunk.payload.len_bytes, raw, c.raw_bytes),
                         0);
        assert_int_equal(blob_check_of(raw, c.raw_bytes), c.check);
        end->got_bytes += m->chunk.payload.len_bytes;
        assert_true(end->got_bytes <= end->credit);
        end->chunks[end->count++] = m->chunk.chunk;
        if (end->count == end->wanted)
            loop_stop(end->f->loop);
        if (!end->drains)
            end->pending_bytes += m->chunk.payload.len_bytes;
        assert_true(end->pending_bytes <= SENDER_ROOM_BYTES + BLOB_CHUNK_MAX_BYTES);
    }
    return 0;
}

static void failed(void *arg, const struct err *err)
{
    struct wire_end *end = arg;
    end->failed = true;
    end->err = *err;
    sender_stop(STEAL(end->sender));
    loop_stop(end->f->loop);
}

static void guard_done(struct loop_op *op, int result)
{
    struct fixture *f = CONTAINER_OF(op, struct fixture, guard);
    if (result == -ETIME)
        loop_stop(f->loop);
    else if (f->guard_ms)
        loop_timer(f->loop, &f->guard, f->guard_ms);
}

/* Runs until a connection has what it wanted, or for `ms`. */
static void run(struct fixture *f, int64_t ms)
{
    f->guard_ms = ms;
    f->guard.done = guard_done;
    if (f->guard.busy)
        loop_cancel(f->loop, &f->guard); /* of the run before: see guard_done */
    else
        loop_timer(f->loop, &f->guard, ms);
    assert_int_equal(loop_run(f->loop), 0);
}

static void make_image(struct fixture *f)
{
    struct blob_image_builder *b;
    struct blob_compressor *z;
    struct err err = {0};
    struct buf bytes = BUF_EMPTY;
    static uint8_t raw[CHUNK_BYTES];
    assert_int_equal(blob_image_builder_new(&b), 0);
    assert_int_equal(blob_compressor_new(1, &z), 0);
    struct blob_inode root = {.mode = S_IFDIR | 0755, .nlink = 2};
    struct blob_inode file = {.mode = S_IFREG | 0644, .size_bytes = (uint64_t)CHUNKS * CHUNK_BYTES};
    assert_true(blob_image_add_inode(b, &root) == 0 && blob_image_add_inode(b, &file) == 1);
    assert_int_equal(blob_image_add_entry(b, 0, "program", 7, 1), 0);
    uint64_t x = 1;
    for (uint32_t i = 0; i < CHUNKS; i++) {
        for (size_t k = 0; k < sizeof raw; k++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            raw[k] = (uint8_t)(x >> 56);
        }
        struct blob_chunk c = {.raw_bytes = CHUNK_BYTES, .check = blob_check_of(raw, sizeof raw)};
        assert_true(blob_store_put(f->store, z, raw, sizeof raw, &c.id, &err) > 0);
        assert_int_equal(blob_image_add_extent(b, 1, (uint64_t)i * CHUNK_BYTES, &c), 0);
    }
    if (blob_image_build(b, &bytes, &err) < 0 || blob_image_parse(&bytes, &f->target.image, &err) < 0)
        fail_msg("%s", err.message);
    blob_image_builder_free(b);
    blob_compressor_free(z);
    assert_int_equal(blob_store_sync(f->store, &err), 0);
}

static void begin(void **state, struct fixture *f)
{
    struct err err = {0};
    memset(f, 0, sizeof *f);
    f->scratch = *state;
    if (blob_store_open(f->scratch->fd, 1, &f->store, &err) < 0 || loop_new(64, &f->loop, &err) < 0 ||
        sender_pool_new(f->loop, f->store, &f->pool, &err) < 0)
        fail_msg("%s", err.message);
    if (through_ring)
        pack_blocks_never_at_once(f->pool->blocks);
    make_image(f);
    buf_put(&f->descriptor.frame, "frame", 5);
    f->plan.target = &f->target;
    f->plan.descriptor = &f->descriptor;
}

static void end_all(struct fixture *f)
{
    f->guard_ms = 0;
    loop_free(f->loop);
    assert_true(sender_pool_idle(f->pool));
    sender_pool_free(f->pool);
    blob_store_close(f->store);
    blob_image_free(f->target.image);
    buf_free(&f->descriptor.frame);
}

static void open_end(struct fixture *f, struct wire_end *end, bool drains)
{
    *end = (struct wire_end){.f = f, .drains = drains};
    const struct sender_events events = {.pending = pending, .send = take, .failed = failed, .arg = end};
    assert_int_equal(sender_new(f->pool, 1, &f->plan, &events, &end->sender), 0);
    sender_begin(end->sender);
    assert_int_equal(end->descriptors, 1);
    assert_int_equal(end->seeds, 1);
}

static int want(struct wire_end *end, uint32_t first, uint32_t count)
{
    struct err err = {0};
    OWNED_BUF struct buf ranges = BUF_EMPTY;
    wire_put_range(&ranges, &(struct wire_range){.first = first, .count = count});
    const struct wire_want m = {.load = 1, .last = true, .ranges = {.at = ranges.bytes, .count = 1}};
    return sender_want(end->sender, &m, &err);
}

static void credit(struct wire_end *end, uint64_t bytes)
{
    struct err err = {0};
    end->credit += bytes;
    assert_int_equal(sender_credit(end->sender, bytes, &err), 0);
}

static void sends_in_order_within_credit(void **state)
{
    struct fixture f;
    struct wire_end end;
    begin(state, &f);
    open_end(&f, &end, true);
    assert_int_equal(want(&end, 20, 20), 0);
    assert_int_equal(want(&end, 0, 10), 0);
    run(&f, 50);
    assert_int_equal(end.count, 0); /* no credit, no byte */
    end.wanted = 3;
    credit(&end, 3 * CHUNK_BYTES + 500);
    run(&f, 5000);
    run(&f, 50);
    assert_int_equal(end.count, 3);
    end.wanted = 30;
    credit(&end, 100 * CHUNK_BYTES);
    run(&f, 5000);
    assert_int_equal(end.count, 30);
    for (uint32_t i = 0; i < 30; i++)
        assert_int_equal(end.chunks[i], i < 20 ? 20 + i : i - 20);
    assert_int_equal(sender_sent_bytes(end.sender), end.got_bytes);

    struct err err = {0};
    assert_int_equal(want(&end, CHUNKS, 1), -EBADMSG);
    assert_int_equal(want(&end, 0, CHUNKS + 1), -EBADMSG);
    assert_int_equal(want(&end, 5, UINT32_MAX), -EBADMSG);
    assert_int_equal(want(&end, 5, 0), -EBADMSG);
    assert_int_equal(sender_credit(end.sender, UINT64_MAX, &err), -EBADMSG);
    sender_stop(end.sender);
    end_all(&f);
}

static bool all_full(const struct wire_end *ends, int count)
{
    for (int i = 0; i < count; i++) {
        if (ends[i].pending_bytes < SENDER_ROOM_BYTES - CHUNK_BYTES)
            return false;
    }
    return true;
}

static void slow_one_holds_up_nobody(void **state)
{
    struct fixture f;
    struct wire_end slow[30], quick;
    begin(state, &f);
    for (int i = 0; i < 30; i++) { /* more than there are buffers */
        open_end(&f, &slow[i], false);
        credit(&slow[i], UINT64_C(1) << 30);
        assert_int_equal(want(&slow[i], 0, CHUNKS), 0);
    }
    for (int i = 0; i < 200 && !all_full(slow, 30); i++)
        run(&f, 50);
    assert_true(all_full(slow, 30));
    for (int i = 0; i < 30; i++) /* filled its connection, and no more: see take */
        assert_true(slow[i].count > 0 && slow[i].count < CHUNKS);
    open_end(&f, &quick, true);
    credit(&quick, UINT64_C(1) << 30);
    quick.wanted = CHUNKS;
    assert_int_equal(want(&quick, 0, CHUNKS), 0);
    run(&f, 5000);
    assert_int_equal(quick.count, CHUNKS);

    /* it drains: it goes on */
    uint32_t before = slow[0].count;
    slow[0].drains = true;
    slow[0].pending_bytes = 0;
    slow[0].wanted = CHUNKS;
    sender_pool_pump(f.pool);
    run(&f, 5000);
    assert_true(slow[0].count > before);
    assert_int_equal(slow[0].count, CHUNKS);
    for (int i = 0; i < 30; i++)
        sender_stop(slow[i].sender);
    sender_stop(quick.sender);
    end_all(&f);
}

static void stops_in_the_middle(void **state)
{
    struct fixture f;
    struct wire_end end, broken;
    begin(state, &f);
    open_end(&f, &end, true);
    credit(&end, UINT64_C(1) << 30);
    assert_int_equal(want(&end, 0, CHUNKS), 0);
    sender_stop(end.sender); /* its reads are under way */
    open_end(&f, &broken, true);
    credit(&broken, UINT64_C(1) << 30);
    broken.broken = !through_ring;
    assert_int_equal(want(&broken, 0, CHUNKS), 0);
    broken.broken = true;
    run(&f, 100);
    assert_int_equal(broken.count, 0);
    assert_false(broken.failed); /* a closed connection is somebody else's news */
    sender_stop(broken.sender);
    end_all(&f);
}

/* Who sends the same at the same time shares what is read; and so does, for a while, who comes after. */
static void reads_are_shared(void **state)
{
    struct fixture f;
    struct wire_end ends[5];
    begin(state, &f);
    for (int i = 0; i < 4; i++) {
        open_end(&f, &ends[i], true);
        assert_int_equal(want(&ends[i], 0, CHUNKS), 0);
    }
    for (int step = 0; step < 12; step++) {
        for (int i = 0; i < 4; i++) {
            ends[i].wanted = ends[i].count + CHUNKS / 12;
            credit(&ends[i], (CHUNKS / 12) * (uint64_t)CHUNK_BYTES);
        }
        run(&f, 30);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(ends[i].count, CHUNKS);
    uint64_t bytes = pack_blocks_read_bytes(f.pool->blocks);
    assert_true(bytes >= (uint64_t)CHUNKS * CHUNK_BYTES);
    assert_true(bytes <= (uint64_t)CHUNKS * (CHUNK_BYTES + BLOB_RECORD_HEADER_BYTES));
    open_end(&f, &ends[4], true);
    credit(&ends[4], UINT64_C(1) << 30);
    ends[4].wanted = CHUNKS;
    assert_int_equal(want(&ends[4], 0, CHUNKS), 0);
    run(&f, 5000);
    assert_int_equal(ends[4].count, CHUNKS);
    assert_int_equal(pack_blocks_read_bytes(f.pool->blocks), bytes);
    for (int i = 0; i < 5; i++)
        sender_stop(ends[i].sender);
    end_all(&f);
}

/* Flips a byte of chunk 30 in its pack. */
static void damage(struct fixture *f)
{
    struct blob_chunk c;
    struct blob_place place;
    struct err err = {0};
    char link[64], path[512] = "";
    blob_image_chunk(f->target.image, 30, &c);
    assert_int_equal(blob_store_locate(f->store, &c.id, &place), 0);
    int pack = blob_store_pack_get(f->store, place.pack, &err);
    assert_true(pack >= 0);
    snprintf(link, sizeof link, "/proc/self/fd/%d", pack);
    assert_true(readlink(link, path, sizeof path - 1) > 0);
    blob_store_pack_put(f->store, place.pack);
    OWNED_FD fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;
    assert_int_equal(fd_read_at(fd, &byte, 1, place.offset_bytes + 1000), 1);
    byte ^= 1;
    assert_int_equal(fd_write_at(fd, &byte, 1, place.offset_bytes + 1000), 0);
}

static void damaged_chunk_is_named(void **state)
{
    struct fixture f;
    struct wire_end end;
    begin(state, &f);
    damage(&f);
    open_end(&f, &end, true);
    credit(&end, UINT64_C(1) << 30);
    assert_int_equal(want(&end, 0, CHUNKS), 0);
    run(&f, 5000);
    assert_true(end.failed);
    assert_int_equal(end.err.code, EIO);
    assert_non_null(strstr(end.err.message, "/program"));
    assert_int_equal(end.count, 30); /* what lies before it is good */
    struct blob_store_stats stats;
    blob_store_stats(f.store, &stats);
    assert_int_equal(stats.bad_chunks, 1);
    /* asked for again it is not there, and said so */
    struct wire_end again;
    open_end(&f, &again, true);
    credit(&again, UINT64_C(1) << 30);
    assert_int_equal(want(&again, 30, 1), 0);
    assert_true(again.failed);
    end_all(&f);
}

/* ---- with collections beside it ---- */

struct collecting {
    struct blob_store *store;
    struct blob_id root;
    bool stop;
    unsigned rounds;
    uint64_t moved_bytes;
    int result;
};

static int list_root(void *cookie, blob_gc_root root, void *arg, struct err *err)
{
    const struct collecting *c = cookie;
    return root(arg, &c->root) < 0 ? err_set(err, ENOMEM, "no memory") : 0;
}

static void *collect(void *arg)
{
    struct collecting *c = arg;
    const struct blob_gc_options options = {.least_bytes = 0};
    const struct blob_gc_roots roots = {.list = list_root, .cookie = c};
    OWNED uint8_t *raw = calloc(1, CHUNK_BYTES);
    uint32_t seed = 0;
    while (raw && c->result == 0 && !__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
        struct blob_gc_result result;
        struct blob_id id;
        for (unsigned i = 0; i < CHUNKS / 2 && c->result >= 0; i++) {
            for (size_t k = 0; k + 4 <= CHUNK_BYTES; k += 4)
                le32_to(raw + k, (seed = seed * 1664525u + 1013904223u));
            c->result = blob_store_put(c->store, NULL, raw, CHUNK_BYTES, &id, NULL);
        }
        if (c->result >= 0)
            c->result = blob_store_gc(c->store, &roots, 1, &options, &result, NULL);
        c->moved_bytes += c->result == 0 ? result.moved_bytes : 0;
        __atomic_add_fetch(&c->rounds, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void chunks_move_while_they_are_sent(void **state)
{
    struct fixture f;
    begin(state, &f);
    const uint8_t *bytes;
    size_t len_bytes = blob_image_bytes(f.target.image, &bytes);
    struct collecting c = {.store = f.store};
    assert_int_equal(blob_object_save(f.store, NULL, bytes, len_bytes, &c.root, NULL), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, collect, &c), 0);
    static struct wire_end end;
    for (unsigned round = 0; round < 30 || __atomic_load_n(&c.rounds, __ATOMIC_RELAXED) < 5; round++) {
        open_end(&f, &end, true);
        assert_int_equal(want(&end, 0, CHUNKS), 0);
        end.wanted = CHUNKS;
        credit(&end, UINT64_C(1) << 30);
        run(&f, 5000);
        if (end.failed)
            fail_msg("%s", end.err.message);
        assert_int_equal(end.count, CHUNKS);
        sender_stop(STEAL(end.sender));
    }
    __atomic_store_n(&c.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    assert_int_equal(c.result, 0);
    assert_true(c.moved_bytes > 0);
    end_all(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sends_in_order_within_credit, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(slow_one_holds_up_nobody, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(stops_in_the_middle, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(reads_are_shared, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(damaged_chunk_is_named, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(chunks_move_while_they_are_sent, scratch_make, scratch_remove),
    };
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    through_ring = true;
    return cmocka_run_group_tests(tests, NULL, NULL) || bad;
}
