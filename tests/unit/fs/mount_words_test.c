#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mount_words.h"

static void each_word_has_its_kind(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        enum mount_word kind;
    } rows[] = {
        {"ro", MOUNT_WORD_PASSED},
        {"noexec", MOUNT_WORD_PASSED},
        {"noatime", MOUNT_WORD_PASSED},
        {"fsname=rack", MOUNT_WORD_PASSED},
        {"max_read=4096", MOUNT_WORD_PASSED},
        {"relatime", MOUNT_WORD_IGNORED},
        {"lazytime", MOUNT_WORD_IGNORED},
        {"_netdev", MOUNT_WORD_IGNORED},
        {"nofail", MOUNT_WORD_IGNORED},
        {"x-systemd.automount", MOUNT_WORD_IGNORED},
        {"X-mount.mkdir", MOUNT_WORD_IGNORED},
        {"user=operator", MOUNT_WORD_IGNORED},
        {"fsname", MOUNT_WORD_UNKNOWN},
        {"max_read", MOUNT_WORD_UNKNOWN},
        {"roo", MOUNT_WORD_UNKNOWN},
        {"attr_timeout=1", MOUNT_WORD_UNKNOWN},
        {"uid=5", MOUNT_WORD_UNKNOWN},
        {"-t", MOUNT_WORD_UNKNOWN},
        {"", MOUNT_WORD_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(mount_word_kind(rows[i].word), rows[i].kind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_word_has_its_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
