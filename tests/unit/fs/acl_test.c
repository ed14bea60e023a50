#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "acl.h"

#define E(tag, perm, id) tag, 0, perm, 0, (id)&0xff, (id) >> 8 & 0xff, (id) >> 16 & 0xff, (id) >> 24
#define NONE 0xffffffffU
#define OWNER(perm) E(1, perm, NONE)
#define USER(id, perm) E(2, perm, (unsigned)(id))
#define OF_GROUP(perm) E(4, perm, NONE)
#define GROUP(id, perm) E(8, perm, (unsigned)(id))
#define MASK(perm) E(16, perm, NONE)
#define OTHER(perm) E(32, perm, NONE)
#define V2 2, 0, 0, 0
#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

struct bytes {
    const uint8_t *at;
    size_t len;
};

static void only_whole_and_ordered_ones_are_read(void **state)
{
    (void)state;
    const struct {
        struct bytes in;
        int result;
        size_t count;
    } rows[] = {
        {{NULL, 0}, 0, 0},
        {{BYTES(V2)}, 0, 0},
        {{BYTES(V2, OWNER(7), OF_GROUP(5), OTHER(0))}, 0, 3},
        {{BYTES(V2, OWNER(7), OF_GROUP(5), MASK(5), OTHER(0))}, 0, 4},
        {{BYTES(V2, OWNER(7), USER(9, 4), USER(3, 4), OF_GROUP(5), GROUP(9, 0), MASK(5), OTHER(0))}, 0, 7},
        {{BYTES(V2, OWNER(7), USER(0, 4), OF_GROUP(5), MASK(5), OTHER(0))}, 0, 5},
        /* lengths and versions */
        {{BYTES(2, 0, 0)}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), OF_GROUP(5), OTHER(0), 0)}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), OF_GROUP(5), 32, 0, 0, 0)}, -EINVAL, 0},
        {{BYTES(1, 0, 0, 0, OWNER(7), OF_GROUP(5), OTHER(0))}, -EOPNOTSUPP, 0},
        {{BYTES(0, 0, 0, 2, OWNER(7), OF_GROUP(5), OTHER(0))}, -EOPNOTSUPP, 0},
        /* what must be there */
        {{BYTES(V2, OF_GROUP(5), OTHER(0))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), OTHER(0))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), OF_GROUP(5))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), USER(9, 4), OF_GROUP(5), OTHER(0))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), OF_GROUP(5), GROUP(9, 4), OTHER(0))}, -EINVAL, 0},
        /* the order, and nothing twice */
        {{BYTES(V2, OF_GROUP(5), OWNER(7), OTHER(0))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), OTHER(0), OF_GROUP(5))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), OF_GROUP(5), USER(9, 4), MASK(7), OTHER(0))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), OWNER(7), OF_GROUP(5), OTHER(0))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), OF_GROUP(5), MASK(5), MASK(5), OTHER(0))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), OF_GROUP(5), OTHER(0), OTHER(0))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), USER(9, 4), USER(9, 0), OF_GROUP(5), MASK(5), OTHER(0))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), OF_GROUP(5), GROUP(9, 4), GROUP(9, 4), MASK(5), OTHER(0))}, -EINVAL, 0},
        /* tags, permissions and ids */
        {{BYTES(V2, OWNER(7), OF_GROUP(5), E(64, 0, NONE), OTHER(0))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), OF_GROUP(5), E(0, 0, NONE), OTHER(0))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(8), OF_GROUP(5), OTHER(0))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), 4, 0, 5, 1, 255, 255, 255, 255, OTHER(0))}, -EINVAL, 0},
        {{BYTES(V2, OWNER(7), USER(NONE, 4), OF_GROUP(5), MASK(5), OTHER(0))}, -EINVAL, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct acl acl;
        uint8_t again[ACL_MAX_BYTES];
        int r = acl_parse(rows[i].in.at, rows[i].in.len, &acl);
        if (r != rows[i].result || acl.count != rows[i].count)
            fail_msg("row %zu: result %d, %zu entries", i, r, acl.count);
        if (acl.count) {
            assert_int_equal(acl_write(&acl, again), rows[i].in.len);
            assert_memory_equal(again, rows[i].in.at, rows[i].in.len);
        }
    }
}

