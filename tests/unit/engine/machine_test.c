/* The machines of a blade and of a load, as tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "blade_machine.h"
#include "load_machine.h"

/* ---- a load ---- */

struct load_row {
    enum load_state from;
    enum load_event event;
    bool any;
    enum load_state to;
    unsigned actions;
};

static const struct load_row load_rows[] = {
    /* the straight way */
    {LOAD_CAPTURE, LOAD_CAPTURED, false, LOAD_PLAN, LOAD_DO_PLAN},
    {LOAD_PLAN, LOAD_PLANNED, false, LOAD_PREPARE, LOAD_DO_PREPARE},
    {LOAD_PREPARE, LOAD_PREPARED, false, LOAD_NOTE, LOAD_DO_NOTE},
    {LOAD_NOTE, LOAD_NOTED, false, LOAD_START, LOAD_DO_START},
    {LOAD_START, LOAD_STARTED, false, LOAD_COMMIT, LOAD_DO_COMMIT},
    {LOAD_COMMIT, LOAD_COMMITTED, false, LOAD_ENDED, LOAD_DO_SUCCEED},
    /* short cuts */
    {LOAD_CAPTURE, LOAD_SAME, false, LOAD_COMMIT, LOAD_DO_COMMIT},
    {LOAD_CAPTURE, LOAD_HELD, false, LOAD_PREPARE, LOAD_DO_PREPARE_HELD},
    {LOAD_PREPARE, LOAD_NOT_HELD, false, LOAD_PLAN, LOAD_DO_PLAN},
    /* any */
    {LOAD_CAPTURE, LOAD_CAPTURED, true, LOAD_CHOOSE, LOAD_DO_CHOOSE},
    {LOAD_CHOOSE, LOAD_CHOSEN, true, LOAD_PLAN, LOAD_DO_PLAN},
    {LOAD_CHOOSE, LOAD_HELD, true, LOAD_PREPARE, LOAD_DO_PREPARE_HELD},
    {LOAD_CHOOSE, LOAD_FAILED, true, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_PLAN, LOAD_LOST, true, LOAD_CHOOSE, LOAD_DO_LEAVE | LOAD_DO_CHOOSE},
    {LOAD_PREPARE, LOAD_LOST, true, LOAD_CHOOSE, LOAD_DO_TELL_CANCEL | LOAD_DO_LEAVE | LOAD_DO_CHOOSE},
    {LOAD_PREPARE, LOAD_FAILED, true, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_NOTE, LOAD_LOST, true, LOAD_CHOOSE,
     LOAD_DO_FORGET | LOAD_DO_TELL_CANCEL | LOAD_DO_LEAVE | LOAD_DO_CHOOSE},
    {LOAD_START, LOAD_LOST, true, LOAD_AWAY, LOAD_DO_AWAIT},
    /* what breaks */
    {LOAD_CAPTURE, LOAD_FAILED, false, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_CAPTURE, LOAD_LOST, false, LOAD_ENDED, LOAD_DO_STOP_CAPTURE | LOAD_DO_FAIL},
    {LOAD_PLAN, LOAD_FAILED, false, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_PLAN, LOAD_LOST, false, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_PREPARE, LOAD_FAILED, false, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_PREPARE, LOAD_BROKEN, false, LOAD_ENDED, LOAD_DO_TELL_CANCEL | LOAD_DO_FAIL},
    {LOAD_PREPARE, LOAD_LOST, false, LOAD_ENDED, LOAD_DO_TELL_CANCEL | LOAD_DO_FAIL},
    {LOAD_NOTE, LOAD_FAILED, false, LOAD_ENDED, LOAD_DO_TELL_CANCEL | LOAD_DO_FAIL},
    {LOAD_NOTE, LOAD_LOST, false, LOAD_ENDED, LOAD_DO_FORGET | LOAD_DO_TELL_CANCEL | LOAD_DO_FAIL},
    {LOAD_START, LOAD_FAILED, false, LOAD_ENDED, LOAD_DO_FORGET | LOAD_DO_FAIL},
    {LOAD_START, LOAD_LOST, false, LOAD_AWAY, LOAD_DO_AWAIT},
    {LOAD_AWAY, LOAD_STARTED, false, LOAD_COMMIT, LOAD_DO_COMMIT},
    {LOAD_AWAY, LOAD_FAILED, false, LOAD_ENDED, LOAD_DO_FORGET | LOAD_DO_FAIL},
    {LOAD_AWAY, LOAD_TIMEOUT, false, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_COMMIT, LOAD_FAILED, false, LOAD_ENDED, LOAD_DO_FAIL},
    /* nobody waits any more: only until START */
    {LOAD_CAPTURE, LOAD_CANCELLED, false, LOAD_ENDED, LOAD_DO_STOP_CAPTURE | LOAD_DO_FAIL},
    {LOAD_CHOOSE, LOAD_CANCELLED, true, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_PLAN, LOAD_CANCELLED, false, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_PREPARE, LOAD_CANCELLED, false, LOAD_ENDED, LOAD_DO_TELL_CANCEL | LOAD_DO_FAIL},
    {LOAD_NOTE, LOAD_CANCELLED, false, LOAD_ENDED, LOAD_DO_FORGET | LOAD_DO_TELL_CANCEL | LOAD_DO_FAIL},
    {LOAD_START, LOAD_CANCELLED, false, LOAD_START, 0},
    {LOAD_AWAY, LOAD_CANCELLED, false, LOAD_AWAY, 0},
    {LOAD_COMMIT, LOAD_CANCELLED, false, LOAD_COMMIT, 0},
    /* what comes out of turn */
    {LOAD_PREPARE, LOAD_STARTED, false, LOAD_PREPARE, 0},
    {LOAD_CAPTURE, LOAD_PREPARED, false, LOAD_CAPTURE, 0},
    {LOAD_START, LOAD_PREPARED, false, LOAD_START, 0},
    {LOAD_COMMIT, LOAD_STARTED, false, LOAD_COMMIT, 0},
    {LOAD_COMMIT, LOAD_LOST, false, LOAD_COMMIT, 0},
    {LOAD_AWAY, LOAD_LOST, false, LOAD_AWAY, 0},
};

