/* Files that somebody can still write to after their release: found by a read lease, settled when it can be
 * taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lingering.h"

struct scene {
    char path[64];
    int reads; /* open for reading only */
};

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    assert_non_null(scene);
    snprintf(scene->path, sizeof(scene->path), "/tmp/bladefs-lingering.XXXXXX");
    int fd = mkstemp(scene->path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 4096), 0);
    close(fd);
    scene->reads = open(scene->path, O_RDONLY | O_CLOEXEC);
    assert_true(scene->reads >= 0);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    close(scene->reads);
    unlink(scene->path);
    free(scene);
    return 0;
}

static void when_to_look_again(void **state)
{
    static const struct {
        int64_t since_ms, now_ms, next_ms;
    } rows[] = {
        {1000, 1000, 1002}, {1000, 1003, 1005}, {1000, 1100, 1150}, {1000, 2000, 2500}, {1000, 99000, 99500},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(lingering_next_ms(rows[i].since_ms, rows[i].now_ms), rows[i].next_ms);
}

/* Maps the file, shared and writable, and closes the descriptor. */
static void *map(const struct scene *scene)
{
    int fd = open(scene->path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(at != MAP_FAILED);
    close(fd);
    return at;
}

static void a_lease_tells_of_descriptors_and_of_mappings(void **state)
{
    struct scene *scene = *state;
    assert_true(lingering_is_over(scene->reads));
    int fd = open(scene->path, O_WRONLY | O_CLOEXEC);
    assert_false(lingering_is_over(scene->reads));
    close(fd);
    assert_true(lingering_is_over(scene->reads));
    void *at = map(scene);
    assert_false(lingering_is_over(scene->reads));
    munmap(at, 4096);
    assert_true(lingering_is_over(scene->reads));
}

static void count(void *arg, struct lingers *file)
{
    atomic_int *settled = arg;
    (void)file;
    ++*settled;
}

static bool within_ms(atomic_int *settled, int wanted, int ms)
{
    for (int i = 0; i < ms && *settled != wanted; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return *settled == wanted;
}

static void a_file_settles_when_its_mapping_goes(void **state)
{
    struct scene *scene = *state;
    struct lingering *lingering = NULL;
    struct lingers first = {.fd = scene->reads}, second = {.fd = scene->reads};
    atomic_int settled = 0;
    assert_int_equal(lingering_new(count, &settled, &lingering), 0);
    lingering_add(lingering, &first);
    assert_int_equal(settled, 1); /* at once: nobody writes */

    void *at = map(scene);
    lingering_add(lingering, &second);
    assert_false(within_ms(&settled, 2, 50));
    munmap(at, 4096);
    assert_true(within_ms(&settled, 2, 2000));
    lingering_free(lingering);
    assert_int_equal(settled, 2);
}

static void what_lingers_at_the_end_is_settled(void **state)
{
    struct scene *scene = *state;
    struct lingering *lingering = NULL;
    struct lingers file = {.fd = scene->reads};
    atomic_int settled = 0;
    void *at = map(scene);
    assert_int_equal(lingering_new(count, &settled, &lingering), 0);
    lingering_add(lingering, &file);
    lingering_free(lingering);
    assert_int_equal(settled, 1);
    munmap(at, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(when_to_look_again),
        cmocka_unit_test_setup_teardown(a_lease_tells_of_descriptors_and_of_mappings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_settles_when_its_mapping_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_lingers_at_the_end_is_settled, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
