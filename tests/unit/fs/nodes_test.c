/* The table of nodes over a directory of its own: what is kept, what is closed and opened again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fdio.h"
#include "nodes.h"

enum { FILES = 200, OPEN_MAX_UNUSED = 10 };

struct scene {
    char path[64];
    int dir;
    struct backing backing;
    struct nodes *nodes;
};

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    assert_non_null(scene);
    snprintf(scene->path, sizeof(scene->path), "/tmp/bladefs-nodes.XXXXXX");
    assert_non_null(mkdtemp(scene->path));
    scene->dir = open(scene->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(scene->dir >= 0);
    assert_int_equal(backing_open(scene->dir, &scene->backing), 0);
    assert_int_equal(nodes_new(&scene->backing, OPEN_MAX_UNUSED, &scene->nodes), 0);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    nodes_free(scene->nodes);
    backing_close(&scene->backing);
    close(scene->dir);
    assert_int_equal(tree_remove(AT_FDCWD, scene->path), 0);
    free(scene);
    return 0;
}

static uint64_t make(const struct scene *scene, const char *name)
{
    struct stat st;
    int fd = openat(scene->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    close(fd);
    return st.st_ino;
}

static struct node *learn(const struct scene *scene, const char *name, uint64_t inode)
{
    struct node *node = NULL;
    int fd = openat(scene->dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(node_learn(scene->nodes, fd, inode, NULL, &node), 0);
    return node;
}

static size_t open_fds(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static void a_node_lives_while_it_is_counted_or_used(void **state)
{
    const struct scene *scene = *state;
    uint64_t inode = make(scene, "a");
    assert_null(node_get(scene->nodes, inode));
    struct node *node = learn(scene, "a", inode);
    node_looked_up(scene->nodes, node);
    node_looked_up(scene->nodes, node);
    node_put(scene->nodes, node);
    node_forget(scene->nodes, inode, 1);
    node = node_get(scene->nodes, inode);
    assert_non_null(node);
    node_forget(scene->nodes, inode, 1);
    assert_true(node_fd(scene->nodes, node) >= 0); /* in use: not gone */
    node_put(scene->nodes, node);
    assert_null(node_get(scene->nodes, inode));
    node_forget(scene->nodes, inode, 1); /* an unknown one is no harm */
}

static void few_descriptors_do_for_many_nodes(void **state)
{
    const struct scene *scene = *state;
    uint64_t inodes[FILES];
    char name[16];
    if (!scene->backing.by_handle)
        skip();
    size_t before = open_fds();
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        inodes[i] = make(scene, name);
        struct node *node = learn(scene, name, inodes[i]);
        node_looked_up(scene->nodes, node);
        node_put(scene->nodes, node);
    }
    assert_true(open_fds() <= before + OPEN_MAX_UNUSED);
    for (int i = 0; i < FILES; i++) {
        struct node *node = node_get(scene->nodes, inodes[i]);
        struct stat st;
        assert_non_null(node);
        int fd = node_fd(scene->nodes, node);
        assert_true(fd >= 0);
        assert_int_equal(fstatat(fd, "", &st, AT_EMPTY_PATH), 0);
        assert_int_equal(st.st_ino, inodes[i]);
        node_put(scene->nodes, node);
    }
    assert_true(open_fds() <= before + OPEN_MAX_UNUSED);
    for (int i = 0; i < FILES; i++)
        node_forget(scene->nodes, inodes[i], 1);
    assert_int_equal(open_fds(), before);
}

static void what_lost_its_last_name_stays_open(void **state)
{
    const struct scene *scene = *state;
    uint64_t inode = make(scene, "gone");
    struct node *node = learn(scene, "gone", inode);
    node_looked_up(scene->nodes, node);
    node_put(scene->nodes, node);
    node_keep_open(scene->nodes, inode);
    assert_int_equal(unlinkat(scene->dir, "gone", 0), 0);
    char name[16];
    uint64_t others[OPEN_MAX_UNUSED * 2];
    for (int i = 0; i < OPEN_MAX_UNUSED * 2; i++) {
        snprintf(name, sizeof(name), "o%d", i);
        others[i] = make(scene, name);
        struct node *other = learn(scene, name, others[i]);
        node_looked_up(scene->nodes, other);
        node_put(scene->nodes, other);
    }
    node = node_get(scene->nodes, inode);
    assert_non_null(node);
    assert_true(node_fd(scene->nodes, node) >= 0);
    node_put(scene->nodes, node);
}

static void a_file_is_found_by_its_number(void **state)
{
    const struct scene *scene = *state;
    struct stat st;
    uint64_t inode = make(scene, "x");
    int fd = backing_open_inode(&scene->backing, inode);
    if (fd == -ESTALE)
        skip(); /* a file system, or a user, that cannot */
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_ino, inode);
    close(fd);
    assert_int_equal(unlinkat(scene->dir, "x", 0), 0);
    assert_int_equal(backing_open_inode(&scene->backing, inode), -ESTALE);
    assert_int_equal(backing_open_inode(&scene->backing, UINT64_MAX), -ESTALE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_node_lives_while_it_is_counted_or_used, set_up, tear_down),
        cmocka_unit_test_setup_teardown(few_descriptors_do_for_many_nodes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_lost_its_last_name_stays_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_is_found_by_its_number, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
