/* Finding the program of a tree: a small one of links and files in /tmp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "exec_find.h"

struct tree {
    char dir[64];
    int fd;
};

static void put(const struct tree *t, const char *name, const void *bytes, size_t len_bytes, mode_t mode)
{
    OWNED_FD fd = openat(t->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fd_write(fd, bytes, len_bytes), 0);
    assert_int_equal(fchmod(fd, mode), 0);
}

/* This test's own program, with what it needs: an ELF file for this machine. */
static void put_elf(const struct tree *t, const char *name, unsigned machine_xor)
{
    OWNED_BUF struct buf self = BUF_EMPTY;
    OWNED_FD fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    uint8_t *room = buf_room(&self, 65536);
    assert_non_null(room);
    ssize_t n = fd_read_at(fd, room, 65536, 0);
    assert_true(n > 4096);
    room[18] ^= (uint8_t)machine_xor; /* e_machine */
    put(t, name, room, (size_t)n, 0755);
}

static int setup(void **state)
{
    static const char *const dirs[] = {"bin", "sbin", "usr", "usr/bin", "usr/lib", "usr/lib/systemd",
                                       "etc", "srv"};
    struct tree *t = calloc(1, sizeof(*t));
    if (!t)
        return -1;
    snprintf(t->dir, sizeof(t->dir), "/tmp/bladed-find-XXXXXX");
    t->fd = mkdtemp(t->dir) ? open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        if (mkdirat(t->fd, dirs[i], 0755) < 0)
            return -1;
    put(t, "bin/busybox", "#!/bin/busybox\n", 15, 0755);
    put(t, "bin/hidden", "#!/bin/busybox\n", 15, 0644);
    put(t, "usr/bin/tool", "#!/bin/busybox x\n", 17, 0755);
    put(t, "usr/lib/systemd/systemd", "#!/bin/busybox\n", 15, 0755);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct tree *t = *state;
    close(t->fd);
    int r = tree_remove(AT_FDCWD, t->dir);
    free(t);
    return r;
}

static enum exec_kind kind_of(const struct tree *t, const char *command)
{
    struct exec_plan plan;
    struct err err = {0};
    if (exec_find(t->fd, command, NULL, &plan, &err) < 0)
        fail_msg("%s: %s", command, err.message);
    enum exec_kind kind = plan.kind;
    exec_plan_free(&plan);
    return kind;
}

static void refused(const struct tree *t, const char *command, char *const *binds, int code,
                    const char *words)
{
    struct exec_plan plan = {0};
    struct err err = {0};
    assert_int_equal(exec_find(t->fd, command, binds, &plan, &err), -code);
    if (!strstr(err.message, words))
        fail_msg("'%s' has no '%s'", err.message, words);
    assert_null(plan.words.at);
}

static void what_kind_of_program(void **state)
{
    struct tree *t = *state;
    assert_int_equal(kind_of(t, ""), EXEC_NOTHING);
    assert_int_equal(kind_of(t, "tool -x"), EXEC_PROGRAM);
    assert_int_equal(kind_of(t, "/bin/busybox"), EXEC_PROGRAM);
    assert_int_equal(kind_of(t, "bin/busybox"), EXEC_PROGRAM);
    assert_int_equal(kind_of(t, "/usr/lib/systemd/systemd --user"), EXEC_SYSTEMD);

    /* sbin/init: an absolute link stays in the tree. */
    assert_int_equal(symlinkat("/usr/bin/tool", t->fd, "sbin/init"), 0);
    assert_int_equal(kind_of(t, ""), EXEC_PROGRAM);
    assert_int_equal(unlinkat(t->fd, "sbin/init", 0), 0);
    assert_int_equal(symlinkat("../bin/busybox", t->fd, "sbin/init"), 0);
    assert_int_equal(kind_of(t, ""), EXEC_INIT);
    assert_int_equal(unlinkat(t->fd, "sbin/init", 0), 0);
    assert_int_equal(symlinkat("/../../usr/lib/systemd/systemd", t->fd, "sbin/init"), 0);
    assert_int_equal(kind_of(t, " "), EXEC_SYSTEMD);
    assert_int_equal(unlinkat(t->fd, "sbin/init", 0), 0);
    put(t, "sbin/init", "#!/bin/busybox\n", 15, 0755);
    assert_int_equal(kind_of(t, "/sbin/init"), EXEC_PROGRAM);
    put(t, "etc/inittab", "", 0, 0644);
    assert_int_equal(kind_of(t, "/sbin/init"), EXEC_INIT);
}

static void what_is_wrong_with_it(void **state)
{
    struct tree *t = *state;
    refused(t, "nothing", NULL, ENOENT, "nothing: no such program in the image");
    refused(t, "hidden", NULL, EACCES, "hidden: found in ");
    refused(t, "/bin/none", NULL, ENOENT, "/bin/none: no such file in the image");
    refused(t, "/bin/busybox/x", NULL, ENOENT, "no such file");
    refused(t, "/srv", NULL, EACCES, "a directory");
    refused(t, "'a", NULL, EINVAL, "single quote");
    /* The host's files are not the image's. */
    refused(t, "/proc/self/exe", NULL, ENOENT, "no such file");
    put(t, "bin/script", "#! /usr/bin/perl -w\n", 20, 0755);
    refused(t, "/bin/script", NULL, ENOENT, "its interpreter /usr/bin/perl is not in the image");
    assert_int_equal(symlinkat("loop", t->fd, "bin/loop"), 0);
    refused(t, "/bin/loop", NULL, ELOOP, "cannot be looked up");
}

static void programs_of_the_machine(void **state)
{
    struct tree *t = *state;
    put_elf(t, "bin/foreign", 0x55);
    put_elf(t, "bin/dynamic", 0);
    put(t, "bin/text", "hello", 5, 0755);
    put(t, "bin/empty", "", 0, 0755);
    refused(t, "foreign", NULL, ENOEXEC, "for another kind of machine");
    refused(t, "text", NULL, ENOEXEC, "exec format error");
    refused(t, "empty", NULL, ENOEXEC, "exec format error");
    refused(t, "dynamic", NULL, ENOENT, "bin/dynamic: its loader /");
}

static void binds_are_not_looked_at(void **state)
{
    struct tree *t = *state;
    char *const binds[] = {(char[]){"/opt:/srv/tools/"}, NULL};
    struct exec_plan plan;
    assert_int_equal(exec_find(t->fd, "/srv/tools/x", binds, &plan, NULL), 0);
    assert_int_equal(plan.kind, EXEC_PROGRAM);
    exec_plan_free(&plan);
    refused(t, "/srv/toolsx", binds, ENOENT, "no such file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_kind_of_program, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(programs_of_the_machine, setup, teardown),
        cmocka_unit_test_setup_teardown(binds_are_not_looked_at, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
