/* The images below the agent's directory: what crashes leave, what is kept and what goes. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/fdio.h"
#include "images_disk.h"
#include "rig.h"

static int set_up(void **out)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    rig_open(rig, NULL);
    *out = rig;
    return 0;
}

static int tear_down(void **in)
{
    rig_close(*in);
    free(*in);
    return 0;
}

/* An empty root directory, as an image's bytes. */
static void put_image(int dirfd, const char *path)
{
    struct blob_image_builder *b;
    OWNED_BUF struct buf full = BUF_EMPTY;
    OWNED_BUF struct buf bytes = BUF_EMPTY;
    struct blob_image *image = NULL;
    struct err err = {0};
    assert_int_equal(blob_image_builder_new(&b), 0);
    assert_int_equal(blob_image_add_inode(b, &(struct blob_inode){.mode = S_IFDIR | 0755}), 0);
    assert_int_equal(blob_image_build(b, &full, &err), 0);
    blob_image_builder_free(b);
    assert_int_equal(blob_image_parse(&full, &image, &err), 0);
    assert_int_equal(blob_image_strip(image, &bytes), 0);
    blob_image_free(image);
    assert_int_equal(file_replace(dirfd, path, 0600, bytes.bytes, bytes.len_bytes), 0);
}

/* images/<n> or incoming/<n>, whole; last used at `used_s`. */
static void put(const struct rig *rig, const char *folder, const char *number, time_t used_s)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/%s", folder, number);
    assert_int_equal(mkdirat(rig->dirfd, path, 0700), 0);
    snprintf(path, sizeof(path), "%s/%s/tree", folder, number);
    assert_int_equal(mkdirat(rig->dirfd, path, 0700), 0);
    snprintf(path, sizeof(path), "%s/%s/image", folder, number);
    put_image(rig->dirfd, path);
    struct timespec t[2] = {{.tv_sec = used_s}, {.tv_sec = used_s}};
    assert_int_equal(utimensat(rig->dirfd, path, t, 0), 0);
}

static void assert_list(const struct rig *rig, const char *expected)
{
    const uint64_t *numbers;
    uint64_t partial;
    char text[256] = "";
    size_t n = images_list(rig->images, &numbers, &partial);
    for (size_t i = 0; i < n; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%llu ", (unsigned long long)numbers[i]);
    if (partial)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "~%llu ", (unsigned long long)partial);
    assert_string_equal(text, expected);
}

