#include "runtime.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <linux/magic.h>

#include "base/buf.h"
#include "base/fdio.h"
#include "base/log.h"
#include "command.h"
#include "program_file.h"
#include "rights.h"

#define SEARCH_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define PROBE_TIMEOUT_MS 10000

static const char *const runtimes[] = {"runc", "crun"};
static const char *const inits[] = {
    "/usr/bin/tini-static",
    "/usr/bin/catatonit",
    "/usr/libexec/podman/catatonit",
    "/usr/libexec/catatonit/catatonit",
    "/usr/bin/docker-init",
    "/usr/libexec/docker/docker-init",
    "/usr/bin/tini",
};

static char root_of_users[PATH_MAX];

const char *runtime_root(void)
{
    return root_of_users[0] ? root_of_users : RUNTIME_ROOT;
}

int runtime_root_below(const char *dir, struct err *err)
{
    if (rights_are_roots())
        return 0;
    if (snprintf(root_of_users, sizeof(root_of_users), "%s/run", dir) >= (int)sizeof(root_of_users))
        return err_set(err, ENAMETOOLONG, "%.100s...: the path is too long", dir);
    if (mkdir(root_of_users, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "cannot make %.300s", root_of_users);
    return 0;
}

void runtime_boot_id(char out[40])
{
    OWNED_FD fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, 39);
    out[n < 0 ? 0 : n] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

enum oci_cgroups runtime_cgroups(void)
{
    struct statfs fs;
    if (statfs("/sys/fs/cgroup", &fs) < 0)
        return OCI_CGROUPS_NONE;
    if (fs.f_type == CGROUP2_SUPER_MAGIC)
        return OCI_CGROUPS_V2;
    /* v1: a tmpfs with a directory for each controller. */
    return fs.f_type == TMPFS_MAGIC && access("/sys/fs/cgroup/devices", F_OK) == 0 ? OCI_CGROUPS_V1
                                                                                   : OCI_CGROUPS_NONE;
}

uint64_t runtime_nofile(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max > OCI_NOFILE)
        return OCI_NOFILE;
    return limit.rlim_max;
}

int runtime_delete(const char *runtime, const char *id, struct err *err)
{
    const char *const argv[] = {runtime, "--root", runtime_root(), "delete", "--force", id, NULL};
    OWNED_BUF struct buf output = BUF_EMPTY;
    char state[PATH_MAX];
    snprintf(state, sizeof(state), "%s/%s", runtime_root(), id);
    if (access(state, F_OK) < 0)
        return 0;
    int r = command_run((char *const *)argv, RUNTIME_TIMEOUT_MS, &output, err);
    if (r < 0)
        return r;
    if (r != 0)
        return err_set(err, EIO, "%s cannot delete the container %s: %.300s", runtime, id,
                       (const char *)output.bytes);
    return 0;
}

void runtime_delete_all(const char *runtime, const char *prefix)
{
    OWNED_DIR dir = opendir(runtime_root());
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        struct err err = {0};
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
            runtime_delete(runtime, entry->d_name, &err) < 0)
            log_warn("%s", err.message);
    }
}

static int find_init(char out[PATH_MAX], struct err *err)
{
    for (size_t i = 0; i < sizeof(inits) / sizeof(inits[0]); i++) {
        OWNED_FD fd = open(inits[i], O_RDONLY | O_CLOEXEC);
        struct program_file file;
        /* It runs in foreign trees: no loader, no libraries. */
        if (fd >= 0 && program_file_read(fd, &file) == 0 && file.kind == PROGRAM_ELF &&
            !file.interpreter[0]) {
            snprintf(out, PATH_MAX, "%s", inits[i]);
            return 0;
        }
    }
    return err_set(err, ENOENT,
                   "no static init for the instances on this machine: install tini or catatonit "
                   "(apt install tini)");
}

