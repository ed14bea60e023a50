#include "oci_config.h"

#include <ctype.h>
#include <jansson.h>
#include <string.h>

#define CAPS_EXTRA_MAX 64

static const char *const docker_caps[] = {
    "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
    "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
    "CAP_KILL",    "CAP_AUDIT_WRITE",
};

static const char *const masked_paths[] = {
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
};

static const char *const readonly_paths[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                             "/proc/sysrq-trigger"};

struct mount_row {
    const char *destination, *type, *source;
    const char *options; /* parted by commas */
};

static const struct mount_row mounts_always[] = {
    {"/proc", "proc", "proc", "nosuid,noexec,nodev"},
    {"/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"},
    {"/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"},
    {"/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"},
    {"/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"},
    {"/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"},
};

/* The group tty is nobody there, and a sysfs is the network namespace's owner's. */
static const struct mount_row mounts_of_user[] = {
    {"/proc", "proc", "proc", "nosuid,noexec,nodev"},
    {"/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"},
    {"/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"},
    {"/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"},
    {"/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"},
    {"/sys", "bind", "/sys", "rbind,nosuid,noexec,nodev,ro"},
};

static const struct mount_row mounts_systemd[] = {
    {"/run", "tmpfs", "tmpfs", "nosuid,nodev,strictatime,mode=755"},
    {"/run/lock", "tmpfs", "tmpfs", "nosuid,nodev,noexec,strictatime,mode=1777"},
};

/* Device nodes that may be used: runc's and crun's own defaults, written down. */
struct device_row {
    bool allow;
    const char *type; /* NULL: all */
    int major, minor; /* -1: all */
    const char *access;
};

static const struct device_row device_rows[] = {
    {false, NULL, -1, -1, "rwm"}, {true, "c", -1, -1, "m"}, {true, "b", -1, -1, "m"},
    {true, "c", 1, 3, "rwm"},     {true, "c", 1, 5, "rwm"}, {true, "c", 1, 7, "rwm"},
    {true, "c", 1, 8, "rwm"},     {true, "c", 1, 9, "rwm"}, {true, "c", 5, 0, "rwm"},
    {true, "c", 5, 1, "rwm"},     {true, "c", 5, 2, "rwm"}, {true, "c", 136, -1, "rwm"},
};

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static json_t *strings(const char *const *list, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < count; i++)
        json_array_append_new(array, json_string(list[i]));
    return array;
}

static json_t *options(const char *text)
{
    json_t *array = json_array();
    while (array && *text) {
        size_t len = strcspn(text, ",");
        json_array_append_new(array, json_stringn(text, len));
        text += len + (text[len] == ',');
    }
    return array;
}

static json_t *mount_json(const struct mount_row *row)
{
    return json_pack("{s:s, s:s, s:s, s:o}", "destination", row->destination, "type", row->type, "source",
                     row->source, "options", options(row->options));
}

int oci_bind_parse(const char *bind, size_t *src_bytes, const char **dst, struct err *err)
{
    const char *colon = strchr(bind, ':');
    if (!colon || strchr(colon + 1, ':') || bind[0] != '/' || colon[1] != '/' || colon[2] == '\0' ||
        strstr(colon, "/../"))
        return err_set(err, EINVAL, "--bind %.200s: it must be SRC:DST, two absolute paths", bind);
    *src_bytes = (size_t)(colon - bind);
    *dst = colon + 1;
    return 0;
}

static int add_binds(json_t *mounts, char *const *binds, struct err *err)
{
    for (char *const *b = binds; b && *b; b++) {
        size_t src_bytes = 0;
        const char *dst = NULL;
        int r = oci_bind_parse(*b, &src_bytes, &dst, err);
        if (r < 0)
            return r;
        json_t *mount = json_pack("{s:s, s:s, s:s%, s:o}", "destination", dst, "type", "bind", "source", *b,
                                  src_bytes, "options", options("rbind,rslave"));
        if (json_array_append_new(mounts, mount) < 0)
            return err_set(err, EINVAL, "--bind %.200s: the paths must be UTF-8", *b);
    }
    return 0;
}

static json_t *mounts_json(const struct oci_config *c, struct err *err)
{
    json_t *mounts = json_array();
    for (size_t i = 0; i < COUNT(mounts_always); i++)
        json_array_append_new(mounts, mount_json(c->of_user ? &mounts_of_user[i] : &mounts_always[i]));
    if (!c->of_user && c->cgroups != OCI_CGROUPS_NONE) {
        struct mount_row row = {"/sys/fs/cgroup", "cgroup", "cgroup",
                                c->systemd ? "nosuid,noexec,nodev,relatime,rw"
                                           : "nosuid,noexec,nodev,relatime,ro"};
        json_array_append_new(mounts, mount_json(&row));
    }
    for (size_t i = 0; c->systemd && i < COUNT(mounts_systemd); i++)
        json_array_append_new(mounts, mount_json(&mounts_systemd[i]));
    if (c->init) {
        struct mount_row row = {OCI_INIT_PATH, "bind", c->init, "bind,ro,nosuid,nodev"};
        json_array_append_new(mounts, mount_json(&row));
    }
    if (add_binds(mounts, c->binds, err) < 0) {
        json_decref(mounts);
        return NULL;
    }
    return mounts;
}

