#include "eager_plan.h"

#define SHARE 4      /* rests so many times as long as it worked */
#define SHARE_NEW 19 /* where nothing was kept */
#define BUSY_MS 50   /* before it is looked at again */

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t rested_at(const struct eager_memory *m)
{
    if (m->ended_ms == 0)
        return 0;
    return m->ended_ms + m->took_ms * (m->kept ? SHARE : SHARE_NEW);
}

enum eager_step eager_next(const struct eager_memory *m, const struct eager_facts *f, int64_t *wait_ms)
{
    *wait_ms = -1;
    if (m->first_ms == 0)
        return EAGER_WAIT;
    int64_t from_ms = later(rested_at(m), m->not_before_ms);
    int64_t whole_ms = later(from_ms, f->changed_ms + EAGER_QUIET_MS);
    int64_t part_ms =
        later(from_ms, m->ended_ms > m->first_ms ? m->ended_ms + m->spacing_ms : m->first_ms + EAGER_PART_MS);
    if (!f->open && !f->busy && f->now_ms >= whole_ms)
        return EAGER_WHOLE;
    /* A part of nothing new is of no use: it waits for a change, which closing a file is as well. */
    bool is_new = f->generation != m->generation;
    if (is_new && f->now_ms >= part_ms)
        return EAGER_PART;
    if (f->open && !is_new)
        return EAGER_WAIT;
    int64_t at_ms = f->open ? part_ms : whole_ms;
    if (is_new && part_ms < at_ms)
        at_ms = part_ms;
    *wait_ms = at_ms > f->now_ms ? at_ms - f->now_ms : BUSY_MS;
    return EAGER_WAIT;
}

void eager_changed(struct eager_memory *m, int64_t changed_ms)
{
    if (m->first_ms == 0)
        m->first_ms = changed_ms > 0 ? changed_ms : 1;
}

void eager_ended(struct eager_memory *m, enum eager_step step, enum eager_result result, bool kept,
                 const struct eager_facts *f, int64_t now_ms)
{
    m->ended_ms = now_ms;
    m->took_ms = now_ms - f->now_ms;
    m->kept = kept;
    m->not_before_ms = 0;
    if (result == EAGER_FAILED) {
        m->not_before_ms = now_ms + EAGER_RETRY_MS;
        return;
    }
    if (result == EAGER_BROKEN_OFF) { /* what was done is kept: it goes on when there is time again */
        m->took_ms = 0;
        m->generation = 0;
        return;
    }
    m->generation = f->generation;
    if (result == EAGER_DONE) {
        m->first_ms = 0;
        m->spacing_ms = EAGER_PART_MS;
    } else if (step == EAGER_PART) {
        m->spacing_ms = m->spacing_ms ? m->spacing_ms * 2 : EAGER_PART_MS;
        if (m->spacing_ms > EAGER_PART_MAX_MS)
            m->spacing_ms = EAGER_PART_MAX_MS;
    }
}