static int find_program(const char *name, char out[PATH_MAX])
{
    if (strchr(name, '/'))
        return snprintf(out, PATH_MAX, "%s", name) < PATH_MAX && access(out, X_OK) == 0 ? 0 : -ENOENT;
    for (const char *dir = SEARCH_PATH; *dir;) {
        size_t len = strcspn(dir, ":");
        if (snprintf(out, PATH_MAX, "%.*s/%s", (int)len, dir, name) < PATH_MAX && access(out, X_OK) == 0)
            return 0;
        dir += len + (dir[len] == ':');
    }
    return -ENOENT;
}

static void first_line(const struct buf *output, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%.*s", (int)strcspn((const char *)output->bytes, "\n"),
             (const char *)output->bytes);
}

static int ask_version(struct runtime *runtime, struct err *err)
{
    char *argv[] = {runtime->path, (char[]){"--version"}, NULL};
    OWNED_BUF struct buf output = BUF_EMPTY;
    int r = command_run(argv, PROBE_TIMEOUT_MS, &output, err);
    if (r < 0)
        return r;
    if (r != 0)
        return err_set(err, EIO, "%s --version failed", runtime->path);
    first_line(&output, runtime->version, sizeof(runtime->version));
    return 0;
}

/* A bundle whose only program is the init, asked for its version. */
static int make_probe(int dirfd, const struct runtime *runtime, struct err *err)
{
    char bind[PATH_MAX + 32];
    snprintf(bind, sizeof(bind), "%s:" OCI_INIT_PATH, runtime->init);
    char *binds[] = {bind, NULL};
    char *args[] = {(char[]){OCI_INIT_PATH}, (char[]){"--version"}, NULL};
    struct oci_config config = {.root = "rootfs",
                                .args = args,
                                .slot = "",
                                .snapshot = "",
                                .binds = binds,
                                .cgroups = runtime_cgroups(),
                                .of_user = !rights_are_roots(),
                                .nofile = runtime_nofile()};
    OWNED char *json = NULL;
    int r = oci_config_json(&config, &json, err);
    if (r < 0)
        return r;
    if ((mkdirat(dirfd, "probe", 0700) < 0 && errno != EEXIST) ||
        (mkdirat(dirfd, "probe/rootfs", 0755) < 0 && errno != EEXIST))
        return err_sys(err, errno, "cannot make a directory for the probe of %s", runtime->path);
    OWNED_FD fd = openat(dirfd, "probe/config.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    r = fd < 0 ? -errno : fd_write(fd, json, strlen(json));
    return r < 0 ? err_sys(err, -r, "cannot write the probe of %s", runtime->path) : 0;
}

static int run_probe(int dirfd, const char *dir, struct runtime *runtime, struct err *err)
{
    struct stat st;
    char bundle[PATH_MAX], id[64];
    if (fstat(dirfd, &st) < 0)
        return err_sys(err, errno, "%s", dir);
    if (snprintf(bundle, sizeof(bundle), "%s/probe", dir) >= (int)sizeof(bundle))
        return err_set(err, ENAMETOOLONG, "%.100s...: the path is too long", dir);
    snprintf(id, sizeof(id), "probe-%" PRIx64 "-%" PRIx64 "-%d", (uint64_t)st.st_dev, (uint64_t)st.st_ino,
             (int)getpid());
    const char *argv[] = {runtime->path, "--root", runtime_root(), "run", "--bundle", bundle, id, NULL};
    OWNED_BUF struct buf output = BUF_EMPTY;
    int r = command_run((char *const *)argv, PROBE_TIMEOUT_MS, &output, err);
    struct err ignored;
    if (runtime_delete(runtime->path, id, &ignored) < 0)
        log_warn("%s", ignored.message);
    if (r < 0)
        return r;
    if (r != 0 || !strstr((const char *)output.bytes, "version")) {
        char line[200];
        first_line(&output, line, sizeof(line));
        return err_set(err, EIO, "%s", line[0] ? line : "it failed without a word");
    }
    return 0;
}

static int probe(int dirfd, const char *dir, struct runtime *runtime, struct err *err)
{
    int r = ask_version(runtime, err);
    if (r == 0)
        r = make_probe(dirfd, runtime, err);
    if (r == 0)
        r = run_probe(dirfd, dir, runtime, err);
    int removed = tree_remove(dirfd, "probe");
    if (removed < 0)
        log_warn("%s/probe cannot be removed: %s", dir, strerror(-removed));
    return r;
}

/* What DIR/runtime must say for the last probe to hold: the binaries and the boot are the same. */
static int fingerprint(const struct runtime *runtime, char *out, size_t out_bytes)
{
    struct stat binary, init;
    char boot[40];
    runtime_boot_id(boot);
    if (stat(runtime->path, &binary) < 0 || stat(runtime->init, &init) < 0)
        return -errno;
    snprintf(out, out_bytes, "%s %lld.%09ld %lld\n%s %lld.%09ld %lld\n%s\n", runtime->path,
             (long long)binary.st_mtim.tv_sec, binary.st_mtim.tv_nsec, (long long)binary.st_size,
             runtime->init, (long long)init.st_mtim.tv_sec, init.st_mtim.tv_nsec, (long long)init.st_size,
             boot);
    return 0;
}

static bool remembered(int dirfd, struct runtime *runtime)
{
    char wanted[2 * PATH_MAX + 200];
    OWNED_BUF struct buf text = BUF_EMPTY;
    if (fingerprint(runtime, wanted, sizeof(wanted)) < 0 ||
        file_read(dirfd, "runtime", sizeof(wanted) + sizeof(runtime->version), &text) < 0)
        return false;
    buf_put_u8(&text, 0);
    size_t len = strlen(wanted);
    if (text.error || strncmp((const char *)text.bytes, wanted, len) != 0)
        return false;
    snprintf(runtime->version, sizeof(runtime->version), "%.*s",
             (int)strcspn((const char *)text.bytes + len, "\n"), (const char *)text.bytes + len);
    return true;
}

static void remember(int dirfd, const struct runtime *runtime)
{
    char text[2 * PATH_MAX + 400];
    if (fingerprint(runtime, text, sizeof(text)) < 0)
        return;
    size_t len = strlen(text);
    snprintf(text + len, sizeof(text) - len, "%s\n", runtime->version);
    int r = file_replace(dirfd, "runtime", 0600, text, strlen(text));
    if (r < 0)
        log_warn("the runtime's probe cannot be remembered: %s", strerror(-r));
}

/* Appends "; name: what it said" to what was tried. */
static void note(char *tried, size_t tried_bytes, const char *name, const char *said)
{
    size_t len = strlen(tried);
    snprintf(tried + len, tried_bytes - len, "%s%s: %s", len ? "; " : "", name, said);
}

static int try_one(int dirfd, const char *dir, const char *name, struct runtime *runtime, struct err *why)
{
    if (find_program(name, runtime->path) < 0)
        return err_set(why, ENOENT, "not installed");
    if (remembered(dirfd, runtime))
        return 0;
    int r = probe(dirfd, dir, runtime, why);
    if (r == 0)
        remember(dirfd, runtime);
    return r;
}

int runtime_find(int dirfd, const char *dir, const char *named, struct runtime *out, struct err *err)
{
    struct runtime runtime = {0};
    int r = find_init(runtime.init, err);
    if (r < 0)
        return r;

    char tried[400] = "";
    size_t count = named ? 1 : sizeof(runtimes) / sizeof(runtimes[0]);
    for (size_t i = 0; i < count; i++) {
        const char *name = named ? named : runtimes[i];
        struct err why = {0};
        if (try_one(dirfd, dir, name, &runtime, &why) == 0) {
            log_info("instances are started with %s (%s), under %s%s%s", runtime.path, runtime.version,
                     runtime.init, tried[0] ? "; passed over: " : "", tried);
            *out = runtime;
            return 0;
        }
        note(tried, sizeof(tried), name, why.message);
    }
    if (named)
        return err_set(err, ENOENT, "the runtime that --runtime names does not work here: %s", tried);
    return err_set(err, ENOENT,
                   "no OCI runtime works here: %s. Install runc or crun, or name one with --runtime", tried);
}
