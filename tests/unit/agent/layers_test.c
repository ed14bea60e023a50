/* An image that is written as a layer above another: an overlay of the two shows exactly the image's tree. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <cmocka.h>

#include "base/fdio.h"
#include "rig.h"
#include "seed_copy.h"
#include "treecmp.h"

#define TREES_MAX 8

struct state {
    struct rig rig;
    char path[TREES_MAX][128];
    int fd[TREES_MAX];
    struct tree_image image[TREES_MAX];
    int count;
};

static int set_up(void **out)
{
    struct state *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    rig_open(&s->rig, NULL);
    *out = s;
    return 0;
}

static void drop_trees(struct state *s)
{
    while (s->count > 0) {
        s->count--;
        tree_image_free(&s->image[s->count]);
        close(s->fd[s->count]);
        assert_int_equal(tree_remove(AT_FDCWD, s->path[s->count]), 0);
    }
}

static int tear_down(void **in)
{
    struct state *s = *in;
    drop_trees(s);
    rig_close(&s->rig);
    free(s);
    return 0;
}

/* ---- trees ---- */

static void put(int top, const char *path, size_t len, unsigned seed)
{
    OWNED uint8_t *bytes = malloc(len + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)((i * 2654435761u + (uint32_t)seed * 40503u) >> 13);
    OWNED_FD fd = openat(top, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fd_write(fd, bytes, len), 0);
}

static void dir(int top, const char *path)
{
    assert_int_equal(mkdirat(top, path, 0755), 0);
}

static void note(int top, const char *path, const char *value)
{
    OWNED_FD fd = openat(top, path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fsetxattr(fd, "user.note", value, strlen(value), 0), 0);
}

static void make_base(int top)
{
    static const char *const dirs[] = {"proc",  "sys",       "dev",        "a",       "a/deep",   "a/deep/er",
                                       "links", "links/sub", "links/keep", "renamed", "plain",    "plain/in",
                                       "empty", "full",      "full/sub",   "other",   "untouched"};
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        dir(top, dirs[i]);
    put(top, "big", 900000, 1);
    put(top, "a/one", 3000, 2);
    put(top, "a/deep/two", 4000, 3);
    put(top, "a/deep/er/three", 70000, 4);
    put(top, "links/first", 5000, 5);
    assert_int_equal(linkat(top, "links/first", top, "links/second", 0), 0);
    assert_int_equal(linkat(top, "links/first", top, "links/sub/third", 0), 0);
    put(top, "links/keep/x", 1000, 6);
    assert_int_equal(linkat(top, "links/keep/x", top, "links/keep/y", 0), 0);
    put(top, "renamed/file", 2000, 7);
    put(top, "plain/in/file", 2000, 8);
    put(top, "plain/file", 2000, 9);
    put(top, "full/sub/x", 2000, 10);
    put(top, "full/y", 2000, 11);
    put(top, "other/z", 2000, 12);
    put(top, "untouched/w", 2000, 13);
    put(top, "nothing", 0, 0);
    note(top, "other/z", "old");
    note(top, "other", "old");
    assert_int_equal(symlinkat("a/one", top, "sym"), 0);
    assert_int_equal(mknodat(top, "dev/null", S_IFCHR | 0666, makedev(1, 3)), 0);
    assert_int_equal(mknodat(top, "fifo", S_IFIFO | 0600, 0), 0);
}

/* Everything gets a time that its name gives it. */
static void set_times(int top)
{
    OWNED_DIR list = fdopendir(openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(list);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1600000000, .tv_nsec = 987654000}};
    for (const struct dirent *e; (e = readdir(list)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        OWNED_FD below = openat(top, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0)
            set_times(below);
        times[1].tv_sec = 1600000000 + e->d_name[0];
        assert_int_equal(utimensat(top, e->d_name, times, AT_SYMLINK_NOFOLLOW), 0);
    }
    times[1].tv_sec = 1600000000;
    assert_int_equal(futimens(top, times), 0);
}

