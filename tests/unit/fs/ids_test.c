#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "ids.h"

/* The numbers are a format: NFS clients keep them over restarts and upgrades. */
static const struct {
    uint64_t number;
    struct node_id id;
} rows[] = {
    {1, {.kind = NODE_TOP}},
    {2, {.kind = NODE_SNAPSHOT, .owner = 2}},
    {10970840, {.kind = NODE_SNAPSHOT, .owner = 10970840}},
    {NODE_SNAPSHOT_MAX, {.kind = NODE_SNAPSHOT, .owner = NODE_SNAPSHOT_MAX}},
    {0x1000000000000003, {.kind = NODE_RUNNINGS}},
    {0x1000000000000004, {.kind = NODE_BLADES}},
    {0x1000000000000005, {.kind = NODE_ANY}},
    {0x1000000000000006, {.kind = NODE_STATES}},
    {0x1000000000000008, {.kind = NODE_STORE}},
    {0x1000000000000040, {.kind = NODE_STATE, .state = 0}},
    {0x1000000000000047, {.kind = NODE_STATE, .state = 7}},
    {0x2000000010000000, {.kind = NODE_RUNNING, .owner = 1, .inode = 0}},
    {0x2fffffffffffffff, {.kind = NODE_RUNNING, .owner = UINT32_MAX, .inode = NODE_RUNNING_INODE_MAX}},
    {0x3000000000000100, {.kind = NODE_SLOT, .owner = 1}},
    {0x3000000000000102, {.kind = NODE_CONTROL, .owner = 1, .row = 2}},
    {0x300000ffffffffff, {.kind = NODE_CONTROL, .owner = UINT32_MAX, .row = 255}},
    {0x300000000000000c, {.kind = NODE_CONTROL, .owner = 0, .row = 12}},
    {0x4000000010100000, {.kind = NODE_CONTROL, .owner = 1, .row = 1, .action = true}},
    {0x40000000101fffff,
     {.kind = NODE_CONTROL, .owner = 1, .row = 1, .action = true, .sequence = NODE_SEQUENCE_MAX}},
    {0x5000000000000700, {.kind = NODE_BLADEFS, .owner = 7}},
    {0x500000000000070e, {.kind = NODE_CONTROL, .owner = 7, .row = 14, .bladefs = true}},
    {0x5fffffffffffff01, {.kind = NODE_CONTROL, .owner = NODE_BLADEFS_OWNER_MAX, .row = 1, .bladefs = true}},
    {0x6000000300000009, {.kind = NODE_SLOT_LINK, .link = LINK_STATE, .state = 3, .owner = 9}},
    {0x6000002000000009, {.kind = NODE_SLOT_LINK, .link = LINK_IMAGE, .owner = 9}},
    {0x6000004000000009, {.kind = NODE_SLOT_LINK, .link = LINK_SOURCE, .owner = 9}},
};

static void numbers_are_as_they_always_were(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(node_id_encode(&rows[i].id), rows[i].number);
        struct node_id id = node_id_decode(rows[i].number);
        assert_int_equal(id.kind, rows[i].id.kind);
        assert_int_equal(id.owner, rows[i].id.owner);
        assert_int_equal(id.inode, rows[i].id.inode);
        assert_int_equal(id.row, rows[i].id.row);
        assert_int_equal(id.state, rows[i].id.state);
        assert_int_equal(id.link, rows[i].id.link);
        assert_int_equal(id.action, rows[i].id.action);
        assert_int_equal(id.bladefs, rows[i].id.bladefs);
        assert_int_equal(id.sequence, rows[i].id.sequence);
    }
}

static void what_nobody_has_is_nothing(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {
        0,
        0x1000000000000000, /* fixed, but none of them */
        0x1000000000000001,
        0x1000000000000002,
        0x1000000000000007,
        0x1000000000000009,
        0x1000000000000050,
        0x1fffffffffffffff,
        0x3000010000000000, /* a slot beyond 32 bits */
        0x60000060ffffffff, /* a kind of link that is not there */
        0x7000000000000001,
        0xffffffffffffffff,
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        assert_int_equal(node_id_decode(numbers[i]).kind, NODE_NONE);
}

static void what_does_not_fit_has_no_number(void **state)
{
    (void)state;
    static const struct node_id ids[] = {
        {.kind = NODE_SNAPSHOT, .owner = NODE_SNAPSHOT_MAX + 1},
        {.kind = NODE_SNAPSHOT, .owner = NODE_TOP_ID},
        {.kind = NODE_BLADEFS, .owner = NODE_BLADEFS_OWNER_MAX + 1},
        {.kind = NODE_CONTROL, .bladefs = true, .owner = NODE_BLADEFS_OWNER_MAX + 1, .row = 1},
        {.kind = NODE_RUNNING, .owner = 1, .inode = NODE_RUNNING_INODE_MAX + 1},
        {.kind = NODE_NONE},
    };
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        assert_int_equal(node_id_encode(&ids[i]), 0);
}

static void an_action_file_shows_one_number(void **state)
{
    (void)state;
    struct node_id id = {.kind = NODE_CONTROL, .owner = 5, .row = 1, .action = true, .sequence = 17};
    struct node_id other = id;
    other.sequence = 18;
    assert_int_not_equal(node_id_encode(&id), node_id_encode(&other));
    assert_int_equal(node_id_shown(node_id_encode(&id)), node_id_shown(node_id_encode(&other)));
    assert_int_equal(node_id_shown(12345), 12345);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_as_they_always_were),
        cmocka_unit_test(what_nobody_has_is_nothing),
        cmocka_unit_test(what_does_not_fit_has_no_number),
        cmocka_unit_test(an_action_file_shows_one_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