static void load_goes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof load_rows / sizeof load_rows[0]; i++) {
        const struct load_row *row = &load_rows[i];
        struct load_step step = load_next(row->from, row->event, row->any);
        if (step.state != row->to || step.actions != row->actions)
            fail_msg("row %zu: state %d, actions %x", i, (int)step.state, step.actions);
    }
}

/* Whatever happens, in whatever order: once it has ended nothing follows, and no event that ends it leaves it
 * without an answer. */
static void load_always_answers(void **state)
{
    (void)state;
    for (int any = 0; any < 2; any++) {
        for (int s = 0; s < LOAD_STATES; s++) {
            for (int e = 0; e < LOAD_EVENTS; e++) {
                struct load_step step = load_next((enum load_state)s, (enum load_event)e, any);
                bool answers = step.actions & (LOAD_DO_SUCCEED | LOAD_DO_FAIL);
                if (s == LOAD_ENDED)
                    assert_true(step.state == LOAD_ENDED && step.actions == 0);
                else
                    assert_int_equal(answers, step.state == LOAD_ENDED);
                if (step.actions & LOAD_DO_NOTE) /* nothing is started before its tree is complete */
                    assert_true(s == LOAD_PREPARE && e == LOAD_PREPARED);
                if (step.actions & LOAD_DO_START) /* nor before the catalog knows */
                    assert_true(s == LOAD_NOTE && e == LOAD_NOTED);
                if (step.actions & LOAD_DO_FORGET) /* never while the blade may run it */
                    assert_true(s == LOAD_NOTE || ((s == LOAD_START || s == LOAD_AWAY) && e == LOAD_FAILED));
                if (step.actions & LOAD_DO_TELL_CANCEL)
                    assert_true(s < LOAD_START);
            }
        }
    }
}

/* ---- a blade ---- */

#define X 7u /* images */
#define Y 9u

struct blade_row {
    struct blade_input in;
    enum engine_state state;
    unsigned actions;
};

#define CHANGED BLADE_STATE_CHANGED

static void play(uint64_t acknowledged, enum engine_state first, const struct blade_row *rows, size_t count)
{
    struct blade b;
    blade_begin(&b, acknowledged, 1);
    assert_int_equal(b.state, first);
    assert_int_equal(b.state_ns, 1);
    for (size_t i = 0; i < count; i++) {
        int64_t before = b.state_ns, now = 100 + (int64_t)i;
        unsigned actions = blade_step(&b, &rows[i].in, now);
        if (b.state != rows[i].state || actions != rows[i].actions)
            fail_msg("row %zu: %s, actions %x", i, engine_state_name(b.state), actions);
        assert_int_equal(b.state_ns, actions & CHANGED ? now : before);
    }
}
#define PLAY(acknowledged, first, rows) play(acknowledged, first, rows, sizeof(rows) / sizeof((rows)[0]))

