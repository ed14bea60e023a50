/* An image that arrives becomes the tree that it was made of, whatever broke on the way. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/fdio.h"
#include "rig.h"
#include "treecmp.h"

struct state {
    struct rig rig;
    char sample[2][128];
    int fd[2]; /* of version 1 and 2 */
    struct tree_image image[2];
};

static void make_sample(struct state *s, int k)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(s->sample[k], sizeof(s->sample[k]), "%s/bladed-sample-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(s->sample[k]));
    s->fd[k] = open(s->sample[k], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    tree_sample_make(s->fd[k], (unsigned)k + 1);
    tree_image_make(s->fd[k], &s->image[k]);
}

static int set_up(void **out)
{
    struct state *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    rig_open(&s->rig, NULL);
    make_sample(s, 0);
    make_sample(s, 1);
    *out = s;
    return 0;
}

static int tear_down(void **in)
{
    struct state *s = *in;
    rig_close(&s->rig);
    for (int k = 0; k < 2; k++) {
        tree_image_free(&s->image[k]);
        close(s->fd[k]);
        assert_int_equal(tree_remove(AT_FDCWD, s->sample[k]), 0);
    }
    free(s);
    return 0;
}

static void assert_same(struct state *s, uint64_t number, int k)
{
    char why[512];
    OWNED_FD tree = rig_tree(&s->rig, number);
    struct stat st;
    /* an overlay says 1 of directories of several trees */
    const struct treecmp_options options = {.skip_nlink_of_dirs = rig_depth(&s->rig, number) > 1};
    if (!treecmp(s->fd[k], tree, &options, why))
        fail_msg("%s", why);
    assert_int_equal(fstat(tree, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0755);
    assert_int_equal(st.st_uid, 0);
    assert_true(images_has(s->rig.images, number));
}

static void assert_good(struct state *s)
{
    if (s->rig.result != 0)
        fail_msg("%d: %s", s->rig.result, s->rig.err.message);
}

static void arrives_whole(void **in)
{
    struct state *s = *in;
    rig_load(&s->rig, 1, &s->image[0], 0, NULL, NULL);
    assert_good(s);
    assert_same(s, 1, 0);
    rig_reopen(&s->rig);
    assert_same(s, 1, 0);
}

static void takes_the_difference(void **in)
{
    struct state *s = *in;
    rig_load(&s->rig, 1, &s->image[0], 0, NULL, NULL);
    uint32_t all = s->rig.sent_chunks;
    rig_load(&s->rig, 2, &s->image[1], 1, &s->image[0], NULL);
    assert_good(s);
    assert_same(s, 2, 1);
    assert_same(s, 1, 0);
    assert_true(s->rig.sent_chunks < all / 4);
}

static void damaged_seeds_are_wanted(void **in)
{
    struct state *s = *in;
    rig_load(&s->rig, 1, &s->image[0], 0, NULL, NULL);
    OWNED_FD tree = rig_tree(&s->rig, 1);
    OWNED_FD big = openat(tree, "var/big", O_WRONLY | O_CLOEXEC);
    OWNED_FD again = openat(tree, "var/big-again", O_WRONLY | O_CLOEXEC);
    assert_int_equal(fd_write_at(big, "damage", 6, 1000000), 0);
    assert_int_equal(fd_write_at(again, "damage", 6, 1000000), 0);
    assert_int_equal(unlinkat(tree, "etc/one", 0), 0);
    rig_load(&s->rig, 2, &s->image[1], 1, &s->image[0], NULL);
    assert_good(s);
    assert_same(s, 2, 1);
}

static void seeds_of_unknown_images_are_wanted(void **in)
{
    struct state *s = *in;
    rig_load(&s->rig, 2, &s->image[1], 99, &s->image[0], NULL);
    assert_good(s);
    assert_same(s, 2, 1);
}

static void goes_on_after_breaks(void **in)
{
    struct state *s = *in;
    uint32_t chunks = blob_image_chunks(s->image[0].full), total = 0;
    static const uint32_t steps[] = {1, 1, 7, 20, 3};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        const struct rig_faults f = {.stop_after = steps[i]};
        assert_int_equal(rig_load(&s->rig, 1, &s->image[0], 0, NULL, &f), -ECANCELED);
        total += s->rig.sent_chunks;
        assert_false(images_has(s->rig.images, 1));
        if (i % 2)
            rig_reopen(&s->rig);
        const uint64_t *numbers;
        uint64_t partial;
        assert_int_equal(images_list(s->rig.images, &numbers, &partial), 0);
        assert_int_equal(partial, 1);
    }
    rig_load(&s->rig, 1, &s->image[0], 0, NULL, NULL);
    assert_good(s);
    assert_same(s, 1, 0);
    assert_int_equal(s->rig.sent_chunks, chunks - total);
}

static void a_spoiled_rest_is_not_trusted(void **in)
{
    struct state *s = *in;
    const struct rig_faults f = {.stop_after = blob_image_chunks(s->image[0].full) - 1};
    assert_int_equal(rig_load(&s->rig, 1, &s->image[0], 0, NULL, &f), -ECANCELED);
    OWNED_FD tree = openat(s->rig.dirfd, "incoming/1/tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OWNED_FD big = openat(tree, "var/big", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(fd_write_at(big, "damage", 6, 1000000), 0);
    assert_int_equal(ftruncate(big, 2000000), 0);
    (void)!unlinkat(tree, "bin/f040", 0);
    rig_reopen(&s->rig);
    rig_load(&s->rig, 1, &s->image[0], 0, NULL, NULL);
    assert_good(s);
    assert_same(s, 1, 0);
}

static void another_image_replaces_the_rest(void **in)
{
    struct state *s = *in;
    const struct rig_faults f = {.stop_after = 30};
    assert_int_equal(rig_load(&s->rig, 1, &s->image[0], 0, NULL, &f), -ECANCELED);
    rig_load(&s->rig, 2, &s->image[1], 0, NULL, NULL);
    assert_good(s);
    assert_same(s, 2, 1);
    struct stat st;
    assert_int_equal(fstatat(s->rig.dirfd, "incoming/1", &st, 0), -1);
    /* The same number with another descriptor is another image too. */
    assert_int_equal(rig_load(&s->rig, 3, &s->image[0], 0, NULL, &f), -ECANCELED);
    rig_load(&s->rig, 3, &s->image[1], 0, NULL, NULL);
    assert_good(s);
    assert_same(s, 3, 1);
}

static void bad_peers_fail_alone(void **in)
{
    struct state *s = *in;
    static const struct rig_faults faults[] = {
        {.bad_content = true},     {.out_of_range = true},   {.unwanted = true},
        {.long_descriptor = true}, {.bad_descriptor = true}, {.bad_seeds = true},
    };
    rig_load(&s->rig, 1, &s->image[0], 0, NULL, NULL);
    assert_good(s);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        rig_load(&s->rig, 2, &s->image[1], 1, faults[i].bad_seeds ? &s->image[0] : NULL, &faults[i]);
        if (s->rig.result != -EBADMSG)
            fail_msg("fault %zu: %d %s", i, s->rig.result, s->rig.err.message);
        assert_non_null(strstr(s->rig.err.message, "web@3"));
        assert_false(images_has(s->rig.images, 2));
    }
    const struct rig_faults wrong_load = {.wrong_load = true};
    rig_load(&s->rig, 2, &s->image[1], 0, NULL, &wrong_load);
    assert_good(s);
    assert_same(s, 2, 1);
}

static void announced_sizes_are_checked(void **in)
{
    struct state *s = *in;
    static const struct wire_prepare bad[] = {
        {.load = 1, .image = 1, .descriptor_raw_bytes = UINT64_MAX, .descriptor_bytes = 10},
        {.load = 1, .image = 1, .descriptor_raw_bytes = 1000, .descriptor_bytes = UINT64_MAX},
        {.load = 1, .image = 1, .descriptor_raw_bytes = 0, .descriptor_bytes = 10},
        {.load = 1, .image = 0, .descriptor_raw_bytes = 10, .descriptor_bytes = 10},
    };
    const struct receive_events events = {0};
    struct receive *r = NULL;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err err = {0};
        assert_int_equal(receive_new(s->rig.images, s->rig.path, &bad[i], &events, NULL, &r, &err),
                         -EMSGSIZE);
        assert_null(r);
    }
}

