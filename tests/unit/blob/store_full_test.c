/* A full disk: a small tmpfs in a mount namespace of the test's own. */
#include <sched.h>
#include <sys/mount.h>

#include "store_fixture.h"

#define LEN (64u << 10)
#define DISK_BYTES (4u << 20)
#define BALLAST_BYTES (1u << 20)

struct disk {
    char path[64];
    struct fixture f;
};

static bool mount_small_disk(struct disk *d)
{
    snprintf(d->path, sizeof(d->path), "/tmp/bladefs-disk-XXXXXX");
    if (!mkdtemp(d->path))
        return false;
    char options[64];
    snprintf(options, sizeof(options), "size=%u", DISK_BYTES);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", d->path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0) {
        rmdir(d->path);
        return false;
    }
    d->f.dirfd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return d->f.dirfd >= 0;
}

static void unmount(struct disk *d)
{
    close(d->f.dirfd);
    assert_int_equal(umount(d->path), 0);
    assert_int_equal(rmdir(d->path), 0);
}

static void put_ballast(struct disk *d)
{
    OWNED_FD fd = openat(d->f.dirfd, "ballast", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(posix_fallocate(fd, 0, BALLAST_BYTES), 0);
}

static void check_all(struct fixture *f, const struct blob_id *ids, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(get_seed(f->store, i, LEN, &ids[i]), 0);
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    struct disk d = {0};
    if (!mount_small_disk(&d)) {
        print_message("skipped: a tmpfs of its own needs root and mount namespaces\n");
        skip();
    }
    put_ballast(&d);
    struct fixture *f = &d.f;
    fixture_open(f);
    struct blob_id ids[DISK_BYTES / LEN];
    struct blob_id refused;
    struct err err = {0};
    unsigned count = 0;
    int r;
    for (;; count++) {
        assert_true(count < sizeof(ids) / sizeof(*ids));
        OWNED uint8_t *bytes = content_of(count, LEN);
        r = blob_store_put(f->store, NULL, bytes, LEN, &ids[count], &err);
        if (r < 0)
            break;
        if (count == 20)
            assert_int_equal(blob_store_sync(f->store, NULL), 0);
    }
    assert_int_equal(r, -ENOSPC);
    assert_non_null(strstr(err.message, "No space left"));
    assert_true(count > 30);
    assert_int_equal(stats_of(f).chunks, count); /* the refused one is not there */
    assert_int_equal((pack_file_bytes(f, 1) - PACK_HEADER_BYTES) % (LEN + BLOB_RECORD_HEADER_BYTES), 0);
    check_all(f, ids, count);
    assert_int_equal(put_seed(f->store, count, LEN, &refused), -ENOSPC);
    assert_int_equal(blob_store_sync(f->store, &err), -ENOSPC);
    assert_int_equal(put_seed(f->store, 3, LEN, &refused), 0); /* what is there is there */

    /* Room again: everything goes on as if nothing had been. */
    assert_int_equal(unlinkat(f->dirfd, "ballast", 0), 0);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    assert_true(put_seed(f->store, count, LEN, &ids[count]) > 0);
    assert_int_equal(blob_store_sync(f->store, NULL), 0);
    fixture_reopen(f);
    assert_int_equal(stats_of(f).chunks, count + 1);
    assert_int_equal(stats_of(f).cut_bytes, 0);
    check_all(f, ids, count + 1);
    fixture_close(f);
    unmount(&d);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_full_disk_loses_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
