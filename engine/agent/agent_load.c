#include <inttypes.h>
#include <string.h>

#include "agent_parts.h"
#include "base/container.h"
#include "base/log.h"

#define PROGRESS_EVERY_MS 250

/* Forgets the load that did not come to its start. */
static void let_go(struct agent *a)
{
    if (a->load.state == LOAD_PREPARED)
        images_release(a->images, a->load.image);
    if (a->load.state == LOAD_RECEIVING && a->receive)
        receive_cancel(a->receive);
    a->load = (struct load){.state = LOAD_NONE};
}

static void prepared(struct agent *a)
{
    images_hold(a->images, a->load.image); /* until it is the instance's, or let go */
    a->load.state = LOAD_PREPARED;
    struct wire_message m = {.type = WIRE_PREPARED, .load = {.load = a->load.id}};
    connection_send(a->connection, &m);
}

static int receive_it(struct agent *a, const struct wire_prepare *prepare, struct err *err)
{
    void *owner;
    a->receive_number++;
    struct receive_events events = agent_receive_events(a, &owner);
    if (!owner)
        return err_set(err, ENOMEM, "no memory to receive an image");
    struct receive *after = STEAL(a->receive);
    int r = receive_new(a->images, a->dir, prepare, &events, after, &a->receive, err);
    if (r < 0) {
        free(owner);
        return r;
    }
    a->load.state = LOAD_RECEIVING;
    a->progress_bytes = UINT64_MAX;
    /* Bulk may speak of this load only when control has heard that it is known here. */
    struct wire_message m = {.type = WIRE_PROGRESS, .progress = {.load = prepare->load}};
    connection_send(a->connection, &m);
    if (!a->progress_timer.busy)
        loop_timer(a->loop, &a->progress_timer, PROGRESS_EVERY_MS);
    return 0;
}

void agent_prepare(struct agent *a, const struct wire_prepare *prepare)
{
    struct err err = {0};
    if (a->load.state == LOAD_STARTING) {
        err_set(&err, EIO, "this blade still starts %s: try again in a moment", a->load.snapshot);
        agent_send_failed(a, prepare->load, &err);
        return;
    }
    let_go(a);
    a->load.id = prepare->load;
    a->load.image = prepare->image;
    wire_text_copy(&prepare->snapshot, a->load.snapshot, sizeof(a->load.snapshot));
    if (images_has(a->images, prepare->image)) {
        prepared(a);
        return;
    }
    images_trim(a->images);
    agent_send_holdings(a);
    int r;
    if (prepare->descriptor_bytes == 0)
        r = err_set(&err, EIO, "image %s is not on this blade any more: load it again", a->load.snapshot);
    else
        r = receive_it(a, prepare, &err);
    if (r < 0) {
        a->load = (struct load){.state = LOAD_NONE};
        agent_send_failed(a, prepare->load, &err);
    }
}

void agent_received(struct agent *a, int result, const struct err *err)
{
    struct load load = a->load;
    if (load.state != LOAD_RECEIVING) { /* let go meanwhile */
        agent_send_holdings(a);
        return;
    }
    if (result == 0) {
        agent_send_holdings(a);
        prepared(a);
        return;
    }
    a->load = (struct load){.state = LOAD_NONE};
    agent_send_holdings(a);
    if (result != -ECANCELED) {
        log_warn("%s", err->message);
        agent_send_failed(a, load.id, err);
    }
}

void agent_progress_done(struct loop_op *op, int result)
{
    struct agent *a = CONTAINER_OF(op, struct agent, progress_timer);
    (void)result;
    if (a->stopping || a->load.state != LOAD_RECEIVING || !a->receive)
        return;
    struct wire_message m = {.type = WIRE_PROGRESS, .progress = {.load = a->load.id}};
    receive_progress(a->receive, &m.progress.done_bytes, &m.progress.total_bytes);
    if (m.progress.total_bytes && m.progress.done_bytes != a->progress_bytes) {
        a->progress_bytes = m.progress.done_bytes;
        connection_send(a->connection, &m);
    }
    loop_timer(a->loop, &a->progress_timer, PROGRESS_EVERY_MS);
}

static void loaded(void *arg, int result, const struct err *err)
{
    struct agent *a = arg;
    struct load load = a->load;
    a->load = (struct load){.state = LOAD_NONE};
    images_release(a->images, load.image);
    images_trim(a->images);
    if (a->stopping)
        return;
    agent_send_holdings(a);
    if (result < 0)
        log_warn("%s did not start: %s", load.snapshot, err->message);
    if (load.id == 0)
        return; /* who asked is gone; the report says what runs */
    if (result < 0) {
        agent_send_failed(a, load.id, err);
        return;
    }
    struct wire_message m = {.type = WIRE_STARTED, .load = {.load = load.id}};
    connection_send(a->connection, &m);
}

void agent_start(struct agent *a, uint64_t load)
{
    struct err err = {0};
    if (a->load.state != LOAD_PREPARED || a->load.id != load) {
        err_set(&err, EIO, "this blade was told to start what it did not prepare: load it again");
        agent_send_failed(a, load, &err);
        return;
    }
    a->load.state = LOAD_STARTING;
    int r = instance_load(a->instance, a->load.image, a->load.snapshot, loaded, a);
    if (r < 0) {
        err_sys(&err, -r, "this blade cannot start %s now", a->load.snapshot);
        loaded(a, r, &err);
    }
}

void agent_cancel(struct agent *a, uint64_t load)
{
    if (a->load.id == load && a->load.state != LOAD_STARTING)
        let_go(a);
}

void agent_loads_down(struct agent *a)
{
    if (a->load.state == LOAD_STARTING)
        a->load.id = 0;
    else
        let_go(a);
}
