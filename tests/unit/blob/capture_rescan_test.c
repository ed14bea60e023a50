/*
 * Trees that change while they are captured: scan, change, rescan with the inodes that a file system would
 * list (the directories whose entries changed, and the files that were written), finish; the image must equal
 * the tree as it is now, and be the image that a capture from nothing makes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "base/fdio.h"
#include "capture_tree.h"
#include "random.h"

/* A bench with a small tree, scanned. */
struct scanned {
    struct bench *b;
    int tree;
    struct blob_capture *c;
};

static struct scanned scan(void **state)
{
    struct scanned s = {.b = *state};
    s.tree = s.b->tree;
    assert_int_equal(mkdirat(s.tree, "a", 0755), 0);
    assert_int_equal(mkdirat(s.tree, "a/deep", 0755), 0);
    assert_int_equal(mkdirat(s.tree, "a/deep/deeper", 0755), 0);
    assert_int_equal(mkdirat(s.tree, "b", 0755), 0);
    put_text(s.tree, "top", "top");
    put_text(s.tree, "a/one", "one");
    put_text(s.tree, "a/two", "two");
    put_random(s.tree, "a/deep/big", 1, 0, 1000000);
    put_text(s.tree, "a/deep/deeper/leaf", "leaf");
    put_text(s.tree, "b/three", "three");
    assert_int_equal(symlinkat("one", s.tree, "b/link"), 0);
    assert_int_equal(linkat(s.tree, "a/one", s.tree, "b/hard", 0), 0);

    struct blob_capture_options options = {.threads = 2, .level = 1};
    struct err err = {0};
    assert_int_equal(blob_capture_new(s.b->store, s.tree, &options, &s.c, &err), 0);
    if (blob_capture_scan(s.c, &err) < 0)
        fail_msg("scan: %s", err.message);
    return s;
}

static void rescan(struct scanned *s, const uint64_t *inodes, size_t count)
{
    struct err err = {0};
    if (blob_capture_rescan(s->c, inodes, count, &err) < 0)
        fail_msg("rescan: %s", err.message);
}

#define RESCAN(s, ...)                                                                                       \
    do {                                                                                                     \
        const uint64_t list_[] = {__VA_ARGS__};                                                              \
        rescan(s, list_, sizeof(list_) / sizeof(list_[0]));                                                  \
    } while (0)

static void finish(struct scanned *s)
{
    struct blob_capture_result result, fresh;
    struct blob_image *image = bench_finish(s->b, s->c, &result);
    bench_compare(s->b, image, s->tree);
    blob_image_free(image);
    blob_capture_free(s->c);
    blob_image_free(bench_capture(s->b, s->tree, 1, &fresh));
    assert_memory_equal(&result.image, &fresh.image, sizeof(fresh.image));
    assert_int_equal(fresh.new_chunks, 0);
}

static void nothing_changed(void **state)
{
    struct scanned s = scan(state);
    rescan(&s, NULL, 0);
    finish(&s);
}

static void unknown_inodes_are_ignored(void **state)
{
    struct scanned s = scan(state);
    RESCAN(&s, 1, UINT64_MAX, 0, 123456789);
    finish(&s);
}

static void a_file_was_written(void **state)
{
    struct scanned s = scan(state);
    put_text(s.tree, "a/two", "now it is longer");
    put_random(s.tree, "a/deep/big", 2, 500000, 10);
    RESCAN(&s, inode_of(s.tree, "a/two"), inode_of(s.tree, "a/deep/big"));
    put_text(s.tree, "a/two", "");
    RESCAN(&s, inode_of(s.tree, "a/two"));
    finish(&s);
}

static void attributes_changed(void **state)
{
    struct scanned s = scan(state);
    assert_int_equal(fchmodat(s.tree, "a/two", 0600, 0), 0);
    assert_int_equal(fchmodat(s.tree, "a/deep", 0700, 0), 0);
    assert_int_equal(fchmodat(s.tree, ".", 0711, 0), 0);
    set_xattr(s.tree, "top", "user.x", "y", 1);
    set_xattr(s.tree, "a", "user.x", "y", 1);
    RESCAN(&s, inode_of(s.tree, "a/two"), inode_of(s.tree, "a/deep"), inode_of(s.tree, "."),
           inode_of(s.tree, "top"), inode_of(s.tree, "a"));
    finish(&s);
}

