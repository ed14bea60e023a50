#include "instance_rig.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/container.h"
#include "base/fdio.h"
#include "blob/image.h"
#include "instance_parts.h"

#define BUSYBOX "/bin/busybox"
#define WAIT_MS 10000

const char *rig_cannot(void)
{
    if (geteuid() != 0)
        return "not root: no overlay and no container";
    if (access(BUSYBOX, X_OK) < 0)
        return "no " BUSYBOX " (apt install busybox-static)";
    if (access("/usr/sbin/runc", X_OK) < 0 && access("/usr/bin/crun", X_OK) < 0)
        return "neither runc nor crun is installed";
    return NULL;
}

static void copy_file(const char *from, int dirfd, const char *to, mode_t mode)
{
    OWNED_BUF struct buf bytes = BUF_EMPTY;
    assert_int_equal(file_read(AT_FDCWD, from, (size_t)64 << 20, &bytes), 0);
    OWNED_FD fd = openat(dirfd, to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fd_write(fd, bytes.bytes, bytes.len_bytes), 0);
    assert_int_equal(fchmod(fd, mode), 0);
}

static void write_image(struct rig *rig, const char *path, const char *exec)
{
    struct blob_image_builder *builder;
    struct blob_inode root = {.mode = S_IFDIR | 0755};
    OWNED_BUF struct buf whole = BUF_EMPTY;
    OWNED_BUF struct buf stripped = BUF_EMPTY;
    struct blob_image *image;
    struct err err = {0};
    assert_int_equal(blob_image_builder_new(&builder), 0);
    assert_int_equal(blob_image_add_inode(builder, &root), 0);
    if (exec)
        assert_int_equal(blob_image_add_xattr(builder, 0, "user.bladefs.exec", exec, strlen(exec)), 0);
    assert_int_equal(blob_image_build(builder, &whole, &err), 0);
    blob_image_builder_free(builder);
    assert_int_equal(blob_image_parse(&whole, &image, &err), 0);
    assert_int_equal(blob_image_strip(image, &stripped), 0);
    blob_image_free(image);
    assert_int_equal(file_replace(rig->dirfd, path, 0600, stripped.bytes, stripped.len_bytes), 0);
}

void rig_tree_path(struct rig *rig, uint64_t number, const char *name, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/images/%u/tree/%s", rig->dir, (unsigned)number, name);
}

void rig_put(struct rig *rig, uint64_t number, const char *name, const char *text, mode_t mode)
{
    char path[PATH_MAX];
    rig_tree_path(rig, number, name, path);
    OWNED_FD fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fd_write(fd, text, strlen(text)), 0);
    assert_int_equal(fchmod(fd, mode), 0);
}

void rig_image(struct rig *rig, uint64_t number, const char *exec)
{
    static const char *const links[] = {"sh", "echo", "sleep", "cat", "mount",
                                        "id", "kill", "touch", "ls",  "true"};
    char path[PATH_MAX];
    (void)mkdirat(rig->dirfd, "images", 0700);
    snprintf(path, sizeof(path), "images/%u", (unsigned)number);
    assert_int_equal(mkdirat(rig->dirfd, path, 0700), 0);
    snprintf(path, sizeof(path), "images/%u/tree", (unsigned)number);
    assert_int_equal(mkdirat(rig->dirfd, path, 0755), 0);
    OWNED_FD tree = openat(rig->dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(tree, "bin", 0755), 0);
    copy_file(BUSYBOX, tree, "bin/busybox", 0755);
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        snprintf(path, sizeof(path), "bin/%s", links[i]);
        assert_int_equal(symlinkat("busybox", tree, path), 0);
    }
    snprintf(path, sizeof(path), "images/%u/image", (unsigned)number);
    write_image(rig, path, exec);
}

/* ---- the instance ---- */

static void on_changed(void *arg)
{
    ((struct rig *)arg)->changes++;
}

static void on_output(void *arg, const void *bytes, size_t len_bytes)
{
    buf_put(&((struct rig *)arg)->output, bytes, len_bytes);
}

static void on_tick(struct loop_op *op, int result)
{
    struct rig *rig = CONTAINER_OF(op, struct rig, tick);
    (void)result;
    loop_stop(rig->loop);
}

void rig_open(struct rig *rig)
{
    struct err err = {0};
    const struct instance_events events = {.changed = on_changed, .output = on_output, .arg = rig};
    if (loop_new(64, &rig->loop, &err) < 0 || images_open(rig->dirfd, 2, &rig->images, &err) < 0 ||
        instance_open(rig->loop, rig->images, &rig->options, &events, &rig->instance, &err) < 0)
        fail_msg("%s", err.message);
    instance_set_slot(rig->instance, "rack-7");
}

void rig_close(struct rig *rig)
{
    instance_close(STEAL(rig->instance));
    loop_free(STEAL(rig->loop));
    images_close(STEAL(rig->images));
}

bool rig_wait(struct rig *rig, bool (*is)(struct rig *rig))
{
    int64_t until_ms = clock_boot_ms() + WAIT_MS;
    rig->tick.done = on_tick;
    while (!is(rig)) {
        if (clock_boot_ms() > until_ms)
            return false;
        loop_timer(rig->loop, &rig->tick, 2);
        assert_int_equal(loop_run(rig->loop), 0);
    }
    return true;
}

static bool is_done(struct rig *rig)
{
    return rig->done;
}

static void on_done(void *arg, int result, const struct err *err)
{
    struct rig *rig = arg;
    rig->done = true;
    rig->result = result;
    rig->err = *err;
    if (result < 0)
        print_message("answered %d: %s\n", result, err->message);
}

