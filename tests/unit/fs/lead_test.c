/* When the leading thread looks for the next request without sleeping, and when it gives the lead away: as
 * tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lead.h"

enum {
    LOOKUP = 1,
    FORGET = 2,
    GETATTR = 3,
    READ = 15,
    WRITE = 16,
    RELEASE = 18,
    FSYNC = 20,
    CREATE = 35,
    BATCH_FORGET = 42
};

static void it_looks_where_requests_follow_closely(void **state)
{
    unsigned score = 0;
    (void)state;
    assert_false(lead_looks(score));
    for (int i = 0; i < 4; i++) {
        assert_false(lead_looks(score));
        score = lead_score(score, 10000);
    }
    assert_true(lead_looks(score));
    for (int i = 0; i < 100; i++)
        score = lead_score(score, LEAD_LOOK_NS);
    assert_true(lead_looks(score));
    /* one that came late makes no difference, a few do */
    score = lead_score(score, LEAD_LOOK_NS + 1);
    assert_true(lead_looks(score));
    for (int i = 0; i < 4; i++)
        score = lead_score(score, 1000000000);
    assert_false(lead_looks(score));
    assert_int_equal(lead_score(0, 1000000000), 0);
    assert_int_equal(lead_score(1, 1000000000), 0);
}

static void who_seldom_asks_is_not_looked_for(void **state)
{
    unsigned score = 0;
    (void)state;
    for (int i = 0; i < 1000; i++) { /* every second one closely */
        score = lead_score(score, i % 2 ? 10000 : 300000);
        assert_false(lead_looks(score));
    }
}

static void a_queue_is_what_was_there_at_once(void **state)
{
    static const struct {
        uint32_t opcode;
        bool waiting;
        unsigned at_once, after;
        bool gives; /* with many processors */
    } rows[] = {
        {LOOKUP, false, 0, 0, false},      {LOOKUP, true, 0, 1, false},   {GETATTR, true, 1, 2, false},
        {CREATE, true, 14, 15, false},     {CREATE, true, 15, 16, true},  {CREATE, true, 16, 17, true},
        {CREATE, false, 16, 0, false},     {FORGET, true, 2, 2, false},   {RELEASE, true, 2, 2, false},
        {BATCH_FORGET, true, 0, 0, false}, {RELEASE, false, 1, 1, false}, {READ, false, 0, 0, true},
        {WRITE, false, 0, 0, false},       {FSYNC, false, 0, 0, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned after = lead_queue(rows[i].opcode, rows[i].waiting, rows[i].at_once);
        assert_int_equal(after, rows[i].after);
        assert_int_equal(lead_gives(rows[i].opcode, after, 8), rows[i].gives);
    }
    /* where the clients need the processors a queue is answered by one */
    assert_false(lead_gives(LOOKUP, 100, 2));
    assert_true(lead_gives(FSYNC, 0, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_looks_where_requests_follow_closely),
        cmocka_unit_test(who_seldom_asks_is_not_looked_for),
        cmocka_unit_test(a_queue_is_what_was_there_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