static void a_new_file(void **state)
{
    struct scanned s = scan(state);
    put_text(s.tree, "b/new", "new");
    RESCAN(&s, inode_of(s.tree, "b"));
    finish(&s);
}

static void a_new_deep_tree(void **state)
{
    struct scanned s = scan(state);
    char path[2048] = "b";
    size_t len = 1;
    for (int i = 0; i < 200; i++) {
        len += (size_t)snprintf(path + len, sizeof(path) - len, "/d");
        assert_int_equal(mkdirat(s.tree, path, 0755), 0);
    }
    snprintf(path + len, sizeof(path) - len, "/file");
    put_text(s.tree, path, "at the bottom");
    RESCAN(&s, inode_of(s.tree, "b"));
    finish(&s);
}

static void a_file_was_removed(void **state)
{
    struct scanned s = scan(state);
    uint64_t gone = inode_of(s.tree, "a/two");
    assert_int_equal(unlinkat(s.tree, "a/two", 0), 0);
    RESCAN(&s, inode_of(s.tree, "a"), gone);
    finish(&s);
}

static void a_tree_was_removed(void **state)
{
    struct scanned s = scan(state);
    uint64_t gone[] = {inode_of(s.tree, "a/deep/deeper"), inode_of(s.tree, "a/deep"),
                       inode_of(s.tree, "a/deep/big"), inode_of(s.tree, "a")};
    OWNED_FD a = openat(s.tree, "a", O_RDONLY | O_DIRECTORY);
    assert_int_equal(tree_remove(a, "deep"), 0);
    rescan(&s, gone, 4);
    finish(&s);
}

static void a_file_was_renamed(void **state)
{
    struct scanned s = scan(state);
    uint64_t moved = inode_of(s.tree, "a/two");
    assert_int_equal(renameat(s.tree, "a/two", s.tree, "a/renamed"), 0);
    RESCAN(&s, inode_of(s.tree, "a"));
    assert_int_equal(renameat(s.tree, "a/renamed", s.tree, "b/elsewhere"), 0);
    put_text(s.tree, "b/elsewhere", "and written");
    RESCAN(&s, moved, inode_of(s.tree, "b"), inode_of(s.tree, "a"));
    finish(&s);
}

static void a_file_was_replaced(void **state)
{
    struct scanned s = scan(state);
    put_text(s.tree, "a/two.new", "as editors do it");
    assert_int_equal(renameat(s.tree, "a/two.new", s.tree, "a/two"), 0);
    RESCAN(&s, inode_of(s.tree, "a"));
    finish(&s);
}

static void a_directory_was_renamed(void **state)
{
    struct scanned s = scan(state);
    assert_int_equal(renameat(s.tree, "a/deep", s.tree, "b/moved"), 0);
    RESCAN(&s, inode_of(s.tree, "a"), inode_of(s.tree, "b"));
    finish(&s);
}

/* All at once, and the list in an order in which nothing can be found where it was. */
static void directories_move_and_change(void **state)
{
    struct scanned s = scan(state);
    assert_int_equal(renameat(s.tree, "a/deep/deeper", s.tree, "deeper"), 0);
    assert_int_equal(renameat(s.tree, "a/deep", s.tree, "deeper/deep"), 0);
    assert_int_equal(renameat(s.tree, "a", s.tree, "deeper/deep/a"), 0);
    put_text(s.tree, "deeper/deep/a/new", "new");
    put_text(s.tree, "deeper/leaf", "changed too");
    put_text(s.tree, "deeper/deep/a/two", "changed as well");
    const uint64_t list[] = {
        inode_of(s.tree, "deeper/leaf"),   inode_of(s.tree, "deeper/deep/a/two"),
        inode_of(s.tree, "deeper/deep/a"), inode_of(s.tree, "deeper/deep"),
        inode_of(s.tree, "deeper"),        inode_of(s.tree, "."),
    };
    for (size_t i = 0; i < 6; i++) {
        /* Any order: begin with another one each time. */
        uint64_t turned[6];
        for (size_t k = 0; k < 6; k++)
            turned[k] = list[(i + k) % 6];
        rescan(&s, turned, 6);
    }
    finish(&s);
}

