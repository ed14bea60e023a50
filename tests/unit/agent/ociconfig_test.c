#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "oci_config.h"

static char *const args[] = {(char[]){"/bin/httpd"}, (char[]){"-f"}, NULL};

static struct oci_config config(void)
{
    return (struct oci_config){.root = "../merged",
                               .args = args,
                               .init = "/usr/bin/tini-static",
                               .slot = "rack-7",
                               .snapshot = "web@3",
                               .cgroups = OCI_CGROUPS_V1,
                               .nofile = 4096};
}

static json_t *parsed(const struct oci_config *c)
{
    char *text = NULL;
    struct err err = {0};
    if (oci_config_json(c, &text, &err) < 0)
        fail_msg("%s", err.message);
    json_t *root = json_loads(text, 0, NULL);
    free(text);
    assert_non_null(root);
    return root;
}

/* Whether an array has a string. */
static bool has(const json_t *array, const char *text)
{
    for (size_t i = 0; i < json_array_size(array); i++)
        if (strcmp(json_string_value(json_array_get(array, i)), text) == 0)
            return true;
    return false;
}

static const json_t *mount_at(const json_t *root, const char *destination)
{
    const json_t *mounts = json_object_get(root, "mounts");
    for (size_t i = 0; i < json_array_size(mounts); i++) {
        const json_t *m = json_array_get(mounts, i);
        if (strcmp(json_string_value(json_object_get(m, "destination")), destination) == 0)
            return m;
    }
    return NULL;
}

static bool has_namespace(const json_t *root, const char *type)
{
    const json_t *list = json_object_get(json_object_get(root, "linux"), "namespaces");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(list, i), "type")), type) == 0)
            return true;
    return false;
}

static void an_ordinary_program(void **state)
{
    (void)state;
    struct oci_config c = config();
    json_t *root = parsed(&c);
    const json_t *process = json_object_get(root, "process");
    const json_t *argv = json_object_get(process, "args");
    assert_int_equal(json_array_size(argv), 4);
    assert_string_equal(json_string_value(json_array_get(argv, 0)), OCI_INIT_PATH);
    assert_string_equal(json_string_value(json_array_get(argv, 1)), "--");
    assert_string_equal(json_string_value(json_array_get(argv, 3)), "-f");
    assert_true(json_is_false(json_object_get(process, "noNewPrivileges")));
    assert_true(json_is_false(json_object_get(process, "terminal")));
    const json_t *env = json_object_get(process, "env");
    assert_true(has(env, "BLADE_SLOT=rack-7") && has(env, "BLADE_SNAPSHOT=web@3") && has(env, "HOME=/root"));
    assert_false(has(env, "container=oci"));
    const json_t *limit = json_array_get(json_object_get(process, "rlimits"), 0);
    assert_int_equal(json_integer_value(json_object_get(limit, "hard")), 4096);

    assert_true(json_is_false(json_object_get(json_object_get(root, "root"), "readonly")));
    assert_string_equal(json_string_value(json_object_get(root, "hostname")), "rack-7");
    const json_t *init = mount_at(root, OCI_INIT_PATH);
    assert_string_equal(json_string_value(json_object_get(init, "source")), "/usr/bin/tini-static");
    assert_true(has(json_object_get(init, "options"), "ro"));
    assert_true(has(json_object_get(mount_at(root, "/sys"), "options"), "ro"));
    assert_true(has(json_object_get(mount_at(root, "/sys/fs/cgroup"), "options"), "ro"));
    assert_null(mount_at(root, "/run"));
    assert_true(has_namespace(root, "pid") && has_namespace(root, "mount") && has_namespace(root, "uts"));
    assert_false(has_namespace(root, "network") || has_namespace(root, "cgroup"));
    const json_t *first_rule = json_array_get(
        json_object_get(json_object_get(json_object_get(root, "linux"), "resources"), "devices"), 0);
    assert_true(json_is_false(json_object_get(first_rule, "allow"))); /* all is denied, then some allowed */
    assert_true(has(json_object_get(json_object_get(root, "linux"), "maskedPaths"), "/proc/kcore"));
    json_decref(root);
}

