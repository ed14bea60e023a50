/* The interface of packs: a store over packs that are no files, and what the directory's kind promises. */
#include "gc_parts.h"
#include "memory_packs.h"
#include "pack_dir.h"
#include "store_fixture.h"
#include "store_parts.h"

#define LEN (64u << 10)
#define COUNT 700u /* chunks: three packs */

static const struct blob_gc_options all = {0};

static void open_over(struct fixture *f, struct memory_packs *m)
{
    struct err err = {0};
    struct pack_io io = memory_packs_io(m);
    if (store_open_over(f->dirfd, 1, &io, &f->store, &err) != 0)
        fail_msg("open: %s", err.message);
}

static void check(struct fixture *f, const struct blob_id *ids)
{
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(get_seed(f->store, i, LEN, &ids[i]), 0);
}

struct roots {
    const struct blob_id *ids;
    size_t count;
};

static int list(void *cookie, blob_gc_root root, void *arg, struct err *err)
{
    const struct roots *roots = cookie;
    for (size_t i = 0; i < roots->count; i++)
        if (root(arg, &roots->ids[i]) < 0)
            return err_set(err, ENOMEM, "no memory");
    return 0;
}

/* Between marking and copying one spot of a pack cannot be read any more. */
static int make_unreadable(void *arg, enum gc_step step)
{
    struct memory_packs *m = arg;
    if (step != GC_MARKED)
        return 0;
    HOLD_LOCK(&m->lock);
    m->spots[0].to = m->spots[0].from + 1;
    return 0;
}

static void a_store_over_packs_in_memory(void **state)
{
    struct fixture *f = *state;
    static struct memory_packs m;
    static struct blob_id ids[COUNT];
    fixture_close(f);
    memory_packs_init(&m);
    open_over(f, &m);
    for (unsigned i = 0; i < COUNT; i++)
        assert_true(put_seed(f->store, i, LEN, &ids[i]) > 0);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_int_equal(m.puts, 2); /* the full ones, whole */
    assert_int_equal(m.count, 3);
    check(f, ids);

    /* Who reads packs reads ranges. */
    struct blob_place place;
    assert_int_equal(blob_store_locate(f->store, &ids[3], &place), 0);
    assert_int_equal(blob_store_pack_get(f->store, place.pack, NULL), -EOPNOTSUPP);
    OWNED uint8_t *record = malloc(place.record_bytes);
    struct blob_record view;
    assert_int_equal(
        blob_store_pack_read(f->store, place.pack, record, place.record_bytes, place.offset_bytes),
        place.record_bytes);
    assert_int_equal(blob_record_decode(record, place.record_bytes, &view), (int)place.record_bytes);
    assert_int_equal(blob_store_pack_read(f->store, 77, record, 1, 0), -ENOENT);

    fixture_close(f);
    open_over(f, &m);
    assert_int_equal(stats_of(f).chunks, COUNT);
    check(f, ids);

    /* Of all only an object stays. */
    OWNED_BUF struct buf text = BUF_EMPTY;
    struct blob_id object;
    for (unsigned i = 0; i < 100; i++)
        buf_put(&text, &ids[i], sizeof(ids[i]));
    assert_int_equal(blob_object_save(f->store, NULL, text.bytes, text.len_bytes, &object, NULL), 0);
    struct roots roots = {.ids = &object, .count = 1};
    const struct blob_gc_roots known = {.list = list, .cookie = &roots};
    struct blob_gc_result result;
    assert_int_equal(blob_store_gc(f->store, &known, 1, &all, &result, NULL), 0);
    assert_int_equal(result.removed_chunks, COUNT);
    assert_int_equal(m.count, 1); /* what stays, in one that grows */
    OWNED_BUF struct buf again = BUF_EMPTY;
    assert_int_equal(blob_object_load(f->store, &object, text.len_bytes, &again, NULL), 0);
    assert_memory_equal(again.bytes, text.bytes, text.len_bytes);
    fixture_close(f);
    open_over(f, &m);
    again.len_bytes = 0;
    assert_int_equal(blob_object_load(f->store, &object, text.len_bytes, &again, NULL), 0);
    assert_memory_equal(again.bytes, text.bytes, text.len_bytes);
    assert_int_equal(get_seed(f->store, 5, LEN, &ids[5]), -ENOENT);

    /* A full one, and room again. */
    m.full = true;
    int r = 0;
    for (unsigned i = 0; i < COUNT && r >= 0; i++)
        r = put_seed(f->store, 10000 + i, LEN, &ids[i]);
    assert_int_equal(r, -ENOSPC);
    m.full = false;
    for (unsigned i = 0; i < COUNT; i++)
        assert_true(put_seed(f->store, 10000 + i, LEN, &ids[i]) >= 0);
    fixture_close(f);
    open_over(f, &m);
    for (unsigned i = 0; i < COUNT; i += 7)
        assert_int_equal(get_seed(f->store, 10000 + i, LEN, &ids[i]), 0);
    fixture_close(f);
    memory_packs_free(&m);
}