/* The list came before the last rename: what could not be found then is found with the next list. */
static void found_with_the_next_list(void **state)
{
    struct scanned s = scan(state);
    put_text(s.tree, "a/deep/big", "short now");
    put_text(s.tree, "a/deep/deeper/more", "more");
    const uint64_t first[] = {inode_of(s.tree, "a/deep/big"), inode_of(s.tree, "a/deep/deeper")};
    assert_int_equal(renameat(s.tree, "a/deep", s.tree, "b/moved"), 0);
    rescan(&s, first, 2);
    RESCAN(&s, inode_of(s.tree, "a"), inode_of(s.tree, "b"));
    finish(&s);
}

/* The same, but nobody lists anything more: finish looks where the names were, and finds that they went. */
static void gone_without_a_list(void **state)
{
    struct scanned s = scan(state);
    const uint64_t first[] = {inode_of(s.tree, "a/deep/big"), inode_of(s.tree, "a/deep/deeper"),
                              inode_of(s.tree, "a")};
    OWNED_FD a = openat(s.tree, "a", O_RDONLY | O_DIRECTORY);
    assert_int_equal(tree_remove(a, "deep"), 0);
    rescan(&s, first, 2);
    finish(&s);
}

static void hard_links_come_and_go(void **state)
{
    struct scanned s = scan(state);
    uint64_t one = inode_of(s.tree, "a/one");
    assert_int_equal(unlinkat(s.tree, "a/one", 0), 0);
    put_text(s.tree, "b/hard", "written through the other name");
    RESCAN(&s, inode_of(s.tree, "a"), one);
    assert_int_equal(linkat(s.tree, "b/hard", s.tree, "a/again", 0), 0);
    assert_int_equal(linkat(s.tree, "top", s.tree, "a/top", 0), 0);
    RESCAN(&s, inode_of(s.tree, "a"), one, inode_of(s.tree, "top"));
    assert_int_equal(unlinkat(s.tree, "b/hard", 0), 0);
    put_text(s.tree, "a/again", "and again");
    RESCAN(&s, inode_of(s.tree, "b"), one);
    finish(&s);
}

/* A file system gives the numbers of what was removed to what is made next, of another type perhaps. */
static void inode_numbers_are_given_again(void **state)
{
    struct scanned s = scan(state);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(unlinkat(s.tree, "b/link", i > 0 && i % 4 == 3 ? AT_REMOVEDIR : 0), 0);
        if (i % 4 == 0)
            put_text(s.tree, "b/link", "a file");
        else if (i % 4 == 1)
            assert_int_equal(symlinkat(i < 10 ? "two" : "six", s.tree, "b/link"), 0);
        else if (i % 4 == 2)
            assert_int_equal(mkdirat(s.tree, "b/link", 0700), 0);
        else
            assert_int_equal(mkfifoat(s.tree, "b/link", 0600), 0);
        RESCAN(&s, inode_of(s.tree, "b"));
        if (i % 7 == 6) {
            struct blob_image *image = bench_finish(s.b, s.c, NULL);
            bench_compare(s.b, image, s.tree);
            blob_image_free(image);
        }
    }
    finish(&s);
}

/* Of the same type and length even: only the times tell that it is another. */
static void a_symlink_was_made_anew(void **state)
{
    struct scanned s = scan(state);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(unlinkat(s.tree, "b/link", 0), 0);
        assert_int_equal(symlinkat(i % 2 ? "two" : "six", s.tree, "b/link"), 0);
        RESCAN(&s, inode_of(s.tree, "b"));
        struct blob_image *image = bench_finish(s.b, s.c, NULL);
        bench_compare(s.b, image, s.tree);
        blob_image_free(image);
    }
    finish(&s);
}

static void a_swap_of_directories(void **state)
{
    struct scanned s = scan(state);
    assert_int_equal(renameat2(s.tree, "a", s.tree, "b", RENAME_EXCHANGE), 0);
    RESCAN(&s, inode_of(s.tree, "."));
    assert_int_equal(renameat2(s.tree, "b/deep", s.tree, "a/three", RENAME_EXCHANGE), 0);
    RESCAN(&s, inode_of(s.tree, "a"), inode_of(s.tree, "b"));
    finish(&s);
}