static void first_load(void **state)
{
    (void)state;
    static const struct blade_row rows[] = {
        {{BLADE_REPORT, WIRE_PHASE_RUNNING, X}, ENGINE_ABSENT, 0}, /* not in yet */
        {{BLADE_IN, WIRE_PHASE_EMPTY, 0}, ENGINE_READY, CHANGED},
        {{BLADE_LOADING, 0, 0}, ENGINE_LOADING, CHANGED},
        {{BLADE_STARTING, 0, X}, ENGINE_LOADING, 0},
        {{BLADE_REPORT, WIRE_PHASE_STARTING, X}, ENGINE_LOADING, 0},
        {{BLADE_REPORT, WIRE_PHASE_RUNNING, X}, ENGINE_LOADING, 0}, /* not acknowledged yet */
        {{BLADE_ACKNOWLEDGED, 0, X}, ENGINE_RUNNING, CHANGED},
        {{BLADE_LOAD_OVER, 0, 0}, ENGINE_RUNNING, 0},
        {{BLADE_REPORT, WIRE_PHASE_FAILED, X}, ENGINE_FAILED, CHANGED | BLADE_NOTE_FAILED},
        {{BLADE_REPORT, WIRE_PHASE_FAILED, X}, ENGINE_FAILED, 0},
        {{BLADE_OUT, 0, 0}, ENGINE_LOST, CHANGED},
        {{BLADE_IN, WIRE_PHASE_RUNNING, X}, ENGINE_RUNNING, CHANGED},
        {{BLADE_REPORT, WIRE_PHASE_STOPPED, X}, ENGINE_STOPPED, CHANGED},
    };
    PLAY(0, ENGINE_ABSENT, rows);
}

static void answer_before_report(void **state)
{
    (void)state;
    static const struct blade_row rows[] = {
        {{BLADE_IN, WIRE_PHASE_EMPTY, 0}, ENGINE_READY, CHANGED},
        {{BLADE_LOADING, 0, 0}, ENGINE_LOADING, CHANGED},
        {{BLADE_STARTING, 0, X}, ENGINE_LOADING, 0},
        {{BLADE_ACKNOWLEDGED, 0, X}, ENGINE_RUNNING, CHANGED},
        {{BLADE_LOAD_OVER, 0, 0}, ENGINE_RUNNING, 0},
        {{BLADE_REPORT, WIRE_PHASE_LOADED, X}, ENGINE_LOADED, CHANGED},
        /* unload: the report first */
        {{BLADE_REPORT, WIRE_PHASE_EMPTY, 0}, ENGINE_STOPPED, CHANGED},
        {{BLADE_ACKNOWLEDGED, 0, 0}, ENGINE_READY, CHANGED},
    };
    PLAY(0, ENGINE_ABSENT, rows);
}

static void next_load(void **state)
{
    (void)state;
    static const struct blade_row rows[] = {
        {{BLADE_IN, WIRE_PHASE_RUNNING, X}, ENGINE_RUNNING, CHANGED},
        {{BLADE_LOADING, 0, 0}, ENGINE_RUNNING, 0}, /* what runs goes on running */
        {{BLADE_STARTING, 0, Y}, ENGINE_RUNNING, 0},
        {{BLADE_REPORT, WIRE_PHASE_STARTING, Y}, ENGINE_LOADING, CHANGED},
        {{BLADE_REPORT, WIRE_PHASE_FAILED, Y}, ENGINE_LOADING, 0}, /* the load's own failure */
        {{BLADE_LOAD_OVER, 0, 0}, ENGINE_FAILED, CHANGED},
        {{BLADE_REPORT, WIRE_PHASE_RUNNING, X}, ENGINE_RUNNING, CHANGED},
        {{BLADE_LOADING, 0, 0}, ENGINE_RUNNING, 0},
        {{BLADE_LOAD_OVER, 0, 0}, ENGINE_RUNNING, 0},
        {{BLADE_REPORT, WIRE_PHASE_STOPPED, X}, ENGINE_STOPPED, CHANGED},
        {{BLADE_LOADING, 0, 0}, ENGINE_LOADING, CHANGED}, /* nothing runs */
        {{BLADE_LOAD_OVER, 0, 0}, ENGINE_STOPPED, CHANGED},
    };
    PLAY(X, ENGINE_LOST, rows);
}