static void systemd_is_pid_1_itself(void **state)
{
    (void)state;
    struct oci_config c = config();
    c.init = NULL;
    c.systemd = true;
    c.slot = "";
    c.cgroups = OCI_CGROUPS_V2;
    json_t *root = parsed(&c);
    const json_t *process = json_object_get(root, "process");
    assert_string_equal(json_string_value(json_array_get(json_object_get(process, "args"), 0)), "/bin/httpd");
    assert_true(has(json_object_get(process, "env"), "container=oci"));
    assert_non_null(mount_at(root, "/run"));
    assert_non_null(mount_at(root, "/run/lock"));
    assert_true(has(json_object_get(mount_at(root, "/sys/fs/cgroup"), "options"), "rw"));
    assert_true(has_namespace(root, "cgroup"));
    assert_string_equal(json_string_value(json_object_get(root, "hostname")), "blade");
    json_decref(root);
    c.cgroups = OCI_CGROUPS_NONE;
    root = parsed(&c);
    assert_null(mount_at(root, "/sys/fs/cgroup"));
    json_decref(root);
}

/* What root of a user namespace cannot mount is not asked for. */
static void an_ordinary_users_blade(void **state)
{
    (void)state;
    struct oci_config c = config();
    c.of_user = true;
    json_t *root = parsed(&c);
    const json_t *sys = mount_at(root, "/sys");
    assert_string_equal(json_string_value(json_object_get(sys, "type")), "bind");
    assert_true(has(json_object_get(sys, "options"), "ro"));
    assert_false(has(json_object_get(mount_at(root, "/dev/pts"), "options"), "gid=5"));
    assert_null(mount_at(root, "/sys/fs/cgroup"));
    assert_non_null(mount_at(root, OCI_INIT_PATH));
    json_decref(root);
}

static void capabilities(void **state)
{
    (void)state;
    char *const caps[] = {(char[]){"net_admin"}, (char[]){"CAP_SYS_TIME"}, (char[]){"CAP_KILL"}, NULL};
    struct oci_config c = config();
    c.caps = caps;
    json_t *root = parsed(&c);
    const json_t *sets = json_object_get(json_object_get(root, "process"), "capabilities");
    static const char *const names[] = {"bounding", "effective", "permitted"};
    for (size_t i = 0; i < 3; i++) {
        const json_t *set = json_object_get(sets, names[i]);
        assert_int_equal(json_array_size(set), 14 + 2);
        assert_true(has(set, "CAP_NET_ADMIN") && has(set, "CAP_SYS_TIME") && has(set, "CAP_SETFCAP"));
        assert_false(has(set, "CAP_SYS_ADMIN"));
    }
    assert_null(json_object_get(sets, "ambient"));
    json_decref(root);
}

static void binds(void **state)
{
    (void)state;
    char *const good[] = {(char[]){"/srv/data:/data"}, NULL};
    struct oci_config c = config();
    c.binds = good;
    json_t *root = parsed(&c);
    const json_t *bind = mount_at(root, "/data");
    assert_string_equal(json_string_value(json_object_get(bind, "source")), "/srv/data");
    assert_true(has(json_object_get(bind, "options"), "rbind"));
    json_decref(root);
}

static void what_is_refused(void **state)
{
    (void)state;
    static const char *const bad_binds[] = {"",     "/a",       "/a:",  "a:/b",
                                            "/a:b", "/a:/b:ro", "/a:/", "/a:/b/../c"};
    static const char *const bad_caps[] = {"", "CAP_", "net admin", "a\"b"};
    char *text = NULL;
    for (size_t i = 0; i < sizeof(bad_binds) / sizeof(bad_binds[0]); i++) {
        char *const list[] = {(char *)(uintptr_t)bad_binds[i], NULL};
        struct oci_config c = config();
        struct err err = {0};
        c.binds = list;
        assert_int_equal(oci_config_json(&c, &text, &err), -EINVAL);
        assert_non_null(strstr(err.message, "--bind"));
    }
    for (size_t i = 0; i < sizeof(bad_caps) / sizeof(bad_caps[0]); i++) {
        char *const list[] = {(char *)(uintptr_t)bad_caps[i], NULL};
        struct oci_config c = config();
        struct err err = {0};
        c.caps = list;
        assert_int_equal(oci_config_json(&c, &text, &err), -EINVAL);
        assert_non_null(strstr(err.message, "--cap"));
    }
    char *const latin[] = {(char[]){"/bin/caf\xe9"}, NULL};
    struct oci_config c = config();
    struct err err = {0};
    c.args = latin;
    assert_int_equal(oci_config_json(&c, &text, &err), -EINVAL);
    assert_null(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ordinary_program),
        cmocka_unit_test(systemd_is_pid_1_itself),
        cmocka_unit_test(an_ordinary_users_blade),
        cmocka_unit_test(capabilities),
        cmocka_unit_test(binds),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