/* The disk gives an error for a record that is used: its pack stays until it can be read. */
static void a_pack_that_cannot_be_read_stays(void **state)
{
    struct fixture *f = *state;
    static struct memory_packs m;
    static struct blob_id ids[COUNT];
    struct blob_id object;
    struct blob_place place;
    struct blob_gc_result result;
    fixture_close(f);
    memory_packs_init(&m);
    open_over(f, &m);
    for (unsigned i = 0; i < COUNT; i++)
        assert_true(put_seed(f->store, i, LEN, &ids[i]) > 0);
    OWNED uint8_t *text = content_of(99999, 1 << 20);
    assert_int_equal(blob_object_save(f->store, NULL, text, 1 << 20, &object, NULL), 0);
    assert_int_equal(blob_store_locate(f->store, &object, &place), 0);
    for (unsigned i = 0; i < COUNT; i++) /* and that pack is full */
        assert_true(put_seed(f->store, 5000 + i, LEN, &ids[i]) > 0);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    unsigned before = m.count;
    struct roots roots = {.ids = &object, .count = 1};
    const struct blob_gc_roots known = {.list = list, .cookie = &roots};
    const struct gc_hook hook = {.at = make_unreadable, .arg = &m};
    m.spots[0].pack = (uint32_t)place.pack;
    m.spots[0].from = place.offset_bytes + 50;
    assert_int_equal(store_gc(f->store, &known, 1, &all, &hook, &result, NULL), 0);
    assert_true(m.count < before);
    assert_int_equal(m.packs[0].number, place.pack); /* all before it went */
    m.spots[0].to = 0;
    OWNED_BUF struct buf again = BUF_EMPTY;
    assert_int_equal(blob_object_load(f->store, &object, 1 << 20, &again, NULL), 0);
    assert_memory_equal(again.bytes, text, 1 << 20);
    assert_int_equal(blob_store_gc(f->store, &known, 1, &all, &result, NULL), 0);
    assert_true(m.packs[0].number > place.pack);
    again.len_bytes = 0;
    assert_int_equal(blob_object_load(f->store, &object, 1 << 20, &again, NULL), 0);
    assert_memory_equal(again.bytes, text, 1 << 20);
    fixture_close(f);
    memory_packs_free(&m);
}

static void a_directory_of_packs(void **state)
{
    const struct fixture *f = *state;
    struct pack_io io;
    struct pack_grower *grower = NULL;
    uint8_t bytes[8];
    OWNED_FD fd = pack_dir_open(f->dirfd, NULL);
    assert_true(fd >= 0);
    assert_int_equal(pack_dir_new(fd, &io, NULL), 0);
    const struct pack_ops *ops = io.ops;
    assert_int_equal(ops->put(io.packs, 7, "sealed", 6), 0);
    assert_int_equal(ops->put(io.packs, 7, "other", 5), -EEXIST);
    assert_int_equal(ops->grow(io.packs, 7, true, &grower), -EEXIST);
    assert_int_equal(ops->grow(io.packs, 9, false, &grower), -ENOENT);
    assert_int_equal(ops->grow(io.packs, 9, true, &grower), 0);
    assert_int_equal(ops->write(grower, "records", 7, 0), 0);
    assert_int_equal(ops->cut(grower, 3), 0);
    assert_int_equal(ops->sync_records(grower), 0);
    assert_int_equal(pack_io_seal(&io, 9, grower, "foot", 4, 3), 0);
    ops->close_grower(grower);
    assert_int_equal(ops->size(io.packs, 9), 7);
    assert_int_equal(ops->size(io.packs, 8), -ENOENT);
    assert_int_equal(ops->read(io.packs, 9, bytes, 8, 2), 5);
    assert_memory_equal(bytes, "cfoot", 5);
    assert_int_equal(ops->read(io.packs, 8, bytes, 8, 0), -ENOENT);

    uint32_t *numbers = NULL;
    size_t count = 0;
    assert_int_equal(ops->list(io.packs, &numbers, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_true(numbers[0] == 7 && numbers[1] == 9);
    free(numbers);

    /* Who has it open reads on when it is removed. */
    OWNED_READER reader = PACK_READER_NONE;
    assert_int_equal(pack_reader_open(&io, 9, &reader), 0);
    assert_int_equal(ops->remove(io.packs, 9), 0);
    assert_int_equal(ops->remove(io.packs, 9), -ENOENT);
    assert_int_equal(ops->sync(io.packs), 0);
    assert_int_equal(pack_reader_size(&reader), 7);
    assert_int_equal(pack_reader_read(&reader, bytes, 8, 0), 7);
    assert_int_equal(ops->remove(io.packs, 7), 0);
    pack_io_close(&io);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_store_over_packs_in_memory, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_pack_that_cannot_be_read_stays, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_directory_of_packs, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
