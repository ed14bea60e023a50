#include "overlay.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>

#include "base/fdio.h"
#include "oci_config.h"
#include "rights.h"

#define SKELETON "instance/current/skeleton"
#define XATTR_LIST_MAX_BYTES ((size_t)64 << 10)

static int copy_xattr(int from, int to, const char *name)
{
    OWNED_BUF struct buf room = BUF_EMPTY;
    void *value = buf_room(&room, XATTR_LIST_MAX_BYTES);
    if (!value)
        return -ENOMEM;
    ssize_t n = fgetxattr(from, name, value, XATTR_LIST_MAX_BYTES);
    if (n < 0 || fsetxattr(to, name, value, (size_t)n, 0) < 0)
        return -errno;
    return 0;
}

/* A merged directory shows the attributes of its uppermost layer only. */
static int copy_root_attributes(int from, int to)
{
    OWNED_BUF struct buf room = BUF_EMPTY;
    char *names = (char *)buf_room(&room, XATTR_LIST_MAX_BYTES);
    if (!names)
        return -ENOMEM;
    ssize_t n = flistxattr(from, names, XATTR_LIST_MAX_BYTES);
    if (n < 0 && errno != ENOTSUP)
        return -errno;
    for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
        if (strncmp(name, "trusted.overlay.", 16) == 0 || strcmp(name, "security.selinux") == 0)
            continue;
        int r = copy_xattr(from, to, name);
        if (r < 0 && r != -ENODATA)
            return r;
    }
    struct stat st;
    if (fchown(to, 0, 0) < 0 || fchmod(to, 0755) < 0 || fstat(from, &st) < 0)
        return -errno;
    struct timespec times[2] = {st.st_mtim, st.st_mtim};
    return futimens(to, times) < 0 ? -errno : 0;
}

static bool is_in_a_lower(int agent_fd, const struct instance_spec *spec, const char *path)
{
    for (unsigned i = 0; i < spec->lower_count; i++) {
        char full[PATH_MAX];
        struct stat st;
        snprintf(full, sizeof(full), "%s/%s", spec->lowers[i], path);
        if (fstatat(agent_fd, full, &st, AT_SYMLINK_NOFOLLOW) == 0)
            return true;
    }
    return false;
}

/* mkdir -p below `top` and, for a file's mount point, an empty file. Returns 1 when it made something. */
static int make_mount_point(int top, const char *path, bool file)
{
    char part[PATH_MAX];
    for (const char *slash = path; *slash;) {
        slash += 1 + strcspn(slash + 1, "/");
        bool last = slash[strspn(slash, "/")] == '\0';
        snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (last && file) {
            OWNED_FD fd = openat(top, part, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
            return fd < 0 ? -errno : 1;
        }
        if (mkdirat(top, part, 0755) < 0 && errno != EEXIST)
            return -errno;
        if (last)
            break;
    }
    return 1;
}

/* Returns 1 when the skeleton has anything in it. */
static int make_skeleton(int agent_fd, int top, const struct instance_spec *spec, struct err *err)
{
    static const char *const always[] = {"proc", "sys", "dev"};
    int made = 0, r;
    for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++) {
        if (is_in_a_lower(agent_fd, spec, always[i]))
            continue;
        r = make_mount_point(top, always[i], false);
        if (r < 0)
            return err_sys(err, -r, "cannot make %s", SKELETON);
        made = 1;
    }
    for (char *const *bind = spec->binds; bind && *bind; bind++) {
        size_t src_bytes = 0;
        const char *dst = "";
        r = oci_bind_parse(*bind, &src_bytes, &dst, err);
        if (r < 0)
            return r;
        dst += strspn(dst, "/");
        if (is_in_a_lower(agent_fd, spec, dst))
            continue;
        char source[PATH_MAX];
        struct stat st;
        snprintf(source, sizeof(source), "%.*s", (int)src_bytes, *bind);
        if (stat(source, &st) < 0)
            return err_sys(err, errno, "--bind %.200s: %.100s", *bind, source);
        r = make_mount_point(top, dst, !S_ISDIR(st.st_mode));
        if (r < 0)
            return err_sys(err, -r, "--bind %.200s: cannot make its mount point", *bind);
        made = 1;
    }
    return made;
}

