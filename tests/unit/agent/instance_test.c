/* Real instances: the programs of a busybox tree in real containers. Needs root, busybox-static, runc or
 * crun. */
#include "instance_rig.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"

static const char *sentence(const struct rig *rig)
{
    return instance_state(rig->instance)->sentence;
}

static void starts_and_tells_its_output(void **state)
{
    struct rig *rig = *state;
    rig_image(rig, 1, "sh -c 'echo slot=$BLADE_SLOT snapshot=$BLADE_SNAPSHOT home=$HOME pid=$$; sleep 1000'");
    rig_close(rig);
    rig_open(rig);
    int64_t began_ms = clock_boot_ms();
    assert_int_equal(rig_load(rig, 1, "web@3"), 0);
    print_message("started within %d ms\n", (int)(clock_boot_ms() - began_ms));
    assert_int_equal(rig_phase(rig), WIRE_PHASE_RUNNING);
    assert_int_equal(instance_state(rig->instance)->image, 1);
    assert_string_equal(instance_state(rig->instance)->snapshot, "web@3");
    assert_true(rig_sees(rig, "slot=rack-7 snapshot=web@3 home=/root pid="));
    assert_int_equal(rig_containers(rig), 1);

    /* The same again disturbs nothing. */
    pid_t supervisor = rig_supervisor(rig);
    assert_true(supervisor > 0);
    assert_int_equal(rig_load(rig, 1, "web@3"), 0);
    assert_int_equal(rig_supervisor(rig), supervisor);
}

static void an_end_with_zero_is_a_success(void **state)
{
    struct rig *rig = *state;
    rig_image(rig, 1, "echo done");
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(rig_load(rig, 1, "job@1"), 0);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_STOPPED);
    assert_true(rig_sees(rig, "done\n"));
}

static void a_bad_start_is_told_in_its_own_words(void **state)
{
    static const struct {
        const char *exec, *sentence;
    } rows[] = {
        {"sh -c 'echo trying; echo no config >&2; exit 3'", "web@1 ended with exit code 3: no config"},
        {"sh -c 'echo hm; kill -9 $$'", "web@1 was killed by signal 9 (SIGKILL): hm"},
        {"/bin/httpd -f", "web@1: /bin/httpd: no such file in the image"},
        {"httpd -f", "web@1: httpd: no such program in the image (searched "},
        {"/etc-file", "web@1: /etc-file: not an executable file"},
        {"/bin", "web@1: /bin: a directory, not a program"},
        {"/junk", "web@1: /junk: exec format error: neither an ELF file nor a script"},
        {"/script", "web@1: /script: its interpreter /usr/bin/python3 is not in the image"},
        {"sh -c 'x", "web@1: the command line has a single quote at character 7 that is not closed"},
    };
    struct rig *rig = *state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        rig_image(rig, i + 1, rows[i].exec);
        rig_put(rig, i + 1, "etc-file", "x", 0644);
        rig_put(rig, i + 1, "junk", "junk", 0755);
        rig_put(rig, i + 1, "script", "#!/usr/bin/python3 -u\n", 0755);
    }
    rig_close(rig);
    rig_open(rig);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(rig_load(rig, i + 1, "web@1"), -EIO);
        if (strncmp(rig->err.message, rows[i].sentence, strlen(rows[i].sentence)) != 0)
            fail_msg("'%s' instead of '%s'", rig->err.message, rows[i].sentence);
        assert_int_equal(rig_phase(rig), WIRE_PHASE_EMPTY);
    }
}

static void a_later_end_is_told(void **state)
{
    struct rig *rig = *state;
    rig_image(rig, 1, "sh -c 'sleep 0.2; echo out of memory; exit 5'");
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(rig_load(rig, 1, "web@9"), 0);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_RUNNING);
    assert_true(rig_reaches(rig, WIRE_PHASE_FAILED));
    assert_string_equal(sentence(rig), "web@9 ended with exit code 5: out of memory");
    /* And started again by a load of the same. */
    assert_int_equal(rig_load(rig, 1, "web@9"), 0);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_RUNNING);
}

static void nothing_to_start_is_loaded(void **state)
{
    struct rig *rig = *state;
    rig_image(rig, 1, NULL);
    rig_image(rig, 2, "");
    rig_put(rig, 2, "bin/greeter", "#!/bin/sh\necho from init; sleep 1000\n", 0755);
    char link[PATH_MAX];
    rig_tree_path(rig, 2, "sbin", link);
    assert_int_equal(mkdir(link, 0755), 0);
    rig_tree_path(rig, 2, "sbin/init", link);
    assert_int_equal(symlink("/bin/greeter", link), 0);
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(rig_load(rig, 1, "data@1"), 0);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_LOADED);
    assert_int_equal(rig_load(rig, 1, "data@1"), 0);
    assert_int_equal(rig_load(rig, 2, "os@1"), 0);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_RUNNING);
    assert_true(rig_sees(rig, "from init"));
}