/* ---- changes ---- */

static void rm(int top, const char *path)
{
    assert_int_equal(tree_remove(top, path), 0);
}

static void change_nothing(int top)
{
    (void)top;
}
static void change_content(int top)
{
    put(top, "a/deep/two", 4000, 99);
}
static void change_mode(int top)
{
    assert_int_equal(fchmodat(top, "a/one", 04755, 0), 0);
}
static void change_owner(int top)
{
    assert_int_equal(fchownat(top, "plain", 12, 34, 0), 0);
}
static void remove_one(int top)
{
    rm(top, "a/one");
}
static void add_one(int top)
{
    put(top, "a/deep/added", 100, 50);
}
static void add_to_the_root(int top)
{
    put(top, "added", 100, 51);
}
static void add_dirs(int top)
{
    dir(top, "new");
    dir(top, "new/er");
    put(top, "new/er/file", 100, 52);
}
static void file_to_dir(int top)
{
    rm(top, "a/one");
    dir(top, "a/one");
    put(top, "a/one/in", 100, 53);
}
static void dir_to_file(int top)
{
    rm(top, "full");
    put(top, "full", 100, 54);
}
static void dir_to_symlink(int top)
{
    rm(top, "full");
    assert_int_equal(symlinkat("plain", top, "full"), 0);
}
static void symlink_to_dir(int top)
{
    rm(top, "sym");
    dir(top, "sym");
}
static void retarget(int top)
{
    rm(top, "sym");
    assert_int_equal(symlinkat("a/two", top, "sym"), 0);
}
static void rename_dir(int top)
{
    assert_int_equal(renameat(top, "renamed", top, "named"), 0);
}
static void swap_dirs(int top)
{
    assert_int_equal(renameat(top, "plain", top, "kept"), 0);
    assert_int_equal(renameat(top, "full", top, "plain"), 0);
    assert_int_equal(renameat(top, "kept", top, "full"), 0);
}
static void replace_dir(int top)
{
    rm(top, "full");
    dir(top, "full");
    put(top, "full/else", 10, 55);
}
static void empty_a_dir(int top)
{
    rm(top, "full/sub");
    rm(top, "full/y");
}
static void remove_dirs(int top)
{
    rm(top, "empty");
    rm(top, "a");
}
static void link_added(int top)
{
    assert_int_equal(linkat(top, "links/first", top, "links/keep/fourth", 0), 0);
}
static void link_removed(int top)
{
    rm(top, "links/sub/third");
}
static void link_moved(int top)
{
    assert_int_equal(renameat(top, "links/second", top, "a/second"), 0);
}
static void link_broken(int top)
{
    rm(top, "links/second");
    put(top, "links/second", 5000, 5);
}
static void links_joined(int top)
{
    rm(top, "full/y");
    assert_int_equal(linkat(top, "other/z", top, "full/y", 0), 0);
}
static void change_linked(int top)
{
    put(top, "links/keep/y", 1000, 56);
}
static void xattr_of_a_file(int top)
{
    note(top, "other/z", "new");
}
static void xattr_of_a_dir(int top)
{
    note(top, "other", "new");
}
static void xattr_of_the_root(int top)
{
    note(top, ".", "new");
}
static void xattr_removed(int top)
{
    OWNED_FD fd = openat(top, "other", O_RDONLY | O_CLOEXEC);
    assert_int_equal(fremovexattr(fd, "user.note"), 0);
}
static void deep_change(int top)
{
    put(top, "a/deep/er/three", 70001, 4);
}
static void device_changed(int top)
{
    rm(top, "dev/null");
    assert_int_equal(mknodat(top, "dev/null", S_IFCHR | 0666, makedev(1, 5)), 0);
}
static void fifo_to_file(int top)
{
    rm(top, "fifo");
    put(top, "fifo", 0, 0);
}
static void grow_by_a_hole(int top)
{
    OWNED_FD fd = openat(top, "nothing", O_WRONLY | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
}

typedef void (*change_fn)(int top);
static const struct {
    const char *name;
    change_fn change;
} changes[] = {
    {"nothing", change_nothing},
    {"content", change_content},
    {"mode", change_mode},
    {"owner of a directory", change_owner},
    {"removed", remove_one},
    {"added", add_one},
    {"added to the root", add_to_the_root},
    {"directories added", add_dirs},
    {"file to directory", file_to_dir},
    {"directory to file", dir_to_file},
    {"directory to symlink", dir_to_symlink},
    {"symlink to directory", symlink_to_dir},
    {"target", retarget},
    {"directory renamed", rename_dir},
    {"directories swapped", swap_dirs},
    {"directory replaced", replace_dir},
    {"directory emptied", empty_a_dir},
    {"directories removed", remove_dirs},
    {"link added", link_added},
    {"link removed", link_removed},
    {"link moved", link_moved},
    {"link broken", link_broken},
    {"links joined", links_joined},
    {"linked content", change_linked},
    {"xattr of a file", xattr_of_a_file},
    {"xattr of a directory", xattr_of_a_dir},
    {"xattr of the root", xattr_of_the_root},
    {"xattr removed", xattr_removed},
    {"deep", deep_change},
    {"device", device_changed},
    {"fifo to file", fifo_to_file},
    {"hole", grow_by_a_hole},
};
#define CHANGES (sizeof(changes) / sizeof(changes[0]))

/* A tree with some of the changes, its times set before or after the last of them. Returns its index. */
static int make(struct state *s, const change_fn *apply, size_t count, bool times_last)
{
    int k = s->count++;
    const char *tmp = getenv("TMPDIR");
    snprintf(s->path[k], sizeof(s->path[k]), "%s/bladed-layers-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(s->path[k]));
    s->fd[k] = open(s->path[k], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    make_base(s->fd[k]);
    for (size_t i = 0; i < count; i++) {
        if (i + 1 == count && !times_last)
            set_times(s->fd[k]);
        apply[i](s->fd[k]);
    }
    if (count == 0 || times_last)
        set_times(s->fd[k]);
    tree_image_make(s->fd[k], &s->image[k]);
    return k;
}

static void load(struct state *s, uint64_t number, int k, uint64_t seed, int seed_k)
{
    rig_load(&s->rig, number, &s->image[k], seed, seed ? &s->image[seed_k] : NULL, NULL);
    if (s->rig.result != 0)
        fail_msg("image %llu: %d: %s", (unsigned long long)number, s->rig.result, s->rig.err.message);
    assert_true(s->rig.done_bytes == s->rig.total_bytes);
}

static void assert_shows(struct state *s, uint64_t number, int k, const char *what)
{
    char why[512];
    OWNED_FD tree = rig_tree(&s->rig, number);
    const struct treecmp_options options = {.skip_nlink_of_dirs = true};
    struct stat st;
    if (!treecmp(s->fd[k], tree, &options, why))
        fail_msg("%s: %s", what, why);
    assert_int_equal(fstat(tree, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0755);
}

static bool in_layer(const struct state *s, uint64_t number, const char *path)
{
    char full[256];
    struct stat st;
    snprintf(full, sizeof(full), "images/%llu/tree/%s", (unsigned long long)number, path);
    return fstatat(s->rig.dirfd, full, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool no_layers_here(const struct state *s)
{
    return seed_can_clone(s->rig.dirfd);
}

static void drop_all(struct state *s)
{
    for (uint64_t n = 1; n <= 6; n++)
        images_drop(s->rig.images, n);
    drop_trees(s);
}

/* ---- tests ---- */

static void every_change_alone(void **in)
{
    struct state *s = *in;
    if (no_layers_here(s))
        skip();
    for (size_t i = 0; i < 2 * CHANGES; i++) {
        size_t c = i / 2;
        int base = make(s, NULL, 0, true), next = make(s, &changes[c].change, 1, i % 2);
        load(s, 1, base, 0, 0);
        load(s, 2, next, 1, base);
        assert_int_equal(rig_depth(&s->rig, 2), 2);
        assert_shows(s, 2, next, changes[c].name);
        assert_shows(s, 1, base, changes[c].name);
        assert_false(in_layer(s, 2, "big"));
        assert_false(in_layer(s, 2, "untouched"));
        load(s, 3, base, 2, next); /* and back */
        assert_int_equal(s->rig.sent_chunks, 0);
        assert_shows(s, 3, base, changes[c].name);
        drop_all(s);
    }
}

static void changes_upon_changes(void **in)
{
    struct state *s = *in;
    if (no_layers_here(s))
        skip();
    for (size_t c = 0; c < CHANGES; c++) {
        const change_fn apply[2] = {changes[c].change, changes[(c * 5 + 3) % CHANGES].change};
        if (apply[1] == remove_dirs || apply[0] == remove_dirs)
            continue; /* the others need what it removes */
        if ((apply[0] == dir_to_file || apply[0] == dir_to_symlink || apply[0] == empty_a_dir ||
             apply[0] == replace_dir || apply[0] == swap_dirs) &&
            (apply[1] == empty_a_dir || apply[1] == links_joined))
            continue;
        if (apply[0] == remove_one && apply[1] == change_mode)
            continue;
        int base = make(s, NULL, 0, true), one = make(s, apply, 1, true), two = make(s, apply, 2, false);
        load(s, 1, base, 0, 0);
        load(s, 2, one, 1, base);
        images_drop(s->rig.images, 1); /* stays below 2, but nothing new is put on it */
        load(s, 3, two, 2, one);
        assert_int_equal(rig_depth(&s->rig, 3), 3);
        assert_shows(s, 3, two, changes[c].name);
        rig_reopen(&s->rig);
        assert_shows(s, 3, two, changes[c].name);
        images_drop(s->rig.images, 1); /* who drops says so again after a restart */
        images_drop(s->rig.images, 2);
        load(s, 4, two, 3, two); /* too deep for another: a whole tree, copied through the stack */
        assert_int_equal(rig_depth(&s->rig, 4), 1);
        assert_int_equal(s->rig.sent_chunks, 0);
        assert_shows(s, 4, two, changes[c].name);
        images_drop(s->rig.images, 3);
        assert_false(in_layer(s, 1, "big")); /* nobody stands on it any more */
        assert_shows(s, 4, two, changes[c].name);
        drop_all(s);
    }
}

static void change_most(int top)
{
    put(top, "big", 900000, 70);
}

static void what_does_not_pay_is_whole(void **in)
{
    struct state *s = *in;
    const change_fn most = change_most, gone = remove_dirs;
    int base = make(s, NULL, 0, true), other = make(s, &most, 1, true), small = make(s, &gone, 1, true);
    load(s, 1, base, 0, 0);
    load(s, 2, other, 1, base);
    assert_int_equal(rig_depth(&s->rig, 2), 1);
    assert_shows(s, 2, other, "most");
    if (no_layers_here(s))
        skip();
    load(s, 3, small, 2, other); /* the base that is most alike, not the one that is a seed */
    char dirs[IMAGES_STACK_MAX][64];
    assert_int_equal(images_lowerdirs(s->rig.images, 3, dirs), 2);
    assert_string_equal(dirs[1], "images/1/tree");
    assert_shows(s, 3, small, "less");
}

static void remove_proc(int top)
{
    rm(top, "proc");
}

static void mount_points_are_not_hidden(void **in)
{
    struct state *s = *in;
    const change_fn gone = remove_proc;
    int base = make(s, NULL, 0, true), next = make(s, &gone, 1, true);
    load(s, 1, base, 0, 0);
    load(s, 2, next, 1, base);
    assert_int_equal(rig_depth(&s->rig, 2), 1);
    assert_shows(s, 2, next, "proc");
}

static void many_new(int top)
{
    for (unsigned i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof(name), "a/deep/new%u", i);
        put(top, name, 3000 + i, 200 + i);
    }
    rm(top, "full");
    put(top, "links/second", 6000, 300);
}

static void goes_on_as_a_layer(void **in)
{
    struct state *s = *in;
    if (no_layers_here(s))
        skip();
    const change_fn many = many_new;
    int base = make(s, NULL, 0, true), next = make(s, &many, 1, false);
    const struct rig_faults f = {.stop_after = 5};
    load(s, 1, base, 0, 0);
    uint32_t sent = 0;
    for (int i = 0; i < 3; i++) { /* what stays below is not wanted, seeds or not */
        assert_int_equal(rig_load(&s->rig, 2, &s->image[next], 0, NULL, &f), -ECANCELED);
        sent += s->rig.sent_chunks;
        rig_reopen(&s->rig);
    }
    load(s, 2, next, 0, 0);
    assert_int_equal(sent + s->rig.sent_chunks, 21);
    assert_int_equal(rig_depth(&s->rig, 2), 2);
    assert_shows(s, 2, next, "resumed");
}

static void a_base_that_went_is_no_base(void **in)
{
    struct state *s = *in;
    if (no_layers_here(s))
        skip();
    const change_fn many = many_new;
    int base = make(s, NULL, 0, true), next = make(s, &many, 1, false);
    const struct rig_faults f = {.stop_after = 5};
    load(s, 1, base, 0, 0);
    assert_int_equal(rig_load(&s->rig, 2, &s->image[next], 0, NULL, &f), -ECANCELED);
    images_drop(s->rig.images, 1);
    load(s, 2, next, 0, 0);
    assert_int_equal(rig_depth(&s->rig, 2), 1);
    assert_shows(s, 2, next, "no base");
    /* A whole tree that was begun is gone on with, whatever came meanwhile. */
    assert_int_equal(rig_load(&s->rig, 3, &s->image[base], 2, &s->image[next], &f), 0);
    images_drop(s->rig.images, 2);
    images_drop(s->rig.images, 3);
    assert_int_equal(rig_load(&s->rig, 4, &s->image[base], 0, NULL, &f), -ECANCELED);
    assert_int_equal(rig_depth(&s->rig, 3), 0);
    load(s, 4, base, 0, 0);
    assert_int_equal(rig_depth(&s->rig, 4), 1);
    assert_shows(s, 4, base, "whole");
}

static void damage_below_is_not_taken(void **in)
{
    struct state *s = *in;
    if (no_layers_here(s))
        skip();
    for (int kind = 0; kind < 5; kind++) {
        const change_fn change = change_content;
        int base = make(s, NULL, 0, true), next = make(s, &change, 1, false);
        load(s, 1, base, 0, 0);
        {
            OWNED_FD below = openat(s->rig.dirfd, "images/1/tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (kind == 0)
                put(below, "untouched/w", 2000, 77); /* another time */
            else if (kind == 1)
                assert_int_equal(unlinkat(below, "links/second", 0), 0);
            else if (kind == 2)
                put(below, "other/strange", 10, 78); /* what nobody asked for must not shine through */
            else if (kind == 3)
                assert_int_equal(fchmodat(below, "full", 0700, 0), 0);
            else
                put(below, "strange", 10, 79);
        }
        load(s, 2, next, 1, base);
        assert_int_equal(rig_depth(&s->rig, 2), kind == 4 ? 1 : 2);
        assert_shows(s, 2, next, "damage");
        assert_int_equal(in_layer(s, 2, "untouched/w"), kind == 0 || kind == 4);
        drop_all(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_change_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changes_upon_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_does_not_pay_is_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mount_points_are_not_hidden, set_up, tear_down),
        cmocka_unit_test_setup_teardown(goes_on_as_a_layer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_base_that_went_is_no_base, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_below_is_not_taken, set_up, tear_down),
    };
    if (geteuid() != 0) {
        print_message("writing a tree with its owners needs root\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