static int make_upper(int agent_fd, int instance_fd, const struct instance_spec *spec, struct err *err)
{
    OWNED_FD upper = openat(instance_fd, "upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OWNED_FD pristine = openat(agent_fd, spec->lowers[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (upper < 0 || pristine < 0)
        return err_sys(err, errno, "cannot open %s", upper < 0 ? "the upper directory" : spec->lowers[0]);
    /* Without these the overlay would mount, and then lose deletions. */
    const char *probe = rights_are_roots() ? "trusted.bladefs.probe" : "user.bladefs.probe";
    if (fsetxattr(upper, probe, "y", 1, 0) < 0)
        return err_sys(err, errno,
                       "the file system of the agent's directory keeps no xattrs, "
                       "which an overlay needs (use ext4, xfs or btrfs, or, as root, tmpfs)");
    if (fremovexattr(upper, probe) < 0)
        return err_sys(err, errno, "cannot remove an xattr of the upper directory");
    int r = copy_root_attributes(pristine, upper);
    return r < 0 ? err_sys(err, -r, "cannot give the upper directory its attributes") : 0;
}

int overlay_make(int agent_fd, int instance_fd, struct instance_spec *spec, struct err *err)
{
    static const char *const names[] = {"upper", "work", "merged", "skeleton", "bundle"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (mkdirat(instance_fd, names[i], i == 0 || i == 3 ? 0755 : 0700) < 0)
            return err_sys(err, errno, "cannot make the instance's directory %s", names[i]);
    int r = make_upper(agent_fd, instance_fd, spec, err);
    if (r < 0)
        return r;
    OWNED_FD skeleton = openat(instance_fd, "skeleton", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (skeleton < 0)
        return err_sys(err, errno, "cannot open %s", SKELETON);
    r = make_skeleton(agent_fd, skeleton, spec, err);
    if (r <= 0)
        return r;
    if (spec->lower_count == INSTANCE_LOWERS_MAX)
        return err_set(err, EMLINK, "the image has too many layers");
    snprintf(spec->lowers[spec->lower_count++], INSTANCE_LOWER_BYTES, "%s", SKELETON);
    return 0;
}

static int mount_patiently(const char *options)
{
    static const struct timespec pause = {.tv_nsec = 2000000};
    int64_t until_ms = clock_boot_ms() + 2000;
    while (mount("overlay", "instance/current/merged", "overlay", 0, options) < 0) {
        if (errno != EBUSY || clock_boot_ms() >= until_ms)
            return -errno;
        nanosleep(&pause, NULL);
    }
    return 0;
}

int overlay_mount(int agent_fd, const struct instance_spec *spec, struct err *err)
{
    char options[4096]; /* a page is what mount(2) takes */
    /* Paths relative to DIR: DIR's own may have any character, also ':' and ','. */
    int n = snprintf(options, sizeof(options),
                     "index=on,%s,xino=auto,"
                     "upperdir=instance/current/upper,workdir=instance/current/work,lowerdir=",
                     rights_are_roots() ? "redirect_dir=on,metacopy=off" : "userxattr");
    for (unsigned i = 0; i < spec->lower_count && n < (int)sizeof(options); i++)
        n += snprintf(options + n, sizeof(options) - (size_t)n, "%s%s", i ? ":" : "", spec->lowers[i]);
    if (n >= (int)sizeof(options))
        return err_set(err, EMLINK, "the image has too many layers");
    if (fchdir(agent_fd) < 0)
        return err_sys(err, errno, "cannot enter the agent's directory");
    int r = mount_patiently(options);
    if (r == -ESTALE)
        return err_set(err, ESTALE,
                       "what the instance wrote belongs to another tree than %s (was the agent's "
                       "directory copied? load it again)",
                       spec->lowers[0]);
    return r < 0 ? err_sys(err, -r, "cannot mount the overlay of %s", spec->snapshot) : 0;
}