static void stop_is_term_and_then_kill(void **state)
{
    struct rig *rig = *state;
    rig_image(rig, 1, "sh -c 'trap \"echo bye; exit 0\" TERM; echo up; while :; do sleep 0.02; done'");
    rig_image(rig, 2, "sh -c 'trap \"\" TERM; echo deaf; sleep 1000'");
    rig->options.grace_ms = 300;
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(rig_load(rig, 1, "web@1"), 0);
    assert_true(rig_sees(rig, "up\n"));
    assert_int_equal(rig_run(rig, WIRE_RUN_STOP), 0);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_STOPPED);
    assert_true(rig_sees(rig, "bye\n"));
    assert_int_equal(rig_run(rig, WIRE_RUN_STOP), 0);
    assert_int_equal(rig_run(rig, WIRE_RUN_START), 0);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_RUNNING);

    assert_int_equal(rig_load(rig, 2, "deaf@1"), 0);
    assert_true(rig_sees(rig, "deaf\n"));
    int64_t began_ms = clock_boot_ms();
    assert_int_equal(rig_run(rig, WIRE_RUN_STOP), 0);
    assert_true(clock_boot_ms() - began_ms >= 290);
    assert_true(clock_boot_ms() - began_ms < 2500);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_STOPPED);
    assert_int_equal(rig_containers(rig), 0);
}

static void what_it_wrote_is_kept(void **state)
{
    struct rig *rig = *state;
    rig_image(rig, 1, "sh -c 'echo x >>/count; echo lines: `cat /count`; mv /bin/true /t; sleep 1000'");
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(rig_load(rig, 1, "web@1"), 0);
    assert_true(rig_sees(rig, "lines: x\n"));
    assert_int_equal(rig_run(rig, WIRE_RUN_RESTART), 0);
    assert_true(rig_sees(rig, "lines: x x\n"));
    char path[PATH_MAX];
    rig_tree_path(rig, 1, "count", path);
    assert_int_equal(access(path, F_OK), -1);
    /* The mount points are no changes. */
    snprintf(path, sizeof(path), "%s/instance/current/upper/proc", rig->dir);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_bad_image_brings_the_old_one_back(void **state)
{
    struct rig *rig = *state;
    rig_image(rig, 1, "sh -c 'echo x >>/count; echo old: `cat /count`; sleep 1000'");
    rig_image(rig, 2, "sh -c 'echo new; sleep 1000'");
    rig_image(rig, 3, "sh -c 'echo broken; exit 9'");
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(rig_load(rig, 1, "web@1"), 0);
    assert_true(rig_sees(rig, "old: x\n"));
    assert_int_equal(rig_load(rig, 3, "web@3"), -EIO);
    assert_string_equal(rig->err.message, "web@3 ended with exit code 9: broken");
    assert_int_equal(rig_phase(rig), WIRE_PHASE_RUNNING);
    assert_int_equal(instance_state(rig->instance)->image, 1);
    assert_string_equal(instance_state(rig->instance)->snapshot, "web@1");
    assert_true(rig_sees(rig, "old: x x\n"));

    /* A good one takes its place, and what the old one wrote is set aside. */
    char path[PATH_MAX];
    assert_int_equal(rig_load(rig, 2, "web@2"), 0);
    assert_true(rig_sees(rig, "new\n"));
    snprintf(path, sizeof(path), "%s/instance/previous/upper/count", rig->dir);
    assert_int_equal(access(path, F_OK), 0);
    snprintf(path, sizeof(path), "%s/instance/current/upper/count", rig->dir);
    assert_int_equal(access(path, F_OK), -1);

    /* Not there at all: nothing is stopped. */
    pid_t supervisor = rig_supervisor(rig);
    assert_int_equal(rig_load(rig, 77, "web@77"), -ENOENT);
    assert_int_equal(rig_supervisor(rig), supervisor);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_RUNNING);
}

