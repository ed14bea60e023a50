/* The instance's decisions, as tables: what happens, what is to be done about it, and the phase after it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "instance_machine.h"

enum what {
    LOAD_1,
    LOAD_2,
    START,
    STOP,
    RESTART,
    UNLOAD,
    BOOT,
    WORKED,       /* the last work that was asked for, well */
    WORK_FAILED,  /* and not */
    KILLED,       /* WORK_KILL */
    SAYS_RUNNING, /* the supervisor */
    SAYS_NOTHING,
    SAYS_REFUSED,
    SAYS_EXIT_0,
    SAYS_EXIT_3,
    SAYS_TERMED, /* by signal 15, as asked */
    GONE,
    TIME,
};

struct row {
    enum what what;
    const char *actions; /* "changed" left out */
    enum wire_phase phase;
};

static const char *const work_names[] = {
    [WORK_PREPARE] = "prepare",   [WORK_SWITCH] = "switch", [WORK_COMMIT] = "commit",
    [WORK_ROLLBACK] = "rollback", [WORK_WANT] = "want",     [WORK_REMOVE] = "remove",
    [WORK_KILL] = "kill",
};

struct play {
    struct instance_machine m;
    enum machine_work work; /* the last one asked for, but for kill */
    int64_t now_ms;
    char actions[256];
};

static void add(struct play *p, const char *word)
{
    size_t len = strlen(p->actions);
    snprintf(p->actions + len, sizeof(p->actions) - len, "%s%s", len ? " " : "", word);
}

static void feed(struct play *p, struct machine_event *event)
{
    struct machine_actions out;
    event->now_ms = p->now_ms;
    event->wall_ns = p->now_ms * 1000000;
    machine_step(&p->m, event, &out);
    p->actions[0] = '\0';
    for (size_t i = 0; i < out.count; i++) {
        const struct machine_action *a = &out.at[i];
        char word[32];
        if (a->kind == ACT_WORK) {
            add(p, work_names[a->work]);
            if (a->work != WORK_KILL)
                p->work = a->work;
        } else if (a->kind == ACT_ANSWER) {
            snprintf(word, sizeof(word), "answer:%d", a->result);
            add(p, word);
        } else if (a->kind != ACT_CHANGED) {
            add(p, a->kind == ACT_SPAWN   ? "spawn"
                   : a->kind == ACT_STOP  ? "stop"
                   : a->kind == ACT_SWEEP ? "sweep"
                                          : "shoot");
        }
    }
}

static void says(struct play *p, enum supervise_phase phase, bool asked, int exit_code, int signal_number)
{
    struct supervise_state s = {
        .phase = phase, .asked = asked, .exit_code = exit_code, .signal = signal_number, .since_ns = 7};
    if (phase == SUPERVISE_REFUSED || exit_code)
        snprintf(s.sentence, sizeof(s.sentence), "it does not like it");
    struct machine_event event = {.kind = EVENT_SUPERVISOR, .supervised = &s};
    feed(p, &event);
}

static void happens(struct play *p, enum what what)
{
    struct err reason = {.code = ENOSPC, .message = "the disk is full"};
    struct machine_event event = {.reason = &reason};
    switch (what) {
    case LOAD_1:
    case LOAD_2:
        event.kind = EVENT_LOAD;
        event.image = what == LOAD_1 ? 1 : 2;
        event.snapshot = what == LOAD_1 ? "web@1" : "web@2";
        break;
    case START:
    case STOP:
    case RESTART:
    case UNLOAD:
        event.kind = EVENT_RUN;
        event.verb = (enum wire_verb)(WIRE_RUN_START + (what - START));
        break;
    case BOOT:
        event.kind = EVENT_BOOT;
        break;
    case WORKED:
    case WORK_FAILED:
    case KILLED:
        event.kind = EVENT_WORK;
        event.work = what == KILLED ? WORK_KILL : p->work;
        event.result = what == WORK_FAILED ? -ENOSPC : 0;
        break;
    case SAYS_RUNNING:
        says(p, SUPERVISE_RUNNING, false, 0, 0);
        return;
    case SAYS_NOTHING:
        says(p, SUPERVISE_NOTHING, false, 0, 0);
        return;
    case SAYS_REFUSED:
        says(p, SUPERVISE_REFUSED, false, 0, 0);
        return;
    case SAYS_EXIT_0:
    case SAYS_EXIT_3:
        says(p, SUPERVISE_ENDED, false, what == SAYS_EXIT_3 ? 3 : 0, 0);
        return;
    case SAYS_TERMED:
        says(p, SUPERVISE_ENDED, true, 0, 15);
        return;
    case GONE:
        event.kind = EVENT_GONE;
        break;
    case TIME:
        assert_true(p->m.deadline_ms > 0);
        p->now_ms = p->m.deadline_ms;
        event.kind = EVENT_TIME;
        break;
    }
    feed(p, &event);
}