static void truth_of_the_blade(void **state)
{
    (void)state;
    static const struct blade_row other[] = {
        {{BLADE_IN, WIRE_PHASE_RUNNING, Y}, ENGINE_RUNNING, CHANGED | BLADE_ADOPT},
        {{BLADE_ACKNOWLEDGED, 0, Y}, ENGINE_RUNNING, 0},
    };
    PLAY(X, ENGINE_LOST, other);
    static const struct blade_row unknown[] = {
        {{BLADE_IN, WIRE_PHASE_STOPPED, Y}, ENGINE_STOPPED, CHANGED | BLADE_ADOPT},
    };
    PLAY(0, ENGINE_ABSENT, unknown);
    static const struct blade_row starting[] = {
        /* what may still fail is not taken over, what then runs is */
        {{BLADE_IN, WIRE_PHASE_STARTING, Y}, ENGINE_LOADING, CHANGED},
        {{BLADE_REPORT, WIRE_PHASE_RUNNING, Y}, ENGINE_RUNNING, CHANGED | BLADE_ADOPT},
    };
    PLAY(X, ENGINE_LOST, starting);
    static const struct blade_row replaced_disk[] = {
        {{BLADE_IN, WIRE_PHASE_EMPTY, 0}, ENGINE_FAILED, CHANGED | BLADE_NOTE_MISSING},
        {{BLADE_LOADING, 0, 0}, ENGINE_LOADING, CHANGED},
        {{BLADE_LOAD_OVER, 0, 0}, ENGINE_FAILED, CHANGED},
        {{BLADE_OUT, 0, 0}, ENGINE_LOST, CHANGED},
        {{BLADE_IN, WIRE_PHASE_RUNNING, X}, ENGINE_RUNNING, CHANGED | BLADE_NOTE_FOUND},
        {{BLADE_OUT, 0, 0}, ENGINE_LOST, CHANGED},
        {{BLADE_IN, WIRE_PHASE_RUNNING, X}, ENGINE_RUNNING, CHANGED},
    };
    PLAY(X, ENGINE_LOST, replaced_disk);
    static const struct blade_row away[] = {
        {{BLADE_IN, WIRE_PHASE_RUNNING, X}, ENGINE_RUNNING, CHANGED},
        {{BLADE_LOADING, 0, 0}, ENGINE_RUNNING, 0},
        {{BLADE_STARTING, 0, Y}, ENGINE_RUNNING, 0},
        {{BLADE_OUT, 0, 0}, ENGINE_LOST, CHANGED},
        {{BLADE_IN, WIRE_PHASE_RUNNING, Y}, ENGINE_LOADING, CHANGED}, /* the load takes it up, not adoption */
        {{BLADE_ACKNOWLEDGED, 0, Y}, ENGINE_RUNNING, CHANGED},
        {{BLADE_LOAD_OVER, 0, 0}, ENGINE_RUNNING, 0},
    };
    PLAY(X, ENGINE_LOST, away);
    static const struct blade_row not_noted[] = {
        {{BLADE_IN, WIRE_PHASE_RUNNING, X}, ENGINE_RUNNING, CHANGED},
        {{BLADE_LOADING, 0, 0}, ENGINE_RUNNING, 0},
        {{BLADE_STARTING, 0, Y}, ENGINE_RUNNING, 0},
        {{BLADE_REPORT, WIRE_PHASE_RUNNING, Y}, ENGINE_LOADING, CHANGED},
        {{BLADE_LOAD_OVER, 0, 0}, ENGINE_RUNNING, CHANGED | BLADE_ADOPT},
    };
    PLAY(X, ENGINE_LOST, not_noted);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(engine_state_name(ENGINE_ABSENT), "absent");
    assert_string_equal(engine_state_name(ENGINE_LOST), "lost");
    assert_string_equal(engine_state_name(ENGINE_STATES), "unknown");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(load_goes),  cmocka_unit_test(load_always_answers),
        cmocka_unit_test(first_load), cmocka_unit_test(answer_before_report),
        cmocka_unit_test(next_load),  cmocka_unit_test(truth_of_the_blade),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