/* ---- any changes at all ---- */

#define DIRS 12

struct chaos {
    uint64_t seed;
    int tree;
    uint64_t changed[4000];
    size_t count;
};

static uint64_t any(struct chaos *x, uint64_t below)
{
    return random_next(&x->seed) % below;
}

static void note(struct chaos *x, const char *path)
{
    struct stat st;
    if (x->count < 4000 && fstatat(x->tree, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        x->changed[x->count++] = st.st_ino;
}

/* A path among few, so that the changes meet: d3/d1/f2. Its directory into `dir`. */
static void any_path(struct chaos *x, char path[64], char dir[64])
{
    size_t len = 0;
    for (uint64_t depth = any(x, 4); depth > 0; depth--)
        len += (size_t)snprintf(path + len, 64 - len, "d%" PRIu64 "/", any(x, 3));
    snprintf(dir, 64, "%.*s", len ? (int)len - 1 : 1, len ? path : ".");
    snprintf(path + len, 64 - len, "%c%" PRIu64, any(x, 2) ? 'f' : 'd', any(x, 3));
}

/* One change or none, noted as the FUSE layer would: the parents before and after, and what was written. */
static void change(struct chaos *x)
{
    char from[64], from_dir[64], to[64], to_dir[64];
    any_path(x, from, from_dir);
    any_path(x, to, to_dir);
    switch (any(x, 7)) {
    case 0:
        note(x, from_dir);
        if (mkdirat(x->tree, from, 0755) < 0)
            break;
        break;
    case 1:
    case 2: {
        note(x, from_dir);
        OWNED_FD fd = openat(x->tree, from, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0)
            break;
        note(x, from);
        assert_int_equal(fd_write_at(fd, &x->seed, sizeof(x->seed), any(x, 200000)), 0);
        break;
    }
    case 3:
        note(x, from_dir);
        note(x, to_dir);
        if (renameat(x->tree, from, x->tree, to) < 0)
            break;
        break;
    case 4:
        note(x, from);
        note(x, to_dir);
        if (linkat(x->tree, from, x->tree, to, 0) < 0)
            break;
        break;
    case 5:
        note(x, from_dir);
        note(x, from);
        if (unlinkat(x->tree, from, any(x, 2) ? AT_REMOVEDIR : 0) < 0)
            break;
        break;
    default:
        note(x, from);
        if (fchmodat(x->tree, from, 0700 | (mode_t)any(x, 0100), 0) < 0)
            break;
        break;
    }
}

static void any_changes(void **state)
{
    struct bench *b = *state;
    struct chaos *x = calloc(1, sizeof(*x));
    assert_non_null(x);
    x->tree = b->tree;
    for (uint64_t round = 0; round < 40; round++) {
        x->seed = 1000 + round;
        for (int i = 0; i < 60; i++)
            change(x);
        x->count = 0;
        struct scanned s = {.b = b, .tree = b->tree};
        struct blob_capture_options options = {.threads = 2, .level = 1};
        struct err err = {0};
        assert_int_equal(blob_capture_new(b->store, b->tree, &options, &s.c, &err), 0);
        assert_int_equal(blob_capture_scan(s.c, &err), 0);
        for (int step = 0; step < 10; step++) {
            for (int i = 0; i < 12; i++)
                change(x);
            /* The list was taken a little before the rescan, but for the last one. */
            size_t listed = x->count;
            for (int i = 0; step < 9 && i < 3; i++)
                change(x);
            rescan(&s, x->changed, listed);
            memmove(x->changed, x->changed + listed, (x->count - listed) * sizeof(uint64_t));
            x->count -= listed;
        }
        finish(&s);
    }
    free(x);
}

struct resizer {
    int fd;
    atomic_bool stop;
};

static void *resize_on(void *arg)
{
    struct resizer *z = arg;
    for (off_t size = 1; !atomic_load(&z->stop); size = (size * 7919) % (8 << 20)) {
        if (ftruncate(z->fd, size) < 0 || ftruncate(z->fd, 8 << 20) < 0 ||
            fd_write_at(z->fd, "data", 4, (uint64_t)size) < 0)
            break;
    }
    return NULL;
}

/* A file that becomes shorter and longer while it is read is no error, and is read again afterwards. */
static void a_file_changes_its_size(void **state)
{
    struct bench *b = *state;
    put_random(b->tree, "file", 1, 0, 8 << 20);
    struct resizer z = {.fd = openat(b->tree, "file", O_RDWR | O_CLOEXEC)};
    for (int i = 0; i < 10; i++) {
        struct scanned s = {.b = b, .tree = b->tree};
        struct blob_capture_options options = {.threads = 2, .level = 1};
        struct err err = {0};
        pthread_t thread;
        put_random(b->tree, "file", (uint64_t)i, 0, 8 << 20);
        atomic_store(&z.stop, false);
        assert_int_equal(blob_capture_new(b->store, b->tree, &options, &s.c, &err), 0);
        assert_int_equal(pthread_create(&thread, NULL, resize_on, &z), 0);
        if (blob_capture_scan(s.c, &err) < 0)
            fail_msg("scan: %s", err.message);
        RESCAN(&s, inode_of(b->tree, "file"));
        atomic_store(&z.stop, true);
        pthread_join(thread, NULL);
        RESCAN(&s, inode_of(b->tree, "file"));
        finish(&s);
    }
    close(z.fd);
}

struct writer {
    struct chaos chaos;
    pthread_mutex_t lock;
    bool stop;
};

static void *write_on(void *arg)
{
    struct writer *w = arg;
    for (bool stop = false; !stop;) {
        HOLD_LOCK(&w->lock);
        change(&w->chaos);
        if (w->chaos.count > 3900)
            usleep(10);
        stop = w->stop;
    }
    return NULL;
}

/* As it is used: somebody writes all the while, is held for the last rescan, and goes on. */
static void while_somebody_writes(void **state)
{
    struct bench *b = *state;
    struct writer *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    w->chaos.tree = b->tree;
    w->chaos.seed = 99;
    pthread_mutex_init(&w->lock, NULL);
    for (int i = 0; i < 200; i++)
        change(&w->chaos);
    for (int round = 0; round < 10; round++) {
        pthread_t thread;
        w->chaos.count = 0;
        w->stop = false;
        struct scanned s = {.b = b, .tree = b->tree};
        struct blob_capture_options options = {.threads = 2, .level = 1};
        struct err err = {0};
        assert_int_equal(blob_capture_new(b->store, b->tree, &options, &s.c, &err), 0);
        assert_int_equal(pthread_create(&thread, NULL, write_on, w), 0);
        if (blob_capture_scan(s.c, &err) < 0)
            fail_msg("scan: %s", err.message);
        static uint64_t list[4000];
        for (int i = 0; i < 5; i++) {
            pthread_mutex_lock(&w->lock);
            size_t count = w->chaos.count;
            memcpy(list, w->chaos.changed, count * sizeof(uint64_t));
            bool full = count == 4000;
            w->chaos.count = 0;
            w->stop = i == 4 || full;
            if (!w->stop)
                pthread_mutex_unlock(&w->lock);
            rescan(&s, list, count);
            if (w->stop) {
                pthread_mutex_unlock(&w->lock);
                pthread_join(thread, NULL);
                /* It made one change more at most after that. */
                if (full) {
                    blob_capture_free(s.c);
                    s.c = NULL;
                    break;
                }
                rescan(&s, w->chaos.changed, w->chaos.count);
            }
        }
        if (s.c)
            finish(&s);
    }
    pthread_mutex_destroy(&w->lock);
    free(w);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_changed),
        TEST(unknown_inodes_are_ignored),
        TEST(a_file_was_written),
        TEST(attributes_changed),
        TEST(a_new_file),
        TEST(a_new_deep_tree),
        TEST(a_file_was_removed),
        TEST(a_tree_was_removed),
        TEST(a_file_was_renamed),
        TEST(a_file_was_replaced),
        TEST(a_directory_was_renamed),
        TEST(directories_move_and_change),
        TEST(found_with_the_next_list),
        TEST(gone_without_a_list),
        TEST(hard_links_come_and_go),
        TEST(inode_numbers_are_given_again),
        TEST(a_symlink_was_made_anew),
        TEST(a_swap_of_directories),
        TEST(any_changes),
        TEST(a_file_changes_its_size),
        TEST(while_somebody_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