int rig_load(struct rig *rig, uint64_t image, const char *snapshot)
{
    rig->done = false;
    rig->err = (struct err){0};
    int r = instance_load(rig->instance, image, snapshot, on_done, rig);
    if (r == 0 && !rig_wait(rig, is_done))
        return -ETIMEDOUT;
    return r < 0 ? r : rig->result;
}

int rig_run(struct rig *rig, enum wire_verb verb)
{
    rig->done = false;
    rig->err = (struct err){0};
    int r = instance_run(rig->instance, verb, on_done, rig);
    if (r == 0 && !rig_wait(rig, is_done))
        return -ETIMEDOUT;
    return r < 0 ? r : rig->result;
}

enum wire_phase rig_phase(const struct rig *rig)
{
    return instance_state(rig->instance)->phase;
}

bool rig_sees(struct rig *rig, const char *text)
{
    int64_t until_ms = clock_boot_ms() + WAIT_MS;
    for (;;) {
        if (rig->output.bytes && memmem(rig->output.bytes, rig->output.len_bytes, text, strlen(text)))
            return true;
        if (clock_boot_ms() > until_ms) {
            print_error("the output is: %.*s\n", (int)rig->output.len_bytes, (char *)rig->output.bytes);
            return false;
        }
        loop_timer(rig->loop, &rig->tick, 2);
        rig->tick.done = on_tick;
        assert_int_equal(loop_run(rig->loop), 0);
    }
}

bool rig_reaches(struct rig *rig, enum wire_phase phase)
{
    int64_t until_ms = clock_boot_ms() + WAIT_MS;
    rig->tick.done = on_tick;
    while (rig_phase(rig) != phase) {
        if (clock_boot_ms() > until_ms) {
            print_error("the phase is %d: %s\n", (int)rig_phase(rig),
                        instance_state(rig->instance)->sentence);
            return false;
        }
        loop_timer(rig->loop, &rig->tick, 2);
        assert_int_equal(loop_run(rig->loop), 0);
    }
    return true;
}

/* ---- what is left of it on the machine ---- */

pid_t rig_supervisor(const struct rig *rig)
{
    OWNED_DIR proc = opendir("/proc");
    struct dirent *entry;
    pid_t found = 0;
    while (proc && (entry = readdir(proc))) {
        char path[300], line[PATH_MAX + 64] = "", wanted[PATH_MAX + 64];
        snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
        OWNED_FD fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
        int len =
            snprintf(wanted, sizeof(wanted), "bladed%c--supervise%c%s/instance/current", 0, 0, rig->dir);
        if (n > 0 && n == len + 1 && memcmp(line, wanted, (size_t)len) == 0)
            found = (pid_t)strtol(entry->d_name, NULL, 10);
    }
    return found;
}

unsigned rig_containers(const struct rig *rig)
{
    OWNED_DIR dir = opendir(RUNTIME_ROOT);
    struct dirent *entry;
    unsigned count = 0;
    while (dir && (entry = readdir(dir)))
        count += strncmp(entry->d_name, rig->instance->id_prefix, strlen(rig->instance->id_prefix)) == 0;
    return count;
}

static unsigned mounts_below(const char *dir)
{
    OWNED_FILE mounts = fopen("/proc/self/mounts", "re");
    char line[8192];
    unsigned count = 0;
    while (mounts && fgets(line, sizeof(line), mounts))
        count += strstr(line, dir) != NULL;
    return count;
}

int rig_setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    struct rig *rig = calloc(1, sizeof(*rig));
    if (!rig)
        return -1;
    snprintf(rig->dir, sizeof(rig->dir), "%s/bladed-test-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(rig->dir))
        return -1;
    rig->dirfd = open(rig->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rig->options = (struct instance_options){.dir = rig->dir, .grace_ms = 3000};
    rig_open(rig);
    *state = rig;
    return 0;
}

/* What supervisors complain of, sanitizers' reports among it. */
static int no_complaints(struct rig *rig)
{
    OWNED_BUF struct buf text = BUF_EMPTY;
    (void)rig_run(rig, WIRE_RUN_STOP);
    for (int i = 0; i < 200 && rig_supervisor(rig); i++)
        usleep(5000);
    if (file_read(rig->dirfd, "instance/current/supervisor.log", 65536, &text) < 0 || text.len_bytes == 0)
        return 0;
    print_error("its supervisor said: %.*s\n", (int)text.len_bytes, (char *)text.bytes);
    return -1;
}

int rig_teardown(void **state)
{
    struct rig *rig = *state;
    if (!rig->instance)
        rig_open(rig);
    rig->instance->machine.grace_ms = 1;
    int bad = no_complaints(rig);
    if (rig_run(rig, WIRE_RUN_UNLOAD) < 0) {
        print_error("it cannot be unloaded: %s\n", rig->err.message);
        bad = -1;
    }
    if (rig_containers(rig) != 0) {
        print_error("a container is left\n");
        runtime_delete_all(rig->instance->runtime.path, rig->instance->id_prefix);
        bad = -1;
    }
    rig_close(rig);
    for (int i = 0; i < 200 && rig_supervisor(rig); i++)
        usleep(5000);
    pid_t supervisor = rig_supervisor(rig);
    if (supervisor) {
        print_error("a supervisor is left\n");
        kill(supervisor, SIGKILL);
        bad = -1;
    }
    if (mounts_below(rig->dir)) {
        print_error("a mount is left\n");
        bad = -1;
    }
    if (waitpid(-1, NULL, WNOHANG) != -1) {
        print_error("a child is left\n");
        bad = -1;
    }
    close(rig->dirfd);
    if (tree_remove(AT_FDCWD, rig->dir) < 0) {
        print_error("%s cannot be removed\n", rig->dir);
        bad = -1;
    }
    buf_free(&rig->output);
    free(rig);
    return bad;
}
