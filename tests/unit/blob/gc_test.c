/* Collections: what stays, what goes, and that nothing is lost wherever one is stopped. */
#include "blob/gc.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "blob/image.h"
#include "gc_parts.h"
#include "store_fixture.h"

#define LEN (64u << 10)
#define KEPT 300u /* chunks of the image that stays: more than a pack */
#define GONE 300u

static const struct blob_gc_options all = {0};

struct roots {
    struct blob_id ids[4];
    size_t count;
};

static int list_roots(void *cookie, blob_gc_root root, void *arg, struct err *err)
{
    const struct roots *roots = cookie;
    for (size_t i = 0; i < roots->count; i++)
        if (root(arg, &roots->ids[i]) < 0)
            return err_sys(err, ENOMEM, "no memory");
    return 0;
}

static int collect(struct fixture *f, struct roots *roots, const struct gc_hook *hook,
                   struct blob_gc_result *result, struct err *err)
{
    const struct blob_gc_roots list = {.list = list_roots, .cookie = roots};
    return store_gc(f->store, &list, 1, &all, hook, result, err);
}

static void must_collect(struct fixture *f, struct roots *roots, struct blob_gc_result *result)
{
    struct err err = {0};
    if (collect(f, roots, NULL, result, &err) != 0)
        fail_msg("gc: %s", err.message);
}

/* Stores an image of one file whose chunks are the contents of these seeds. */
static struct blob_id put_image(struct fixture *f, const uint64_t *seeds, unsigned count)
{
    struct blob_image_builder *b = NULL;
    assert_int_equal(blob_image_builder_new(&b), 0);
    const struct blob_inode root = {.mode = S_IFDIR | 0755};
    const struct blob_inode file = {.mode = S_IFREG | 0644, .size_bytes = (uint64_t)count * LEN};
    assert_int_equal(blob_image_add_inode(b, &root), 0);
    assert_int_equal(blob_image_add_inode(b, &file), 1);
    assert_int_equal(blob_image_add_entry(b, 0, "file", 4, 1), 0);
    for (unsigned i = 0; i < count; i++) {
        OWNED uint8_t *bytes = content_of(seeds[i], LEN);
        struct blob_chunk chunk = {.raw_bytes = LEN, .check = blob_check_of(bytes, LEN)};
        assert_true(blob_store_put(f->store, NULL, bytes, LEN, &chunk.id, NULL) >= 0);
        assert_int_equal(blob_image_add_extent(b, 1, (uint64_t)i * LEN, &chunk), 0);
    }
    OWNED_BUF struct buf bytes = BUF_EMPTY;
    assert_int_equal(blob_image_build(b, &bytes, NULL), 0);
    blob_image_builder_free(b);
    struct blob_id id;
    assert_int_equal(blob_object_save(f->store, NULL, bytes.bytes, bytes.len_bytes, &id, NULL), 0);
    return id;
}

/* Reads the whole image. */
static int read_image(struct fixture *f, const struct blob_id *id)
{
    OWNED_BUF struct buf bytes = BUF_EMPTY;
    struct blob_image *image = NULL;
    int r = blob_object_load(f->store, id, BLOB_IMAGE_MAX_BYTES, &bytes, NULL);
    if (r == 0)
        r = blob_image_parse(&bytes, &image, NULL);
    for (uint32_t i = 0; r == 0 && i < blob_image_chunks(image); i++) {
        struct blob_chunk chunk;
        blob_image_chunk(image, i, &chunk);
        OWNED uint8_t *raw = malloc(chunk.raw_bytes);
        assert_non_null(raw);
        r = blob_store_get(f->store, &chunk.id, raw, chunk.raw_bytes, NULL);
    }
    blob_image_free(image);
    return r;
}

/* Two images whose chunks lie mixed, and which share some. */
static void put_both(struct fixture *f, struct blob_id *kept, struct blob_id *gone)
{
    uint64_t keep[KEPT], go[GONE];
    for (unsigned i = 0; i < KEPT; i++)
        keep[i] = 1000 + i;
    for (unsigned i = 0; i < GONE; i++)
        go[i] = i < 10 ? 1000 + i : 5000 + i;
    struct blob_id unused;
    for (unsigned i = 0; i < KEPT; i++) {
        assert_true(put_seed(f->store, keep[i], LEN, &unused) >= 0);
        assert_true(put_seed(f->store, go[i], LEN, &unused) >= 0);
    }
    *kept = put_image(f, keep, KEPT);
    *gone = put_image(f, go, GONE);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
}

