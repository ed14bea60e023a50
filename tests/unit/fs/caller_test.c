#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "caller.h"

static void mode_bits_mean_what_they_mean(void **state)
{
    (void)state;
    gid_t groups[] = {20, 30};
    static const struct {
        uid_t caller_uid, uid;
        gid_t gid;
        mode_t mode;
        int wanted;
        bool allowed;
    } rows[] = {
        {0, 1, 1, 0, R_OK | W_OK | X_OK, true},
        {7, 7, 1, 0700, R_OK | X_OK, true},
        {7, 7, 1, 0400, R_OK | X_OK, false},
        {7, 7, 10, 0070, R_OK, false}, /* the owner's bits are the owner's, whatever the group has */
        {7, 8, 10, 0050, R_OK | X_OK, true},
        {7, 8, 30, 0050, R_OK | X_OK, true},
        {7, 8, 30, 0050, W_OK, false},
        {7, 8, 30, 0705, R_OK, false}, /* and the group's the group's */
        {7, 8, 40, 0005, R_OK | X_OK, true},
        {7, 8, 40, 0750, R_OK | X_OK, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct caller caller = {.uid = rows[i].caller_uid, .gid = 10, .groups = groups, .group_count = 2};
        assert_int_equal(caller_mode_allows(&caller, rows[i].uid, rows[i].gid, rows[i].mode, rows[i].wanted),
                         rows[i].allowed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(mode_bits_mean_what_they_mean)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
