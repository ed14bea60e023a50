#include "load_machine.h"

struct row {
    enum load_state state;
    enum load_event event;
    enum load_state next;
    unsigned actions;
};

static const struct row rows[] = {
    {LOAD_CAPTURE, LOAD_CAPTURED, LOAD_PLAN, LOAD_DO_PLAN},
    {LOAD_CAPTURE, LOAD_HELD, LOAD_PREPARE, LOAD_DO_PREPARE_HELD},
    {LOAD_CAPTURE, LOAD_SAME, LOAD_COMMIT, LOAD_DO_COMMIT},
    {LOAD_CAPTURE, LOAD_FAILED, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_CAPTURE, LOAD_LOST, LOAD_ENDED, LOAD_DO_STOP_CAPTURE | LOAD_DO_FAIL},
    {LOAD_CAPTURE, LOAD_CANCELLED, LOAD_ENDED, LOAD_DO_STOP_CAPTURE | LOAD_DO_FAIL},

    {LOAD_CHOOSE, LOAD_CHOSEN, LOAD_PLAN, LOAD_DO_PLAN},
    {LOAD_CHOOSE, LOAD_HELD, LOAD_PREPARE, LOAD_DO_PREPARE_HELD},
    {LOAD_CHOOSE, LOAD_FAILED, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_CHOOSE, LOAD_CANCELLED, LOAD_ENDED, LOAD_DO_FAIL},

    {LOAD_PLAN, LOAD_PLANNED, LOAD_PREPARE, LOAD_DO_PREPARE},
    {LOAD_PLAN, LOAD_FAILED, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_PLAN, LOAD_LOST, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_PLAN, LOAD_CANCELLED, LOAD_ENDED, LOAD_DO_FAIL},

    {LOAD_PREPARE, LOAD_PREPARED, LOAD_NOTE, LOAD_DO_NOTE},
    {LOAD_PREPARE, LOAD_NOT_HELD, LOAD_PLAN, LOAD_DO_PLAN},
    {LOAD_PREPARE, LOAD_FAILED, LOAD_ENDED, LOAD_DO_FAIL},
    {LOAD_PREPARE, LOAD_BROKEN, LOAD_ENDED, LOAD_DO_TELL_CANCEL | LOAD_DO_FAIL},
    {LOAD_PREPARE, LOAD_LOST, LOAD_ENDED, LOAD_DO_TELL_CANCEL | LOAD_DO_FAIL},
    {LOAD_PREPARE, LOAD_CANCELLED, LOAD_ENDED, LOAD_DO_TELL_CANCEL | LOAD_DO_FAIL},

    {LOAD_NOTE, LOAD_NOTED, LOAD_START, LOAD_DO_START},
    {LOAD_NOTE, LOAD_FAILED, LOAD_ENDED, LOAD_DO_TELL_CANCEL | LOAD_DO_FAIL},
    {LOAD_NOTE, LOAD_LOST, LOAD_ENDED, LOAD_DO_FORGET | LOAD_DO_TELL_CANCEL | LOAD_DO_FAIL},
    {LOAD_NOTE, LOAD_CANCELLED, LOAD_ENDED, LOAD_DO_FORGET | LOAD_DO_TELL_CANCEL | LOAD_DO_FAIL},

    {LOAD_START, LOAD_STARTED, LOAD_COMMIT, LOAD_DO_COMMIT},
    {LOAD_START, LOAD_FAILED, LOAD_ENDED, LOAD_DO_FORGET | LOAD_DO_FAIL},
    {LOAD_START, LOAD_LOST, LOAD_AWAY, LOAD_DO_AWAIT},

    {LOAD_AWAY, LOAD_STARTED, LOAD_COMMIT, LOAD_DO_COMMIT},
    {LOAD_AWAY, LOAD_FAILED, LOAD_ENDED, LOAD_DO_FORGET | LOAD_DO_FAIL},
    {LOAD_AWAY, LOAD_TIMEOUT, LOAD_ENDED, LOAD_DO_FAIL},

    {LOAD_COMMIT, LOAD_COMMITTED, LOAD_ENDED, LOAD_DO_SUCCEED},
    {LOAD_COMMIT, LOAD_FAILED, LOAD_ENDED, LOAD_DO_FAIL},
};

/* Where `any` goes another way: it has no blade yet, or takes the next when one is lost. */
static const struct row any_rows[] = {
    {LOAD_CAPTURE, LOAD_CAPTURED, LOAD_CHOOSE, LOAD_DO_CHOOSE},
    {LOAD_PLAN, LOAD_LOST, LOAD_CHOOSE, LOAD_DO_LEAVE | LOAD_DO_CHOOSE},
    {LOAD_PREPARE, LOAD_LOST, LOAD_CHOOSE, LOAD_DO_TELL_CANCEL | LOAD_DO_LEAVE | LOAD_DO_CHOOSE},
    {LOAD_NOTE, LOAD_LOST, LOAD_CHOOSE,
     LOAD_DO_FORGET | LOAD_DO_TELL_CANCEL | LOAD_DO_LEAVE | LOAD_DO_CHOOSE},
};

static const struct row *find(const struct row *table, unsigned count, enum load_state state,
                              enum load_event event)
{
    for (unsigned i = 0; i < count; i++) {
        if (table[i].state == state && table[i].event == event)
            return &table[i];
    }
    return NULL;
}

struct load_step load_next(enum load_state state, enum load_event event, bool any)
{
    const struct row *row = NULL;
    if (any)
        row = find(any_rows, sizeof any_rows / sizeof any_rows[0], state, event);
    if (!row)
        row = find(rows, sizeof rows / sizeof rows[0], state, event);
    if (!row)
        return (struct load_step){.state = state, .actions = 0};
    return (struct load_step){.state = row->next, .actions = row->actions};
}