static uint64_t packs_bytes(const struct fixture *f)
{
    OWNED_FD fd = openat(f->dirfd, "packs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OWNED_DIR dir = NULL;
    assert_int_equal(dir_list(fd, &dir), 0);
    uint64_t sum = 0;
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        struct stat st;
        if (strstr(e->d_name, ".pack") && fstatat(fd, e->d_name, &st, 0) == 0)
            sum += (uint64_t)st.st_size;
    }
    return sum;
}

static void what_no_root_needs_goes(void **state)
{
    struct fixture *f = *state;
    struct roots roots = {.count = 1};
    struct blob_id gone;
    struct blob_gc_result result;
    put_both(f, &roots.ids[0], &gone);
    uint64_t before = packs_bytes(f);
    must_collect(f, &roots, &result);
    assert_true(result.collected);
    assert_in_range(result.removed_chunks, GONE - 10, GONE + 10);
    assert_true(result.moved_bytes > KEPT / 2 * LEN);
    assert_in_range(result.freed_bytes, (uint64_t)(GONE - 20) * LEN, (uint64_t)(GONE + 20) * LEN);
    assert_int_equal(result.kept_chunks, stats_of(f).chunks);
    assert_true(packs_bytes(f) < before - (uint64_t)(GONE - 20) * LEN);
    assert_int_equal(read_image(f, &roots.ids[0]), 0);
    assert_int_equal(read_image(f, &gone), -ENOENT);
    fixture_reopen(f);
    assert_int_equal(read_image(f, &roots.ids[0]), 0);
    assert_int_equal(read_image(f, &gone), -ENOENT);
    assert_int_equal(stats_of(f).bad_chunks, 0);
    assert_int_equal(stats_of(f).chunks, result.kept_chunks);

    /* Nothing is left to do. */
    must_collect(f, &roots, &result);
    assert_int_equal(result.packs_removed + result.removed_chunks + result.moved_bytes, 0);
}

static void without_roots_all_goes_and_no_number_comes_twice(void **state)
{
    struct fixture *f = *state;
    struct roots none = {.count = 0};
    struct blob_id a, b;
    struct blob_gc_result result;
    put_both(f, &a, &b);
    uint64_t packs = stats_of(f).packs;
    must_collect(f, &none, &result);
    assert_int_equal(stats_of(f).chunks, 0);
    assert_int_equal(result.packs_removed, packs);
    assert_int_equal(result.moved_bytes, 0);
    fixture_reopen(f);
    struct blob_id id;
    assert_true(put_seed(f->store, 1, LEN, &id) > 0);
    struct blob_place place;
    assert_int_equal(blob_store_locate(f->store, &id, &place), 0);
    assert_true(place.pack > packs);
    assert_int_equal(stats_of(f).packs, 1);
    must_collect(f, &none, &result); /* the pack that takes records is no exception */
    assert_int_equal(stats_of(f).chunks, 0);
    assert_true(put_seed(f->store, 1, LEN, &id) > 0);
}

static void too_little_stays(void **state)
{
    struct fixture *f = *state;
    struct roots roots = {.count = 1};
    struct blob_id gone;
    struct blob_gc_result result;
    put_both(f, &roots.ids[0], &gone);
    const struct blob_gc_roots list = {.list = list_roots, .cookie = &roots};
    const struct blob_gc_options much = {.least_bytes = 64u << 20, .least_part = 4};
    assert_int_equal(blob_store_gc(f->store, &list, 1, &much, &result, NULL), 0);
    assert_false(result.collected);
    assert_true(result.garbage_bytes > 8u << 20);
    assert_int_equal(read_image(f, &gone), 0);
    const struct blob_gc_options some = {.least_bytes = 8u << 20, .least_part = 4};
    assert_int_equal(blob_store_gc(f->store, &list, 1, &some, &result, NULL), 0);
    assert_true(result.collected);
    assert_int_equal(read_image(f, &roots.ids[0]), 0);
}