/* "net_admin" or "CAP_NET_ADMIN" to the latter. */
static int cap_name(const char *text, char out[64], struct err *err)
{
    const char *bare = strncasecmp(text, "CAP_", 4) == 0 ? text + 4 : text;
    int n = snprintf(out, 64, "CAP_%s", bare);
    for (char *c = out; n < 64 && *c; c++) {
        *c = (char)toupper((unsigned char)*c);
        if (!(*c == '_' || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9')))
            n = 64;
    }
    if (n >= 64 || !bare[0])
        return err_set(err, EINVAL, "--cap %.100s: not the name of a capability (capabilities(7))", text);
    return 0;
}

static json_t *caps_json(const struct oci_config *c, struct err *err)
{
    json_t *set = strings(docker_caps, COUNT(docker_caps));
    unsigned count = 0;
    for (char *const *cap = c->caps; cap && *cap; cap++) {
        char name[64];
        if (cap_name(*cap, name, err) < 0 || ++count > CAPS_EXTRA_MAX) {
            json_decref(set);
            return NULL;
        }
        bool there = false;
        for (size_t i = 0; i < json_array_size(set); i++)
            there |= strcmp(json_string_value(json_array_get(set, i)), name) == 0;
        if (!there)
            json_array_append_new(set, json_string(name));
    }
    /* No ambient ones: root in the container has them all the same, others get none by exec. */
    return json_pack("{s:O, s:O, s:o}", "bounding", set, "effective", set, "permitted", set);
}

static json_t *env_json(const struct oci_config *c)
{
    json_t *env = json_array();
    json_array_append_new(env,
                          json_string("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    json_array_append_new(env, json_string("HOME=/root"));
    json_array_append_new(env, json_string("TERM=xterm"));
    json_array_append_new(env, json_sprintf("BLADE_SLOT=%s", c->slot));
    json_array_append_new(env, json_sprintf("BLADE_SNAPSHOT=%s", c->snapshot));
    if (c->systemd)
        json_array_append_new(env, json_string("container=oci"));
    return env;
}

static json_t *args_json(const struct oci_config *c, struct err *err)
{
    json_t *args = json_array();
    if (c->init) {
        json_array_append_new(args, json_string(OCI_INIT_PATH));
        json_array_append_new(args, json_string("--"));
    }
    for (char *const *a = c->args; *a; a++) {
        if (json_array_append_new(args, json_string(*a)) < 0) {
            json_decref(args);
            err_set(err, EINVAL, "the command line must be UTF-8");
            return NULL;
        }
    }
    return args;
}

static json_t *process_json(const struct oci_config *c, struct err *err)
{
    json_t *args = args_json(c, err);
    json_t *caps = args ? caps_json(c, err) : NULL;
    if (!caps) {
        json_decref(args);
        return NULL;
    }
    return json_pack("{s:b, s:{s:i, s:i}, s:o, s:o, s:s, s:o, s:[{s:s, s:I, s:I}], s:b}", "terminal", 0,
                     "user", "uid", 0, "gid", 0, "args", args, "env", env_json(c), "cwd", "/", "capabilities",
                     caps, "rlimits", "type", "RLIMIT_NOFILE", "hard", (json_int_t)c->nofile, "soft",
                     (json_int_t)c->nofile, "noNewPrivileges", 0);
}

static json_t *devices_json(void)
{
    json_t *rules = json_array();
    for (size_t i = 0; i < COUNT(device_rows); i++) {
        const struct device_row *row = &device_rows[i];
        json_t *rule = json_pack("{s:b, s:s}", "allow", (int)row->allow, "access", row->access);
        if (row->type)
            json_object_set_new(rule, "type", json_string(row->type));
        if (row->major >= 0)
            json_object_set_new(rule, "major", json_integer(row->major));
        if (row->minor >= 0)
            json_object_set_new(rule, "minor", json_integer(row->minor));
        json_array_append_new(rules, rule);
    }
    return rules;
}

static json_t *linux_json(const struct oci_config *c)
{
    json_t *namespaces = json_pack("[{s:s}, {s:s}, {s:s}, {s:s}]", "type", "pid", "type", "ipc", "type",
                                   "uts", "type", "mount");
    if (c->cgroups == OCI_CGROUPS_V2)
        json_array_append_new(namespaces, json_pack("{s:s}", "type", "cgroup"));
    return json_pack("{s:{s:o}, s:o, s:o, s:o}", "resources", "devices", devices_json(), "namespaces",
                     namespaces, "maskedPaths", strings(masked_paths, COUNT(masked_paths)), "readonlyPaths",
                     strings(readonly_paths, COUNT(readonly_paths)));
}

int oci_config_json(const struct oci_config *c, char **out, struct err *err)
{
    struct err why = {0};
    json_t *process = process_json(c, &why);
    json_t *mounts = process ? mounts_json(c, &why) : NULL;
    json_t *root = NULL;
    if (mounts)
        root = json_pack("{s:s, s:O, s:{s:s, s:b}, s:s, s:O, s:o}", "ociVersion", "1.0.2", "process", process,
                         "root", "path", c->root, "readonly", 0, "hostname", c->slot[0] ? c->slot : "blade",
                         "mounts", mounts, "linux", linux_json(c));
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    json_decref(mounts);
    json_decref(process);
    if (!text) {
        if (why.code == 0)
            return err_set(err, EINVAL, "cannot make the container's config.json (a path is not UTF-8?)");
        return err_set(err, why.code, "%s", why.message);
    }
    *out = text;
    return 0;
}
