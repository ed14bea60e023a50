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

static void one_client_is_answered_near(void **state)
{
    struct lead_client c = {0};
    (void)state;
    assert_false(lead_is_near(&c, 8, 2));
    for (unsigned i = 0; i < 31; i++) {
        lead_asked(&c, i % 2 ? LOOKUP : CREATE, 17);
        lead_asked(&c, RELEASE, 0); /* nobody waits for it: whose it is does not count */
        assert_int_equal(c.in_a_row, i + 1);
        assert_false(lead_is_near(&c, 8, 2));
    }
    lead_asked(&c, LOOKUP, 17);
    assert_true(lead_is_near(&c, 8, 2));
    assert_false(lead_is_near(&c, 8, 1)); /* there is no other processor */
    assert_false(lead_is_near(&c, 0, 2)); /* it asks too seldom */
    lead_asked(&c, LOOKUP, 18);
    assert_int_equal(c.in_a_row, 1);
    assert_false(lead_is_near(&c, 8, 2));
    for (unsigned i = 0; i < 100; i++) /* the kernel's own, or of another namespace */
        lead_asked(&c, LOOKUP, 0);
    assert_false(lead_is_near(&c, 8, 2));
}

static void it_is_looked_after_now_and_then_and_when_it_went(void **state)
{
    struct lead_client c = {.id = 17, .in_a_row = 32};
    unsigned looks = 0;
    (void)state;
    for (unsigned i = 0; i < 160; i++, c.in_a_row++) {
        assert_true(lead_looks_after(&c, false));
        looks += lead_looks_after(&c, true);
    }
    assert_int_equal(looks, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_looks_where_requests_follow_closely),
        cmocka_unit_test(who_seldom_asks_is_not_looked_for),
        cmocka_unit_test(a_queue_is_what_was_there_at_once),
        cmocka_unit_test(one_client_is_answered_near),
        cmocka_unit_test(it_is_looked_after_now_and_then_and_when_it_went),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