static void a_root_that_cannot_be_read_ends_it(void **state)
{
    struct fixture *f = *state;
    struct roots roots = {.count = 2};
    struct blob_id gone;
    struct blob_gc_result result;
    struct err err = {0};
    put_both(f, &roots.ids[0], &gone);
    memset(&roots.ids[1], 7, sizeof(roots.ids[1]));
    uint64_t chunks = stats_of(f).chunks;
    assert_int_equal(collect(f, &roots, NULL, &result, &err), -ENOENT);
    assert_non_null(strstr(err.message, "0707"));
    assert_int_equal(stats_of(f).chunks, chunks);
    assert_int_equal(read_image(f, &gone), 0);
}

static void a_damaged_record_is_not_copied(void **state)
{
    struct fixture *f = *state;
    struct roots roots = {.count = 1};
    struct blob_id gone, id;
    struct blob_gc_result result;
    put_both(f, &roots.ids[0], &gone);
    put_seed(f->store, 1020, LEN, &id);
    struct blob_place place;
    assert_int_equal(blob_store_locate(f->store, &id, &place), 0);
    flip(f, (unsigned)place.pack, place.offset_bytes + 1000);
    must_collect(f, &roots, &result);
    assert_int_equal(stats_of(f).bad_chunks, 1);
    assert_int_equal(get_seed(f->store, 1020, LEN, &id), -ENOENT);
    assert_true(put_seed(f->store, 1020, LEN, &id) > 0);
    assert_int_equal(read_image(f, &roots.ids[0]), 0);
}

/* ---- in between ---- */

struct between {
    struct fixture *f;
    enum gc_step at;
    uint64_t put;   /* these are put then, */
    uint64_t touch; /* or touched */
    bool found;
    unsigned times;
};

static int do_between(void *arg, enum gc_step step)
{
    struct between *b = arg;
    struct blob_id id;
    if (step != b->at || b->times++ > 0)
        return 0;
    if (b->put)
        b->found = put_seed(b->f->store, b->put, LEN, &id) == 0;
    if (b->touch) {
        OWNED uint8_t *bytes = content_of(b->touch, LEN);
        id = blob_id_of(blob_store_secret(b->f->store), bytes, LEN);
        b->found = blob_store_touch(b->f->store, &id);
    }
    return 0;
}

static void what_is_put_or_touched_meanwhile_stays(void **state)
{
    struct fixture *f = *state;
    for (enum gc_step at = GC_BEGUN; at <= GC_REMOVED; at++) {
        struct roots roots = {.count = 1};
        struct blob_id gone, put, touched;
        struct blob_gc_result result;
        put_both(f, &roots.ids[0], &gone);
        struct between b = {.f = f, .at = at, .put = 5050};
        const struct gc_hook hook = {.at = do_between, .arg = &b};
        assert_int_equal(collect(f, &roots, &hook, &result, NULL), 0);
        assert_true(b.found || at == GC_REMOVED);
        OWNED uint8_t *bytes = content_of(5050, LEN);
        put = blob_id_of(blob_store_secret(f->store), bytes, LEN);
        assert_int_equal(get_seed(f->store, 5050, LEN, &put), 0);

        put_both(f, &roots.ids[0], &gone);
        b = (struct between){.f = f, .at = at, .touch = 5060};
        assert_int_equal(collect(f, &roots, &hook, &result, NULL), 0);
        OWNED uint8_t *others = content_of(5060, LEN);
        touched = blob_id_of(blob_store_secret(f->store), others, LEN);
        assert_int_equal(get_seed(f->store, 5060, LEN, &touched), b.found ? 0 : -ENOENT);
        assert_true(b.found || at == GC_REMOVED);
        fixture_reopen(f);
        assert_int_equal(get_seed(f->store, 5060, LEN, &touched), b.found ? 0 : -ENOENT);
        assert_int_equal(read_image(f, &roots.ids[0]), 0);
    }
}