static void play(struct play *p, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        happens(p, rows[i].what);
        if (strcmp(p->actions, rows[i].actions) != 0)
            fail_msg("row %zu: '%s' instead of '%s'", i, p->actions, rows[i].actions);
        if (p->m.state.phase != rows[i].phase)
            fail_msg("row %zu: phase %d instead of %d", i, (int)p->m.state.phase, (int)rows[i].phase);
    }
}

#define PLAY(p, rows) play(p, rows, sizeof(rows) / sizeof((rows)[0]))
#define EMPTY WIRE_PHASE_EMPTY
#define STARTING WIRE_PHASE_STARTING
#define RUNNING WIRE_PHASE_RUNNING
#define LOADED WIRE_PHASE_LOADED
#define STOPPED WIRE_PHASE_STOPPED
#define FAILED WIRE_PHASE_FAILED

static struct play fresh(void)
{
    return (struct play){.now_ms = 1000, .m = {.grace_ms = 10000}};
}

static const struct row first_load[] = {
    {LOAD_1, "prepare", EMPTY},        {WORKED, "switch", EMPTY},           {WORKED, "spawn", STARTING},
    {SAYS_RUNNING, "commit", RUNNING}, {WORKED, "sweep answer:0", RUNNING},
};

static void a_first_load(void **state)
{
    (void)state;
    struct play p = fresh();
    PLAY(&p, first_load);
    assert_int_equal(p.m.state.image, 1);
    assert_string_equal(p.m.state.snapshot, "web@1");
    assert_int_equal(p.m.state.since_ns, 7);
    assert_true(p.m.wanted);
    assert_false(machine_is_busy(&p.m));
    static const struct row again[] = {{LOAD_1, "answer:0", RUNNING}, {START, "answer:0", RUNNING}};
    PLAY(&p, again);
}

static void first_loads_that_end_otherwise(void **state)
{
    (void)state;
    static const struct row nothing[] = {
        {LOAD_1, "prepare", EMPTY},       {WORKED, "switch", EMPTY},   {WORKED, "spawn", STARTING},
        {SAYS_NOTHING, "commit", LOADED}, {GONE, "", LOADED},          {WORKED, "sweep answer:0", LOADED},
        {LOAD_1, "answer:0", LOADED},     {START, "answer:0", LOADED},
    };
    static const struct row ends_well[] = {
        {LOAD_1, "prepare", EMPTY},       {WORKED, "switch", EMPTY},           {WORKED, "spawn", STARTING},
        {SAYS_EXIT_0, "commit", STOPPED}, {WORKED, "sweep answer:0", STOPPED}, {GONE, "", STOPPED},
    };
    static const struct row refused[] = {
        {LOAD_1, "prepare", EMPTY},   {WORKED, "switch", EMPTY},    {WORKED, "spawn", STARTING},
        {SAYS_REFUSED, "", STARTING}, {GONE, "rollback", STARTING}, {WORKED, "sweep answer:-5", EMPTY},
    };
    static const struct row ends_badly[] = {
        {LOAD_1, "prepare", EMPTY},  {WORKED, "switch", EMPTY},    {WORKED, "spawn", STARTING},
        {SAYS_EXIT_3, "", STARTING}, {GONE, "rollback", STARTING}, {WORKED, "sweep answer:-5", EMPTY},
    };
    static const struct row supervisor_dies[] = {
        {LOAD_1, "prepare", EMPTY}, {WORKED, "switch", EMPTY},      {WORKED, "spawn", STARTING},
        {GONE, "kill", STARTING},   {KILLED, "rollback", STARTING}, {WORKED, "sweep answer:-5", EMPTY},
    };
    static const struct row no_space[] = {
        {LOAD_1, "prepare", EMPTY},
        {WORK_FAILED, "sweep answer:-28", EMPTY},
    };
    static const struct row no_commit[] = {
        {LOAD_1, "prepare", EMPTY},        {WORKED, "switch", EMPTY},           {WORKED, "spawn", STARTING},
        {SAYS_RUNNING, "commit", RUNNING}, {WORK_FAILED, "stop", RUNNING},      {SAYS_TERMED, "", STOPPED},
        {GONE, "rollback", STOPPED},       {WORKED, "sweep answer:-28", EMPTY},
    };
    struct play p = fresh();
    PLAY(&p, nothing);
    p = fresh();
    PLAY(&p, ends_well);
    p = fresh();
    PLAY(&p, refused);
    assert_string_equal(p.m.reason.message, "it does not like it");
    assert_int_equal(p.m.state.image, 0);
    p = fresh();
    PLAY(&p, ends_badly);
    p = fresh();
    PLAY(&p, supervisor_dies);
    p = fresh();
    PLAY(&p, no_space);
    assert_string_equal(p.m.reason.message, "the disk is full");
    p = fresh();
    PLAY(&p, no_commit);
    assert_false(p.m.wanted);
}