static void the_longest_is_a_page(void **state)
{
    (void)state;
    struct acl acl = {.count = ACL_ENTRIES_MAX};
    uint8_t bytes[ACL_MAX_BYTES + 8] = {0};
    struct acl again;
    acl.at[0] = (struct acl_entry){1, 7, NONE};
    for (unsigned i = 1; i < ACL_ENTRIES_MAX - 3; i++)
        acl.at[i] = (struct acl_entry){2, 4, i};
    acl.at[ACL_ENTRIES_MAX - 3] = (struct acl_entry){4, 5, NONE};
    acl.at[ACL_ENTRIES_MAX - 2] = (struct acl_entry){16, 5, NONE};
    acl.at[ACL_ENTRIES_MAX - 1] = (struct acl_entry){32, 0, NONE};
    size_t len = acl_write(&acl, bytes);
    assert_int_equal(len, ACL_MAX_BYTES - 4);
    assert_int_equal(acl_parse(bytes, len, &again), 0);
    assert_memory_equal(again.at, acl.at, sizeof(acl.at));
    assert_int_equal(acl_parse(bytes, len + 8, &again), -E2BIG);
}

static void an_acl_and_its_mode_are_one(void **state)
{
    (void)state;
    const struct {
        struct bytes in;
        mode_t before, mode; /* of the file */
        size_t left;         /* entries that are more than the mode */
        mode_t chmod;
        struct bytes after; /* chmod */
    } rows[] = {
        {{BYTES(V2, OWNER(7), OF_GROUP(5), OTHER(0))}, 0644, 0750, 0, 0600, {NULL, 0}},
        {{BYTES(V2, OWNER(6), OF_GROUP(4), OTHER(4))}, 06755, 06644, 0, 0600, {NULL, 0}},
        {{NULL, 0}, 0644, 0644, 0, 0600, {NULL, 0}},
        /* the group's bits are the mask's, and chmod changes the mask and not the group */
        {{BYTES(V2, OWNER(6), USER(9, 6), OF_GROUP(4), MASK(6), OTHER(0))},
         0640,
         0660,
         5,
         0604,
         {BYTES(V2, OWNER(6), USER(9, 6), OF_GROUP(4), MASK(0), OTHER(4))}},
        {{BYTES(V2, OWNER(6), OF_GROUP(4), GROUP(9, 2), MASK(7), OTHER(0))},
         01640,
         01670,
         5,
         0741,
         {BYTES(V2, OWNER(7), OF_GROUP(4), GROUP(9, 2), MASK(4), OTHER(1))}},
        /* a mask alone is more than a mode */
        {{BYTES(V2, OWNER(6), OF_GROUP(6), MASK(4), OTHER(0))},
         0640,
         0640,
         4,
         0660,
         {BYTES(V2, OWNER(6), OF_GROUP(6), MASK(6), OTHER(0))}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct acl acl;
        uint8_t bytes[ACL_MAX_BYTES];
        assert_int_equal(acl_parse(rows[i].in.at, rows[i].in.len, &acl), 0);
        assert_int_equal(acl_to_mode(&acl, rows[i].before), rows[i].mode);
        assert_int_equal(acl.count, rows[i].left);
        acl_set_mode(&acl, rows[i].chmod);
        assert_int_equal(acl_write(&acl, bytes), rows[i].after.len);
        if (rows[i].after.len)
            assert_memory_equal(bytes, rows[i].after.at, rows[i].after.len);
        assert_int_equal(acl_to_mode(&acl, 0), acl.count ? rows[i].chmod : 0);
    }
}

static void limits_leave_what_is_allowed(void **state)
{
    (void)state;
    static const uint8_t in[] = {V2, OWNER(7), USER(9, 5), OF_GROUP(3), MASK(7), OTHER(1)};
    static const uint8_t limited[] = {V2, OWNER(6), USER(9, 4), OF_GROUP(2), MASK(6), OTHER(0)};
    struct acl acl;
    uint8_t bytes[ACL_MAX_BYTES];
    assert_int_equal(acl_parse(in, sizeof(in), &acl), 0);
    acl_limit(&acl, 6);
    assert_int_equal(acl_write(&acl, bytes), sizeof(limited));
    assert_memory_equal(bytes, limited, sizeof(limited));
}

/* A file of user 8 and group 10. */
static void who_may_do_what(void **state)
{
    (void)state;
    gid_t groups[] = {20, 30};
    const struct {
        struct bytes acl;
        mode_t mode;
        uid_t uid;
        gid_t gid; /* with the groups 20 and 30 */
        int wanted;
        bool allowed;
    } rows[] = {
        /* without one the mode decides */
        {{NULL, 0}, 0640, 7, 10, R_OK, true},
        {{NULL, 0}, 0640, 7, 11, R_OK, false},
        {{NULL, 0}, 0604, 7, 11, R_OK, true},
        {{NULL, 0}, 0604, 7, 10, R_OK, false},
        /* root, always */
        {{BYTES(V2, OWNER(0), USER(0, 0), OF_GROUP(0), MASK(0), OTHER(0))},
         0,
         0,
         0,
         R_OK | W_OK | X_OK,
         true},
        /* the owner's entry is the owner's, whatever else names him */
        {{BYTES(V2, OWNER(4), USER(8, 7), OF_GROUP(7), MASK(7), OTHER(7))}, 0477, 8, 10, W_OK, false},
        {{BYTES(V2, OWNER(7), USER(8, 0), OF_GROUP(0), MASK(0), OTHER(0))}, 0700, 8, 10, R_OK | X_OK, true},
        /* a named user, under the mask; a no to him is a no, whatever his groups may */
        {{BYTES(V2, OWNER(7), USER(7, 7), OF_GROUP(0), MASK(5), OTHER(0))}, 0750, 7, 11, R_OK | X_OK, true},
        {{BYTES(V2, OWNER(7), USER(7, 7), OF_GROUP(0), MASK(5), OTHER(0))}, 0750, 7, 11, W_OK, false},
        {{BYTES(V2, OWNER(7), USER(7, 0), OF_GROUP(7), MASK(7), OTHER(7))}, 0777, 7, 10, R_OK, false},
        {{BYTES(V2, OWNER(7), USER(6, 7), OF_GROUP(0), MASK(7), OTHER(0))}, 0770, 7, 11, R_OK, false},
        /* the owning group and named ones, the first and the supplementary: any may allow it */
        {{BYTES(V2, OWNER(7), OF_GROUP(5), GROUP(99, 0), MASK(7), OTHER(0))}, 0770, 7, 10, R_OK, true},
        {{BYTES(V2, OWNER(7), OF_GROUP(0), GROUP(30, 5), MASK(7), OTHER(0))}, 0770, 7, 11, R_OK | X_OK, true},
        {{BYTES(V2, OWNER(7), OF_GROUP(0), GROUP(30, 5), MASK(7), OTHER(0))}, 0770, 7, 10, R_OK | X_OK, true},
        {{BYTES(V2, OWNER(7), OF_GROUP(0), GROUP(11, 4), MASK(7), OTHER(0))}, 0770, 7, 11, R_OK, true},
        /* but all of it must come from one entry */
        {{BYTES(V2, OWNER(7), OF_GROUP(4), GROUP(30, 1), MASK(7), OTHER(0))},
         0770,
         7,
         10,
         R_OK | X_OK,
         false},
        {{BYTES(V2, OWNER(7), OF_GROUP(0), GROUP(20, 4), GROUP(30, 5), MASK(7), OTHER(0))},
         0770,
         7,
         11,
         R_OK | X_OK,
         true},
        {{BYTES(V2, OWNER(7), OF_GROUP(7), GROUP(30, 7), MASK(1), OTHER(7))}, 0717, 7, 10, R_OK, false},
        /* a group that is denied does not fall to what others may */
        {{BYTES(V2, OWNER(7), OF_GROUP(4), GROUP(30, 0), MASK(4), OTHER(4))}, 0744, 7, 11, R_OK, false},
        {{BYTES(V2, OWNER(7), OF_GROUP(4), GROUP(31, 0), MASK(4), OTHER(4))}, 0744, 7, 11, R_OK, true},
        {{BYTES(V2, OWNER(7), OF_GROUP(4), GROUP(31, 0), MASK(4), OTHER(4))}, 0744, 7, 11, W_OK, false},
        /* the mask limits no others */
        {{BYTES(V2, OWNER(7), OF_GROUP(7), GROUP(31, 7), MASK(0), OTHER(5))}, 0705, 7, 11, R_OK | X_OK, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct caller caller = {.uid = rows[i].uid, .gid = rows[i].gid, .groups = groups, .group_count = 2};
        struct acl acl;
        assert_int_equal(acl_parse(rows[i].acl.at, rows[i].acl.len, &acl), 0);
        if (acl_allows(&caller, 8, 10, rows[i].mode, &acl, rows[i].wanted) != rows[i].allowed)
            fail_msg("row %zu: it was %s", i, rows[i].allowed ? "denied" : "allowed");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_whole_and_ordered_ones_are_read),
        cmocka_unit_test(the_longest_is_a_page),
        cmocka_unit_test(an_acl_and_its_mode_are_one),
        cmocka_unit_test(limits_leave_what_is_allowed),
        cmocka_unit_test(who_may_do_what),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