static int nested(void *arg, enum gc_step step)
{
    struct between *b = arg;
    struct roots none = {.count = 0};
    struct blob_gc_result result;
    if (step == GC_MARKED)
        b->found = collect(b->f, &none, NULL, &result, NULL) == -EEXIST;
    return 0;
}

static void one_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct roots roots = {.count = 1};
    struct blob_id gone;
    struct blob_gc_result result;
    put_both(f, &roots.ids[0], &gone);
    struct between b = {.f = f};
    const struct gc_hook hook = {.at = nested, .arg = &b};
    assert_int_equal(collect(f, &roots, &hook, &result, NULL), 0);
    assert_true(b.found);
}

/* ---- killed ---- */

static int die(void *arg, enum gc_step step)
{
    const struct between *b = arg;
    if (step == b->at)
        _exit(0);
    return 0;
}

static void killed_anywhere_it_loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct roots roots = {.count = 1};
    struct blob_id gone;
    struct blob_gc_result result;
    for (enum gc_step at = GC_BEGUN; at <= GC_REMOVED; at++) {
        put_both(f, &roots.ids[0], &gone);
        fixture_close(f);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct between b = {.f = f, .at = at};
            const struct gc_hook hook = {.at = die, .arg = &b};
            fixture_open(f);
            int r = collect(f, &roots, &hook, &result, NULL);
            _exit(r == 0 ? 2 : 3);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        fixture_open(f);
        assert_int_equal(stats_of(f).bad_chunks, 0);
        assert_int_equal(read_image(f, &roots.ids[0]), 0);
        must_collect(f, &roots, &result);
        assert_int_equal(read_image(f, &roots.ids[0]), 0);
        fixture_reopen(f);
        assert_int_equal(read_image(f, &roots.ids[0]), 0);
        assert_in_range(packs_bytes(f), (uint64_t)KEPT * LEN, (uint64_t)(KEPT + 60) * LEN);
    }
}

/* ---- readers ---- */

struct reader {
    struct fixture *f;
    const struct blob_id *image;
    bool stop;
    unsigned rounds;
    int result;
};

static void *read_on(void *arg)
{
    struct reader *r = arg;
    while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED) && r->result == 0) {
        r->result = read_image(r->f, r->image);
        r->rounds++;
    }
    return NULL;
}

static void readers_do_not_notice(void **state)
{
    struct fixture *f = *state;
    struct roots roots = {.count = 1};
    struct blob_id gone;
    struct blob_gc_result result;
    put_both(f, &roots.ids[0], &gone);
    struct reader readers[2] = {{.f = f, .image = &roots.ids[0]}, {.f = f, .image = &roots.ids[0]}};
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    for (unsigned i = 0; i < 8; i++) {
        must_collect(f, &roots, &result);
        put_both(f, &roots.ids[0], &gone);
    }
    for (unsigned i = 0; i < 2; i++) {
        __atomic_store_n(&readers[i].stop, true, __ATOMIC_RELAXED);
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].result, 0);
        assert_true(readers[i].rounds > 0);
    }
    assert_int_equal(stats_of(f).bad_chunks, 0);
}

/* ---- a full disk ---- */

static bool mount_disk(struct fixture *f, const char *options)
{
    snprintf(f->path, sizeof(f->path), "/tmp/bladefs-disk-XXXXXX");
    if (!mkdtemp(f->path))
        return false;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", f->path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0) {
        rmdir(f->path);
        return false;
    }
    f->dirfd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return f->dirfd >= 0;
}