static void another_image(void **state)
{
    (void)state;
    static const struct row well[] = {
        {LOAD_2, "prepare", RUNNING},        {WORKED, "stop", RUNNING},   {SAYS_TERMED, "", STOPPED},
        {GONE, "switch", STOPPED},           {WORKED, "spawn", STARTING}, {SAYS_RUNNING, "commit", RUNNING},
        {WORKED, "sweep answer:0", RUNNING},
    };
    static const struct row back[] = {
        {LOAD_2, "prepare", RUNNING}, {WORKED, "stop", RUNNING},         {SAYS_TERMED, "", STOPPED},
        {GONE, "switch", STOPPED},    {WORKED, "spawn", STARTING},       {SAYS_EXIT_3, "", STARTING},
        {GONE, "rollback", STARTING}, {WORKED, "sweep spawn", STARTING}, {SAYS_RUNNING, "answer:-5", RUNNING},
    };
    static const struct row neither[] = {
        {LOAD_2, "prepare", RUNNING}, {WORKED, "stop", RUNNING},         {SAYS_TERMED, "", STOPPED},
        {GONE, "switch", STOPPED},    {WORKED, "spawn", STARTING},       {SAYS_REFUSED, "", STARTING},
        {GONE, "rollback", STARTING}, {WORKED, "sweep spawn", STARTING}, {SAYS_EXIT_3, "answer:-5", FAILED},
        {GONE, "", FAILED},
    };
    static const struct row switch_fails[] = {
        {LOAD_2, "prepare", RUNNING},
        {WORKED, "stop", RUNNING},
        {SAYS_TERMED, "", STOPPED},
        {GONE, "switch", STOPPED},
        {WORK_FAILED, "rollback", STOPPED},
        {WORKED, "sweep spawn", STARTING},
        {SAYS_RUNNING, "answer:-28", RUNNING},
    };
    static const struct row prepare_fails[] = {
        {LOAD_2, "prepare", RUNNING},
        {WORK_FAILED, "sweep answer:-28", RUNNING},
    };
    struct play p = fresh();
    PLAY(&p, first_load);
    PLAY(&p, well);
    assert_int_equal(p.m.state.image, 2);
    assert_int_equal(p.m.previous, 1);
    p = fresh();
    PLAY(&p, first_load);
    PLAY(&p, back);
    assert_int_equal(p.m.state.image, 1);
    assert_int_equal(p.m.previous, 0);
    assert_string_equal(p.m.state.snapshot, "web@1");
    assert_string_equal(p.m.reason.message, "it does not like it");
    p = fresh();
    PLAY(&p, first_load);
    PLAY(&p, neither);
    assert_int_equal(p.m.state.image, 1);
    p = fresh();
    PLAY(&p, first_load);
    PLAY(&p, switch_fails);
    assert_int_equal(p.m.state.image, 1);
    p = fresh();
    PLAY(&p, first_load);
    PLAY(&p, prepare_fails);
    assert_false(machine_is_busy(&p.m));
}

static void what_was_stopped_stays_so(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {STOP, "stop", RUNNING},
        {SAYS_TERMED, "", STOPPED},
        {GONE, "want", STOPPED},
        {WORKED, "answer:0", STOPPED},
        {STOP, "want", STOPPED},
        {WORKED, "answer:0", STOPPED},
        /* a new image that does not start: the old one is not started either */
        {LOAD_2, "prepare", STOPPED},
        {WORKED, "switch", STOPPED},
        {WORKED, "spawn", STARTING},
        {SAYS_REFUSED, "", STARTING},
        {GONE, "rollback", STARTING},
        {WORKED, "sweep answer:-5", STOPPED},
        {START, "spawn", STARTING},
        {SAYS_RUNNING, "want", RUNNING},
        {WORKED, "answer:0", RUNNING},
    };
    struct play p = fresh();
    PLAY(&p, first_load);
    play(&p, rows, 12);
    assert_false(p.m.wanted);
    play(&p, rows + 12, 3);
    assert_true(p.m.wanted);
}