static bool is_there(const struct rig *rig, const char *path)
{
    struct stat st;
    return fstatat(rig->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void wait_until_gone(const struct rig *rig)
{
    (void)images_make_room(rig->images, 0);
    for (int i = 0; i < 500; i++) {
        OWNED_FD fd = openat(rig->dirfd, "trash", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct stat st;
        if (fstat(fd, &st) == 0 && st.st_nlink == 2)
            return;
        usleep(10000);
    }
    fail_msg("the trash is not emptied");
}

static void crashes_leave_nothing_half(void **in)
{
    struct rig *rig = *in;
    put(rig, "images", "1", 100);
    put(rig, "images", "20", 100);
    put(rig, "incoming", "3", 100);
    put(rig, "incoming", "20", 100);                            /* complete meanwhile */
    assert_int_equal(mkdirat(rig->dirfd, "images/4", 0700), 0); /* no image in it */
    assert_int_equal(mkdirat(rig->dirfd, "images/4/tree", 0700), 0);
    put(rig, "images", "5", 100); /* a layer without its base */
    assert_int_equal(file_replace(rig->dirfd, "images/5/base", 0600, "77\n", 3), 0);
    put(rig, "images", "6", 100); /* one with */
    assert_int_equal(file_replace(rig->dirfd, "images/6/base", 0600, "1\n", 2), 0);
    assert_int_equal(mkdirat(rig->dirfd, "images/lost+found", 0700), 0);
    assert_int_equal(mkdirat(rig->dirfd, "trash/9-0", 0700), 0);
    assert_int_equal(mkdirat(rig->dirfd, "trash/9-0/below", 0700), 0);
    rig_reopen(rig);
    assert_list(rig, "1 6 20 ~3 ");
    wait_until_gone(rig);
    assert_false(is_there(rig, "images/4"));
    assert_false(is_there(rig, "images/5"));
    assert_false(is_there(rig, "incoming/20"));
    assert_true(is_there(rig, "incoming/3/tree"));
    assert_true(is_there(rig, "images/lost+found"));
}

static void layers_are_stacked(void **in)
{
    struct rig *rig = *in;
    put(rig, "images", "1", 100);
    put(rig, "images", "6", 101);
    assert_int_equal(file_replace(rig->dirfd, "images/6/base", 0600, "1\n", 2), 0);
    rig_reopen(rig);
    char dirs[IMAGES_STACK_MAX][64];
    assert_int_equal(images_lowerdirs(rig->images, 6, dirs), 2);
    assert_string_equal(dirs[0], "images/6/tree");
    assert_string_equal(dirs[1], "images/1/tree");
    assert_int_equal(images_lowerdirs(rig->images, 1, dirs), 1);
    assert_int_equal(images_lowerdirs(rig->images, 2, dirs), -ENOENT);
    images_drop(rig->images, 1); /* stays as long as 6 stands on it */
    assert_true(is_there(rig, "images/1"));
    assert_list(rig, "6 ");
    images_drop(rig->images, 6);
    assert_false(is_there(rig, "images/1"));
}

static void put_layer(const struct rig *rig, const char *number, const char *base, time_t used_s)
{
    char path[64];
    put(rig, "images", number, used_s);
    snprintf(path, sizeof(path), "images/%s/base", number);
    assert_int_equal(file_replace(rig->dirfd, path, 0600, base, strlen(base)), 0);
}

static void a_stack_grows_no_deeper(void **in)
{
    struct rig *rig = *in;
    put(rig, "images", "1", 100);
    put_layer(rig, "2", "1\n", 300);
    put_layer(rig, "3", "2\ndamaged\n", 400);
    put_layer(rig, "4", "3\n", 500);
    put(rig, "images", "5", 200);
    rig_reopen(rig);
    uint64_t bases[8];
    assert_int_equal(images_bases(rig->images, bases, 8), 3);
    assert_true(bases[0] == 2 && bases[1] == 5 && bases[2] == 1);
    assert_int_equal(images_bases(rig->images, bases, 1), 1);
    images_drop(rig->images, 2);
    assert_int_equal(images_bases(rig->images, bases, 8), 2);
    struct err err = {0};
    int fds[IMAGES_STACK_MAX];
    assert_int_equal(images_open_trees(rig->images, 4, fds, &err), 4);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    assert_int_equal(images_open_trees(rig->images, 9, fds, &err), -ENOENT);
}

static void what_others_stand_on_stays(void **in)
{
    struct rig *rig = *in;
    put(rig, "images", "1", 100);
    put_layer(rig, "2", "1\n", 200);
    put_layer(rig, "3", "1\n", 300);
    put_layer(rig, "4", "2\n", 400);
    put_layer(rig, "5", "1\n", 500);
    rig_reopen(rig); /* keeps two beside the current one */
    images_hold(rig->images, 4);
    images_trim(rig->images);
    assert_list(rig, "1 2 4 ");
    (void)images_make_room(rig->images, UINT64_MAX);
    assert_list(rig, "1 2 4 ");
    images_pin(rig->images, 1);
    images_release(rig->images, 4);
    (void)images_make_room(rig->images, UINT64_MAX);
    assert_list(rig, "1 ");
    images_drop(rig->images, 1);
    assert_true(is_there(rig, "images/1"));
    images_unpin(rig->images, 1);
    assert_false(is_there(rig, "images/1"));
}

static void the_oldest_go_first(void **in)
{
    struct rig *rig = *in;
    put(rig, "images", "1", 500);
    put(rig, "images", "2", 100);
    put(rig, "images", "3", 400);
    put(rig, "images", "4", 200);
    put(rig, "images", "5", 300);
    rig_reopen(rig); /* keeps two beside the current one */
    images_hold(rig->images, 2);
    images_trim(rig->images);
    assert_list(rig, "1 2 3 ");
    images_drop(rig->images, 2); /* held: later */
    assert_true(is_there(rig, "images/2"));
    assert_false(images_has(rig->images, 2));
    images_release(rig->images, 2);
    assert_false(is_there(rig, "images/2"));
    images_trim(rig->images);
    assert_list(rig, "1 3 ");
}

static void another_store_is_another_world(void **in)
{
    struct rig *rig = *in;
    const uint8_t first[16] = {1}, second[16] = {2};
    struct err err = {0};
    assert_int_equal(images_set_store(rig->images, first, &err), 1);
    put(rig, "images", "1", 100);
    put(rig, "images", "2", 100);
    put(rig, "incoming", "3", 100);
    rig_reopen(rig);
    assert_int_equal(images_set_store(rig->images, first, &err), 0);
    assert_list(rig, "1 2 ~3 ");
    images_hold(rig->images, 2);
    assert_int_equal(images_set_store(rig->images, second, &err), 1);
    assert_list(rig, "");
    assert_true(images_is_foreign(rig->images, 2));
    assert_false(images_has(rig->images, 2));
    char dirs[IMAGES_STACK_MAX][64];
    assert_int_equal(images_lowerdirs(rig->images, 2, dirs), 1); /* it still runs */
    const struct blob_image *image;
    assert_int_equal(images_get(rig->images, 2, &image, &err), 0);

    rig_reopen(rig); /* what is foreign stays so */
    assert_true(images_is_foreign(rig->images, 2));
    images_hold(rig->images, 2);
    assert_int_equal(images_arrive(rig->images, 2, &err), -EIO); /* its number is taken */
    images_release(rig->images, 2);
    assert_int_equal(images_set_store(rig->images, second, &err), 0);
    images_trim(rig->images);
    assert_false(images_is_foreign(rig->images, 2));
    assert_false(is_there(rig, "images/2"));
}

static void damaged_images_are_named(void **in)
{
    struct rig *rig = *in;
    put(rig, "images", "8", 100);
    assert_int_equal(file_replace(rig->dirfd, "images/8/image", 0600, "rubbish", 7), 0);
    rig_reopen(rig);
    const struct blob_image *image;
    struct err err = {0};
    assert_int_equal(images_get(rig->images, 8, &image, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "images/8/image"));
    assert_int_equal(images_get(rig->images, 9, &image, &err), -ENOENT);
}

static void numbers(void **in)
{
    (void)in;
    assert_int_equal(images_number_parse("1"), 1);
    assert_true(images_number_parse("18446744073709551615") == UINT64_MAX);
    static const char *const bad[] = {
        "", "0", "01", "1x", " 1", "-1", "18446744073709551616", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(images_number_parse(bad[i]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(crashes_leave_nothing_half, set_up, tear_down),
        cmocka_unit_test_setup_teardown(layers_are_stacked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stack_grows_no_deeper, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_others_stand_on_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_oldest_go_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_store_is_another_world, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_images_are_named, set_up, tear_down),
        cmocka_unit_test(numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