static void it_outlives_bladed(void **state)
{
    struct rig *rig = *state;
    rig_image(rig, 1,
              "sh -c 'echo first; while ! cat /dev/shm/go 2>/dev/null; do sleep 0.02; done; echo second; "
              "while ! cat /dev/shm/end 2>/dev/null; do sleep 0.02; done; echo third; exit 4'");
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(rig_load(rig, 1, "web@1"), 0);
    assert_true(rig_sees(rig, "first\n"));
    pid_t supervisor = rig_supervisor(rig);
    char go[64], end[64], child[64];
    OWNED_BUF struct buf pid = BUF_EMPTY;
    snprintf(child, sizeof(child), "instance/current/bundle/pid");
    assert_int_equal(file_read(rig->dirfd, child, 32, &pid), 0);
    buf_put_u8(&pid, 0);
    snprintf(go, sizeof(go), "/proc/%ld/root/dev/shm/go", strtol((char *)pid.bytes, NULL, 10));
    snprintf(end, sizeof(end), "/proc/%ld/root/dev/shm/end", strtol((char *)pid.bytes, NULL, 10));

    rig_close(rig);
    close(open(go, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    usleep(100000);
    rig_open(rig);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_RUNNING);
    assert_int_equal(instance_state(rig->instance)->image, 1);
    assert_true(rig_sees(rig, "second\n"));
    assert_int_equal(rig_supervisor(rig), supervisor);

    /* Its end while bladed is away is told as well, with the last words. */
    rig_close(rig);
    close(open(end, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    for (int i = 0; i < 1000 && rig_supervisor(rig); i++)
        usleep(5000);
    rig_open(rig);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_FAILED);
    assert_string_equal(sentence(rig), "web@1 ended with exit code 4: third");
    assert_true(rig_sees(rig, "third\n"));
    assert_int_equal(rig->output.len_bytes, strlen("first\nsecond\nthird\n"));
}

static bool no_container(struct rig *rig)
{
    return rig_containers(rig) == 0;
}

static void a_dead_supervisor_takes_the_program_along(void **state)
{
    struct rig *rig = *state;
    rig_image(rig, 1, "sleep 1000");
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(rig_load(rig, 1, "web@1"), 0);
    assert_int_equal(kill(rig_supervisor(rig), SIGKILL), 0);
    assert_true(rig_reaches(rig, WIRE_PHASE_FAILED));
    assert_non_null(strstr(sentence(rig), "its supervisor died"));
    assert_true(rig_wait(rig, no_container));
    assert_int_equal(rig_run(rig, WIRE_RUN_START), 0);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_RUNNING);

    /* While bladed is away. */
    pid_t supervisor = rig_supervisor(rig);
    rig_close(rig);
    assert_int_equal(kill(supervisor, SIGKILL), 0);
    usleep(20000);
    rig_open(rig);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_FAILED);
    assert_int_equal(rig_containers(rig), 0);
}

/* As if the machine had restarted: the last start was in another boot. */
static void forget_boot(struct rig *rig)
{
    OWNED_BUF struct buf text = BUF_EMPTY;
    assert_int_equal(file_read(rig->dirfd, "instance/current/start", 65536, &text), 0);
    buf_put_u8(&text, 0);
    char *boot_id = strstr((char *)text.bytes, "\"boot_id\": \"");
    assert_non_null(boot_id);
    memcpy(boot_id + strlen("\"boot_id\": \""), "00000000", 8);
    assert_int_equal(file_replace(rig->dirfd, "instance/current/start", 0600, text.bytes, text.len_bytes - 1),
                     0);
}

static void after_the_machines_restart_it_runs_again(void **state)
{
    struct rig *rig = *state;
    rig_image(rig, 1, "sh -c 'echo x >>/count; echo lines: `cat /count`; sleep 1000'");
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(rig_load(rig, 1, "web@1"), 0);
    assert_true(rig_sees(rig, "lines: x\n"));
    pid_t supervisor = rig_supervisor(rig);
    rig_close(rig);
    assert_int_equal(kill(supervisor, SIGKILL), 0);
    forget_boot(rig);
    rig_open(rig);
    assert_true(rig_reaches(rig, WIRE_PHASE_RUNNING));
    assert_true(rig_sees(rig, "lines: x x\n"));
    assert_int_equal(instance_state(rig->instance)->restarts, 1);

    /* Stopped stays stopped. */
    assert_int_equal(rig_run(rig, WIRE_RUN_STOP), 0);
    rig_close(rig);
    forget_boot(rig);
    rig_open(rig);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_STOPPED);
    for (int i = 0; i < 300 && rig_supervisor(rig) != 0; i++)
        usleep(10000); /* the one that was told to stop may still be going */
    assert_int_equal(rig_supervisor(rig), 0);
}

