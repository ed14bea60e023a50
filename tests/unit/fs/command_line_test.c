#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "command_line.h"

static void listen_is_host_and_port(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *port; /* host NULL: refused */
    } rows[] = {
        {"127.0.0.1:7420", "127.0.0.1", "7420"},
        {"rack.example:0", "rack.example", "0"},
        {"[::1]:7420", "::1", "7420"},
        {"[::]:65535", "::", "65535"},
        {"::1:7420", NULL, NULL},
        {"nonsense", NULL, NULL},
        {":7420", NULL, NULL},
        {"host:", NULL, NULL},
        {"host:65536", NULL, NULL},
        {"host:74x", NULL, NULL},
        {"host:-1", NULL, NULL},
        {"[]:1", NULL, NULL},
        {"[::1:1", NULL, NULL},
        {"", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *host = NULL, *port = NULL;
        int r = listen_parse(rows[i].text, &host, &port);
        assert_int_equal(r, rows[i].host ? 0 : -EINVAL);
        if (rows[i].host) {
            assert_string_equal(host, rows[i].host);
            assert_string_equal(port, rows[i].port);
        }
        free(host);
        free(port);
    }
}

static int parse(const char *const *words, struct options *out, struct err *err)
{
    char *argv[16];
    int argc = 0;
    for (; words[argc]; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc];
    argv[argc] = NULL;
    return options_parse(argc, argv, out, err);
}

static bool passed_on(const struct options *options, const char *word)
{
    for (int i = 0; i < options->args.argc; i++)
        if (strstr(options->args.argv[i], word))
            return true;
    return false;
}

static void what_fstab_says_is_understood(void **state)
{
    (void)state;
    struct options options;
    struct err err = {0};
    const char *words[] = {
        "bladefs",
        "/srv/store",
        "/rack",
        "-o",
        "rw,_netdev,nofail,x-systemd.requires=network.target,defaults,nosuid,listen=[::]:99",
        NULL};
    assert_int_equal(parse(words, &options, &err), 0);
    assert_string_equal(options.store, "/srv/store");
    assert_string_equal(options.mountpoint, "/rack");
    assert_string_equal(options.listen_host, "::");
    assert_string_equal(options.listen_port, "99");
    assert_false(options.foreground);
    assert_true(passed_on(&options, "nosuid"));
    assert_true(passed_on(&options, "default_permissions"));
    assert_true(passed_on(&options, "subtype=bladefs"));
    assert_true(passed_on(&options, "fsname=/srv/store"));
    assert_false(passed_on(&options, "listen"));
    assert_false(passed_on(&options, "_netdev"));
    assert_false(passed_on(&options, "x-systemd"));
    assert_false(passed_on(&options, "defaults"));
    options_free(&options);
}

static void root_mounts_for_all_unless_told_otherwise(void **state)
{
    (void)state;
    bool root = geteuid() == 0;
    const struct {
        const char *words;
        bool all, root;
    } rows[] = {
        {"rw", root, false},
        {"allow_other", true, false},
        {"noallow_other", false, false},
        {"allow_root", false, true},
        {"noallow_other,allow_other", true, false},
        {"allow_other,noallow_other", false, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct options options;
        struct err err = {0};
        const char *words[] = {"bladefs", "/srv/store", "/rack", "-o", rows[i].words, NULL};
        assert_int_equal(parse(words, &options, &err), 0);
        assert_int_equal(passed_on(&options, "allow_other"), rows[i].all);
        assert_int_equal(passed_on(&options, "allow_root"), rows[i].root);
        assert_false(passed_on(&options, "noallow"));
        assert_true(passed_on(&options, "default_permissions"));
        options_free(&options);
    }
}

static void a_comma_in_the_stores_name_is_no_option(void **state)
{
    (void)state;
    struct options options;
    struct err err = {0};
    const char *words[] = {"bladefs", "/srv/a,suid", "/rack", "-f", NULL};
    assert_int_equal(parse(words, &options, &err), 0);
    assert_true(options.foreground);
    assert_string_equal(options.listen_port, "7420");
    assert_true(passed_on(&options, "fsname=/srv/a\\,suid"));
    options_free(&options);
}

static void another_fsname_counts(void **state)
{
    (void)state;
    struct options options;
    struct err err = {0};
    const char *words[] = {"bladefs", "/srv/store", "/rack", "-o", "fsname=rack,max_read=65536,remount_stale",
                           NULL};
    assert_int_equal(parse(words, &options, &err), 0);
    assert_true(options.remount_stale);
    assert_int_equal(options.max_read_bytes, 65536);
    int own = 0, given = 0;
    for (int i = 0; i < options.args.argc; i++) {
        if (strstr(options.args.argv[i], "fsname=/srv/store"))
            own = i;
        if (strstr(options.args.argv[i], "fsname=rack"))
            given = i;
    }
    assert_true(own > 0 && given > own);
    options_free(&options);
}

static void mount_8_calls_it_in_its_own_way(void **state)
{
    (void)state;
    struct options options;
    struct err err = {0};
    const char *helper[] = {"/sbin/mount.bladefs", "/srv/store", "/rack",   "-nv", "-o",
                            "rw,listen=[::]:99",   "-t",         "bladefs", NULL};
    assert_int_equal(parse(helper, &options, &err), 0);
    assert_string_equal(options.mountpoint, "/rack");
    assert_string_equal(options.listen_port, "99");
    assert_false(options.foreground);
    assert_false(options.fake);
    options_free(&options);
    const char *fake[] = {"mount.bladefs", "/srv/store", "/rack", "-f", NULL};
    assert_int_equal(parse(fake, &options, &err), 0);
    assert_true(options.fake);
    assert_false(options.foreground);
    options_free(&options);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    static const char *const rows[][6] = {
        {"bladefs", NULL},
        {"bladefs", "store", NULL},
        {"bladefs", "", "mnt", NULL},
        {"bladefs", "store", "mnt", "-o", "listen=nonsense", NULL},
        {"bladefs", "store", "mnt", "-o", "keep=0", NULL},
        {"bladefs", "store", "mnt", "-o", "keep=", NULL},
        {"bladefs", "store", "mnt", "-o", "keep=3x", NULL},
        {"bladefs", "store", "mnt", "-o", "keep=-3", NULL},
        {"bladefs", "store", "mnt", "-o", "fence=/bin/true", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct options options;
        struct err err = {0};
        assert_int_equal(parse(rows[i], &options, &err), -EINVAL);
        assert_int_not_equal(err.message[0], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listen_is_host_and_port),
        cmocka_unit_test(what_fstab_says_is_understood),
        cmocka_unit_test(root_mounts_for_all_unless_told_otherwise),
        cmocka_unit_test(a_comma_in_the_stores_name_is_no_option),
        cmocka_unit_test(another_fsname_counts),
        cmocka_unit_test(mount_8_calls_it_in_its_own_way),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
