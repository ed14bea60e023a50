#include <string.h>

#include "agent_parts.h"
#include "base/container.h"
#include "base/log.h"

#define RANGE_BYTES 8u

/* Which receive speaks: its events outlive the moment when another one became the agent's. */
struct speaker {
    struct agent *agent;
    uint64_t number;
};

static void post(struct agent *a, struct note *note)
{
    HOLD_LOCK(&a->notes_lock);
    note->next = NULL;
    *a->notes_end = note;
    a->notes_end = &note->next;
    if (!a->notes_posted) {
        a->notes_posted = true;
        loop_post(a->loop, &a->notes_task);
    }
}

static struct note *make(const struct speaker *s, enum note_kind kind, size_t bytes)
{
    struct note *note = calloc(1, sizeof(*note) + bytes);
    if (!note) {
        log_error("no memory to pass on what a load did");
        return NULL;
    }
    note->kind = kind;
    note->receive = s->number;
    return note;
}

static void on_send(void *arg, const struct wire_message *message)
{
    const struct speaker *s = arg;
    size_t bytes = message->type == WIRE_WANT ? (size_t)message->want.ranges.count * RANGE_BYTES : 0;
    struct note *note = make(s, NOTE_SEND, bytes);
    if (!note)
        return;
    note->message = *message;
    if (message->type == WIRE_WANT) {
        if (bytes)
            memcpy(note->bytes, message->want.ranges.at, bytes);
        note->message.want.ranges.at = note->bytes;
    }
    post(s->agent, note);
}

static void on_ended(void *arg, int result, const struct err *err)
{
    struct speaker *s = arg;
    struct note *note = make(s, NOTE_ENDED, 0);
    if (note) {
        note->result = result;
        note->err = *err;
        post(s->agent, note);
    }
    free(s);
}

static void on_dropped(void *arg)
{
    const struct speaker *s = arg;
    struct note *note = make(s, NOTE_DROPPED, 0);
    if (note)
        post(s->agent, note);
}

struct receive_events agent_receive_events(struct agent *a, void **owner)
{
    struct speaker *s = calloc(1, sizeof(*s));
    if (s)
        *s = (struct speaker){.agent = a, .number = a->receive_number};
    *owner = s;
    return (struct receive_events){.send = on_send, .ended = on_ended, .dropped = on_dropped, .arg = s};
}

static void run_one(struct agent *a, const struct note *note)
{
    if (note->kind == NOTE_DROPPED) {
        agent_send_holdings(a);
        return;
    }
    if (note->receive != a->receive_number || !a->receive)
        return;
    if (note->kind == NOTE_SEND) {
        if (a->load.id)
            connection_send(a->connection, &note->message);
        return;
    }
    receive_free(STEAL(a->receive)); /* its thread is at its end */
    agent_received(a, note->result, &note->err);
}

void agent_notes_run(struct loop_task *task)
{
    struct agent *a = CONTAINER_OF(task, struct agent, notes_task);
    struct note *note;
    {
        HOLD_LOCK(&a->notes_lock);
        note = a->notes;
        a->notes = NULL;
        a->notes_end = &a->notes;
        a->notes_posted = false;
    }
    while (note) {
        struct note *next = note->next;
        if (!a->stopping)
            run_one(a, note);
        free(note);
        note = next;
    }
}

void agent_notes_free(struct agent *a)
{
    for (struct note *note = a->notes; note;) {
        struct note *next = note->next;
        free(note);
        note = next;
    }
    a->notes = NULL;
    a->notes_end = &a->notes;
}