/* A directory `levels` deep, each name 200 bytes, a file at its end. */
static void make_deep(int top, unsigned levels)
{
    char name[201];
    memset(name, 'd', 200);
    name[200] = '\0';
    int at = dup(top);
    for (unsigned i = 0; i < levels; i++) {
        assert_int_equal(mkdirat(at, name, 0751), 0);
        int next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(at);
        at = next;
        assert_true(at >= 0);
    }
    OWNED_FD file = openat(at, "bottom", O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    assert_int_equal(fd_write(file, "deep", 4), 0);
    assert_int_equal(linkat(at, "bottom", top, "linked", 0), 0);
    close(at);
}

static void deep_trees_arrive(void **in)
{
    struct state *s = *in;
    struct tree_image deep;
    assert_int_equal(mkdirat(s->fd[1], "deep", 0755), 0);
    OWNED_FD top = openat(s->fd[1], "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    make_deep(top, 120);
    tree_image_make(top, &deep);
    rig_load(&s->rig, 1, &deep, 0, NULL, NULL);
    tree_image_free(&deep);
    assert_good(s);
    char why[512];
    OWNED_FD tree = rig_tree(&s->rig, 1);
    if (!treecmp(top, tree, NULL, why))
        fail_msg("%s", why);
}

static void a_full_disk_fails_the_load(void **in)
{
    struct state *s = *in;
    if (geteuid() != 0)
        skip();
    char path[160];
    snprintf(path, sizeof(path), "%s/small", s->sample[0]);
    assert_int_equal(mkdir(path, 0700), 0);
    if (mount("tmpfs", path, "tmpfs", 0, "size=4m") < 0) {
        rmdir(path);
        skip();
    }
    struct rig small;
    rig_open(&small, path);
    rig_load(&small, 1, &s->image[0], 0, NULL, NULL); /* clearly too small: refused early */
    int early = small.result;
    bool names_it = strstr(small.err.message, small.path) != NULL;
    uint32_t sent = small.sent_chunks;
    struct stat st;
    int left = fstatat(small.dirfd, "incoming/1", &st, 0);
    rig_close(&small);
    assert_int_equal(umount(path), 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(early, -ENOSPC);
    assert_true(names_it);
    assert_int_equal(sent, 0);
    assert_int_equal(left, -1);
}

static void what_is_granted_is_the_limit(void **in)
{
    struct state *s = *in;
    struct tree_image large;
    assert_int_equal(mkdirat(s->fd[1], "large", 0755), 0);
    OWNED_FD top = openat(s->fd[1], "large", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OWNED_FD file = openat(top, "noise", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    OWNED_FD random = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    static uint8_t piece[1 << 20];
    for (int i = 0; i < 24; i++) {
        assert_int_equal(read(random, piece, sizeof(piece)), sizeof(piece));
        assert_int_equal(fd_write(file, piece, sizeof(piece)), 0);
    }
    tree_image_make(top, &large);
    rig_load(&s->rig, 1, &large, 0, NULL, NULL); /* three windows: credit comes again */
    assert_good(s);
    assert_true(s->rig.sent_bytes > 2 * RECEIVE_WINDOW_BYTES);
    tree_image_free(&large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(arrives_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_the_difference, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_seeds_are_wanted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(seeds_of_unknown_images_are_wanted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(goes_on_after_breaks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_spoiled_rest_is_not_trusted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_image_replaces_the_rest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_peers_fail_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(announced_sizes_are_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(deep_trees_arrive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_fails_the_load, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_granted_is_the_limit, set_up, tear_down),
    };
    if (geteuid() != 0) {
        print_message("writing a tree with its owners needs root\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