static void fill_disk(struct fixture *f)
{
    OWNED_FD fd = openat(f->dirfd, "ballast", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    OWNED uint8_t *bytes = content_of(1, 4096);
    struct stat st;
    while (write(fd, bytes, 4096) == 4096)
        ;
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(fstatat(f->dirfd, "packs/reserve", &st, 0), 0);
    assert_int_equal(st.st_size, 32 << 20);
}

static void a_full_disk_is_made_room_on(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct roots roots = {.count = 1};
    struct blob_id gone, id;
    struct blob_gc_result result;
    struct stat st;
    if (!mount_disk(&f, "size=160m")) {
        print_message("skipped: a tmpfs of its own needs root and mount namespaces\n");
        skip();
    }
    fixture_open(&f);
    put_both(&f, &roots.ids[0], &gone);
    fill_disk(&f);
    int r = 0;
    for (uint64_t seed = 900000; r >= 0; seed++)
        r = put_seed(f.store, seed, LEN, &id);
    assert_int_equal(r, -ENOSPC);
    uint64_t before = packs_bytes(&f);
    must_collect(&f, &roots, &result);
    assert_true(packs_bytes(&f) < before - (uint64_t)(GONE - 20) * LEN);
    assert_int_equal(read_image(&f, &roots.ids[0]), 0);
    fixture_reopen(&f);
    assert_int_equal(read_image(&f, &roots.ids[0]), 0);
    assert_int_equal(unlinkat(f.dirfd, "ballast", 0), 0);
    must_collect(&f, &roots, &result);
    assert_int_equal(fstatat(f.dirfd, "packs/reserve", &st, 0), 0); /* it is taken again */
    assert_int_equal(st.st_size, 32 << 20);
    assert_int_equal(stats_of(&f).bad_chunks, 0);
    fixture_close(&f);
    close(f.dirfd);
    assert_int_equal(umount(f.path), 0);
    assert_int_equal(rmdir(f.path), 0);
}

/* Two copies of a chunk that is used: the newer one goes bad and is set aside; no index names the other one.
 */
static void the_last_good_copy_stays(void **state)
{
    struct fixture *f = *state;
    struct roots roots = {.count = 1};
    struct blob_gc_result result;
    struct blob_id gone, first, unused;
    struct blob_place old, new;
    put_both(f, &roots.ids[0], &gone);
    OWNED uint8_t *bytes = content_of(1020, LEN);
    first = blob_id_of(blob_store_secret(f->store), bytes, LEN);
    assert_int_equal(blob_store_locate(f->store, &first, &old), 0);
    flip(f, (unsigned)old.pack, old.offset_bytes + 500);
    assert_int_equal(get_seed(f->store, 1020, LEN, &first), -EIO);
    assert_true(put_seed(f->store, 1020, LEN, &unused) > 0);
    assert_int_equal(blob_store_locate(f->store, &first, &new), 0);
    assert_true(new.pack > old.pack);
    flip(f, (unsigned)old.pack, old.offset_bytes + 500);
    flip(f, (unsigned)new.pack, new.offset_bytes + 500);
    assert_int_equal(get_seed(f->store, 1020, LEN, &first), -EIO);
    must_collect(f, &roots, &result);
    assert_true(result.packs_removed > 0);
    assert_int_equal(get_seed(f->store, 1020, LEN, &first), 0);
    assert_int_equal(read_image(f, &roots.ids[0]), 0);
    fixture_reopen(f);
    assert_int_equal(read_image(f, &roots.ids[0]), 0);

    /* With no good one left nothing holds a pack. */
    assert_int_equal(blob_store_locate(f->store, &first, &new), 0);
    flip(f, (unsigned)new.pack, new.offset_bytes + 500);
    assert_int_equal(get_seed(f->store, 1020, LEN, &first), -EIO);
    for (unsigned i = 0; i < 300; i++)
        assert_true(put_seed(f->store, 20000 + i, LEN, &unused) > 0);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    must_collect(f, &roots, &result);
    must_collect(f, &roots, &result);
    assert_true(packs_bytes(f) < (uint64_t)(KEPT + KEPT / 7 + 20) * LEN);
    assert_int_equal(get_seed(f->store, 1020, LEN, &first), -ENOENT);
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        WITH_STORE(what_no_root_needs_goes),
        WITH_STORE(without_roots_all_goes_and_no_number_comes_twice),
        WITH_STORE(too_little_stays),
        WITH_STORE(a_root_that_cannot_be_read_ends_it),
        WITH_STORE(a_damaged_record_is_not_copied),
        WITH_STORE(the_last_good_copy_stays),
        WITH_STORE(what_is_put_or_touched_meanwhile_stays),
        WITH_STORE(one_at_a_time),
        WITH_STORE(killed_anywhere_it_loses_nothing),
        WITH_STORE(readers_do_not_notice),
        cmocka_unit_test(a_full_disk_is_made_room_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
