#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mountinfo.h"

static void a_line_tells_what_is_mounted_there(void **state)
{
    (void)state;
    static const struct {
        const char *line, *path, *type; /* type NULL: refused with `result` */
        int result;
    } rows[] = {
        {"36 35 0:55 / /rack rw,nosuid shared:1 - fuse.bladefs /srv/s rw,user_id=0\n", "/rack",
         "fuse.bladefs", 0},
        {"36 35 0:55 / /rack rw - fuse.sshfs host: rw\n", "/rack", "fuse.sshfs", 0},
        {"36 35 98:0 /sub /rack rw shared:1 master:2 - ext4 /dev/root rw\n", "/rack", "ext4", 0},
        {"36 35 0:55 / /my\\040rack\\134\\011 rw - fuse.bladefs s rw\n", "/my rack\\\t", "fuse.bladefs", 0},
        {"36 35 0:55 / /rack/x rw - ext4 s rw\n", "/rack", NULL, -ENOENT},
        {"36 35 0:55 / /rac rw - ext4 s rw\n", "/rack", NULL, -ENOENT},
        {"36 35 0:55 / /rack rw\n", "/rack", NULL, -EINVAL},
        {"36 35\n", "/rack", NULL, -EINVAL},
        {"", "/rack", NULL, -EINVAL},
        {"36 35 0:55 / /rack rw - a-type-that-is-too-long-for-the-room s rw\n", "/rack", NULL, -EINVAL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char type[20] = "";
        assert_int_equal(mountinfo_line(rows[i].line, rows[i].path, type, sizeof(type)), rows[i].result);
        if (rows[i].type)
            assert_string_equal(type, rows[i].type);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_tells_what_is_mounted_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