static void ends_by_itself(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {SAYS_EXIT_3, "", FAILED},
        {GONE, "", FAILED},
        {LOAD_1, "spawn", STARTING},
        {SAYS_RUNNING, "want", RUNNING},
        {WORKED, "answer:0", RUNNING},
        {SAYS_EXIT_0, "", STOPPED},
        {RESTART, "", STOPPED},
        {GONE, "spawn", STARTING},
        {SAYS_RUNNING, "answer:0", RUNNING},
        {GONE, "kill", RUNNING},
        {KILLED, "", FAILED},
        {STOP, "want", STOPPED},
        {WORKED, "answer:0", STOPPED},
    };
    struct play p = fresh();
    PLAY(&p, first_load);
    play(&p, rows, 1);
    assert_string_equal(p.m.state.sentence, "it does not like it");
    play(&p, rows + 1, sizeof(rows) / sizeof(rows[0]) - 1);
}

static void a_dying_supervisor_during_an_operation(void **state)
{
    (void)state;
    static const struct row stop[] = {{STOP, "stop", RUNNING},
                                      {GONE, "kill", RUNNING},
                                      {KILLED, "want", STOPPED},
                                      {WORKED, "answer:0", STOPPED}};
    static const struct row late[] = {{GONE, "kill", RUNNING},
                                      {RESTART, "stop", RUNNING},
                                      {KILLED, "spawn", STARTING},
                                      {SAYS_RUNNING, "answer:0", RUNNING}};
    struct play p = fresh();
    PLAY(&p, first_load);
    PLAY(&p, stop);
    p = fresh();
    PLAY(&p, first_load);
    PLAY(&p, late);
}

static void one_that_does_not_answer_is_shot(void **state)
{
    (void)state;
    static const struct row stop[] = {
        {STOP, "stop", RUNNING}, {TIME, "shoot", RUNNING},  {TIME, "shoot", RUNNING},
        {GONE, "kill", RUNNING}, {KILLED, "want", STOPPED}, {WORKED, "answer:0", STOPPED},
    };
    static const struct row start[] = {
        {RESTART, "stop", RUNNING}, {SAYS_TERMED, "", STOPPED}, {GONE, "spawn", STARTING},
        {TIME, "shoot", STARTING},  {GONE, "kill", STARTING},   {KILLED, "answer:-5", FAILED},
    };
    struct play p = fresh();
    PLAY(&p, first_load);
    PLAY(&p, stop);
    p = fresh();
    PLAY(&p, first_load);
    PLAY(&p, start);
}

static void unload_and_boot(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {UNLOAD, "stop", RUNNING},         {SAYS_TERMED, "", STOPPED},  {GONE, "remove", STOPPED},
        {WORKED, "sweep answer:0", EMPTY}, {UNLOAD, "answer:0", EMPTY}, {START, "answer:-2", EMPTY},
        {STOP, "answer:-2", EMPTY},
    };
    static const struct row boot[] = {{BOOT, "spawn", STARTING}, {SAYS_RUNNING, "", RUNNING}};
    static const struct row bad_boot[] = {
        {BOOT, "spawn", STARTING}, {SAYS_EXIT_3, "", FAILED}, {GONE, "", FAILED}};
    struct play p = fresh();
    PLAY(&p, first_load);
    PLAY(&p, rows);
    assert_int_equal(p.m.state.image, 0);
    struct instance_machine stopped = {.wanted = true, .state = {.image = 1, .phase = STOPPED}};
    p = (struct play){.now_ms = 1000, .m = stopped};
    PLAY(&p, boot);
    assert_int_equal(p.m.state.restarts, 1);
    assert_false(machine_is_busy(&p.m));
    p = (struct play){.now_ms = 1000, .m = stopped};
    PLAY(&p, bad_boot);
    assert_false(machine_is_busy(&p.m));
}

static void stopped_for_what_never_came(void **state)
{
    (void)state;
    /* a bladed before this one asked for it, and was killed */
    static const struct row wanted[] = {
        {SAYS_TERMED, "", STOPPED}, {GONE, "spawn", STARTING}, {SAYS_RUNNING, "", RUNNING}};
    static const struct row unwanted[] = {{SAYS_TERMED, "", STOPPED}, {GONE, "", STOPPED}};
    struct play p = fresh();
    PLAY(&p, first_load);
    PLAY(&p, wanted);
    assert_int_equal(p.m.state.restarts, 1);
    assert_false(machine_is_busy(&p.m));
    p.m.wanted = false;
    PLAY(&p, unwanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_load),
        cmocka_unit_test(first_loads_that_end_otherwise),
        cmocka_unit_test(another_image),
        cmocka_unit_test(what_was_stopped_stays_so),
        cmocka_unit_test(ends_by_itself),
        cmocka_unit_test(a_dying_supervisor_during_an_operation),
        cmocka_unit_test(one_that_does_not_answer_is_shot),
        cmocka_unit_test(unload_and_boot),
        cmocka_unit_test(stopped_for_what_never_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
