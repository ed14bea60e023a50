#include "exec_find.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "program_file.h"

#define DEFAULT_INIT "/sbin/init"

static int open_in_root(int root, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT};
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
    return fd < 0 ? -errno : fd;
}

static bool exists(int root, const char *path)
{
    OWNED_FD fd = open_in_root(root, path, O_PATH);
    return fd >= 0;
}

/* 0: a file that may be executed; else -errno. */
static int executable(int root, const char *path)
{
    OWNED_FD fd = open_in_root(root, path, O_PATH);
    struct stat st;
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    return S_ISREG(st.st_mode) && (st.st_mode & 0111) ? 0 : -EACCES;
}

static bool below_a_bind(const char *path, char *const *binds)
{
    for (char *const *b = binds; b && *b; b++) {
        const char *dst = strrchr(*b, ':');
        if (!dst++)
            continue;
        size_t len = strlen(dst);
        while (len > 0 && dst[len - 1] == '/')
            len--;
        if (len > 0 && strncmp(path, dst, len) == 0 && (path[len] == '/' || path[len] == '\0'))
            return true;
    }
    return false;
}

/* Searches as execvp(3) does: what may not be executed is passed over, but remembered. */
static int search_path(int root, const char *name, char *const *binds, char out[PATH_MAX], struct err *err)
{
    int worst = -ENOENT;
    for (const char *dir = EXEC_PATH; *dir;) {
        size_t len = strcspn(dir, ":");
        if (snprintf(out, PATH_MAX, "%.*s/%s", (int)len, dir, name) >= PATH_MAX)
            return err_set(err, ENAMETOOLONG, "%.80s...: the name is too long", name);
        int r = executable(root, out);
        if (r == 0 || below_a_bind(out, binds))
            return 0;
        if (r == -EACCES)
            worst = r;
        dir += len + (dir[len] == ':');
    }
    if (worst == -EACCES)
        return err_set(err, EACCES, "%s: found in %s, but not executable", name, EXEC_PATH);
    return err_set(err, ENOENT, "%s: no such program in the image (searched %s)", name, EXEC_PATH);
}

static bool binfmt_misc_knows_more(void)
{
    OWNED_DIR dir = opendir("/proc/sys/fs/binfmt_misc");
    unsigned entries = 0;
    while (dir && readdir(dir))
        entries++;
    return entries > 4; /* ., .., register, status */
}

static int check_format(int root, const char *path, char *const *binds, struct err *err)
{
    OWNED_FD fd = open_in_root(root, path, O_RDONLY | O_NONBLOCK);
    struct program_file file;
    int r = fd < 0 ? fd : program_file_read(fd, &file);
    if (r < 0)
        return err_sys(err, -r, "%s: cannot be read", path);
    bool odd = file.kind == PROGRAM_UNKNOWN || file.kind == PROGRAM_FOREIGN;
    if (odd && !binfmt_misc_knows_more())
        return err_set(err, ENOEXEC, "%s: exec format error: %s", path,
                       file.kind == PROGRAM_FOREIGN ? "a program for another kind of machine"
                                                    : "neither an ELF file nor a script with #!");
    if (!odd && file.interpreter[0] == '/' && !exists(root, file.interpreter) &&
        !below_a_bind(file.interpreter, binds))
        return err_set(err, ENOENT, "%s: its %s %.200s is not in the image", path,
                       file.kind == PROGRAM_SCRIPT ? "interpreter" : "loader", file.interpreter);
    return 0;
}

static int check_program(int root, const char *path, char *const *binds, struct err *err)
{
    int r = executable(root, path);
    switch (r) {
    case 0:
        return check_format(root, path, binds, err);
    case -ENOENT:
    case -ENOTDIR:
        return err_set(err, ENOENT, "%s: no such file in the image", path);
    case -EACCES:
        return err_set(err, EACCES, "%s: not an executable file (chmod +x it in the snapshot)", path);
    case -EISDIR:
        return err_set(err, EACCES, "%s: a directory, not a program", path);
    default:
        return err_sys(err, -r, "%s: cannot be looked up in the image", path);
    }
}

/* The file that a path leads to in the end, as the kernel names it: with the root's own path before it. */
static bool leads_to(int root, const char *path, const char *tail)
{
    OWNED_FD fd = open_in_root(root, path, O_PATH);
    char link[64], target[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = fd < 0 ? -1 : readlink(link, target, sizeof(target) - 1);
    size_t tail_bytes = strlen(tail);
    if (n < (ssize_t)tail_bytes)
        return false;
    target[n] = '\0';
    return strcmp(target + n - tail_bytes, tail) == 0;
}

/*
 * An init that must be pid 1. systemd is one by its file. Of the others the program's name must be /sbin/init
 * as well: a shell script or a server put there is an ordinary program, and pid 1 without handlers would
 * ignore TERM.
 */
static enum exec_kind kind_of(int root, const char *path)
{
    static const char *const inits[] = {"/busybox", "/openrc-init", "/runit-init", "/dinit", "/s6-svscan"};
    if (leads_to(root, path, "/lib/systemd/systemd"))
        return EXEC_SYSTEMD;
    if (strcmp(path, DEFAULT_INIT) != 0)
        return EXEC_PROGRAM;
    for (size_t i = 0; i < sizeof(inits) / sizeof(inits[0]); i++)
        if (leads_to(root, path, inits[i]))
            return EXEC_INIT;
    /* sysvinit, by what it reads. */
    return exists(root, "/etc/inittab") ? EXEC_INIT : EXEC_PROGRAM;
}

static int default_command(int root, struct exec_plan *plan, struct err *err)
{
    OWNED_FD fd = open_in_root(root, DEFAULT_INIT, O_PATH);
    if (fd == -ENOENT || fd == -ENOTDIR)
        return 0;
    return exec_words_parse(DEFAULT_INIT, strlen(DEFAULT_INIT), &plan->words, err);
}

int exec_find(int root, const char *command, char *const *binds, struct exec_plan *out, struct err *err)
{
    struct exec_plan plan = {.kind = EXEC_NOTHING};
    int r = exec_words_parse(command, strlen(command), &plan.words, err);
    if (r == 0 && plan.words.count == 0) {
        exec_words_free(&plan.words);
        r = default_command(root, &plan, err);
    }
    if (r < 0)
        return r;
    if (plan.words.count > 0) {
        char path[PATH_MAX];
        const char *first = plan.words.at[0];
        if (!strchr(first, '/'))
            r = search_path(root, first, binds, path, err);
        else if (snprintf(path, sizeof(path), "%s", first) >= (int)sizeof(path))
            r = err_set(err, ENAMETOOLONG, "%.80s...: the path is too long", first);
        if (r == 0 && !below_a_bind(path, binds))
            r = check_program(root, path, binds, err);
        if (r < 0) {
            exec_plan_free(&plan);
            return r;
        }
        plan.kind = kind_of(root, path);
    }
    *out = plan;
    return 0;
}

void exec_plan_free(struct exec_plan *plan)
{
    exec_words_free(&plan->words);
    *plan = (struct exec_plan){0};
}