static void an_unacknowledged_load_is_undone(void **state)
{
    struct rig *rig = *state;
    rig_image(rig, 1, "sleep 1000");
    rig_image(rig, 2, "sleep 1001");
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(rig_load(rig, 1, "web@1"), 0);
    assert_int_equal(rig_load(rig, 2, "web@2"), 0);
    rig_close(rig);
    /* As a bladed that was killed before its last write leaves it. */
    OWNED_BUF struct buf text = BUF_EMPTY;
    assert_int_equal(file_read(rig->dirfd, "instance/current/spec", 65536, &text), 0);
    buf_put_u8(&text, 0);
    char *committed = strstr((char *)text.bytes, "\"committed\": true");
    assert_non_null(committed);
    OWNED_BUF struct buf undone = BUF_EMPTY;
    buf_put(&undone, text.bytes, (size_t)(committed - (char *)text.bytes));
    buf_printf(&undone, "\"committed\": false%s", committed + strlen("\"committed\": true"));
    assert_int_equal(file_replace(rig->dirfd, "instance/current/spec", 0600, undone.bytes, undone.len_bytes),
                     0);
    rig_open(rig);
    assert_int_equal(instance_state(rig->instance)->image, 1);
    assert_string_equal(instance_state(rig->instance)->snapshot, "web@1");
    assert_true(rig_reaches(rig, WIRE_PHASE_RUNNING)); /* again, as before the load */
    assert_int_equal(rig_containers(rig), 1);
}

static void binds_and_capabilities(void **state)
{
    struct rig *rig = *state;
    char bind[PATH_MAX + 16], shared[PATH_MAX];
    snprintf(shared, sizeof(shared), "%s/shared", rig->dir);
    snprintf(bind, sizeof(bind), "%s:/data/in", shared);
    assert_int_equal(mkdir(shared, 0755), 0);
    const char *binds[] = {bind, NULL};
    const char *caps[] = {"sys_admin", NULL};
    rig->options.binds = binds;
    rig->options.caps = caps;
    rig_image(rig, 1, "sh -c 'echo hi >/data/in/file; mount -t tmpfs t /bin && echo mounted; sleep 1000'");
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(rig_load(rig, 1, "web@1"), 0);
    assert_true(rig_sees(rig, "mounted\n"));
    strcat(shared, "/file");
    assert_int_equal(access(shared, F_OK), 0);
    snprintf(shared, sizeof(shared), "%s/instance/current/upper/data", rig->dir);
    assert_int_equal(access(shared, F_OK), -1);
    assert_int_equal(rig_run(rig, WIRE_RUN_UNLOAD), 0);
    assert_int_equal(rig_phase(rig), WIRE_PHASE_EMPTY);
    assert_int_equal(rig_run(rig, WIRE_RUN_START), -ENOENT);
    rig->options.binds = rig->options.caps = NULL;
}

static void much_output_is_bounded(void **state)
{
    struct rig *rig = *state;
    rig_image(
        rig, 1,
        "sh -c 'i=0; while [ $i -lt 300 ]; do /bin/busybox dd if=/dev/zero bs=10240 count=1 2>/dev/null; "
        "i=$((i+1)); done; echo the end; sleep 1000'");
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(rig_load(rig, 1, "web@1"), 0);
    assert_true(rig_sees(rig, "the end\n"));
    struct stat st;
    char path[PATH_MAX];
    uint64_t bytes = 0;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/instance/current/log%s", rig->dir, i ? ".1" : "");
        assert_int_equal(stat(path, &st), 0);
        bytes += (uint64_t)st.st_size;
    }
    assert_true(bytes <= (1u << 20));
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--supervise") == 0)
        return supervise_main(argc, argv);
    const char *reason = rig_cannot();
    if (reason) {
        print_message("skipped: %s\n", reason);
        return 77;
    }
#define REAL(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        REAL(starts_and_tells_its_output),
        REAL(an_end_with_zero_is_a_success),
        REAL(a_bad_start_is_told_in_its_own_words),
        REAL(a_later_end_is_told),
        REAL(nothing_to_start_is_loaded),
        REAL(stop_is_term_and_then_kill),
        REAL(what_it_wrote_is_kept),
        REAL(a_bad_image_brings_the_old_one_back),
        REAL(it_outlives_bladed),
        REAL(a_dead_supervisor_takes_the_program_along),
        REAL(after_the_machines_restart_it_runs_again),
        REAL(an_unacknowledged_load_is_undone),
        REAL(binds_and_capabilities),
        REAL(much_output_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
