#include <string.h>

#include "base/fdio.h"
#include "base/log.h"
#include "session_parts.h"
#include "slot_log.h"

void session_come_in(struct fleet *fleet, struct slot *slot)
{
    if (slot->blade.in || !slot_connected(slot))
        return;
    slot_reported(fleet, slot, BLADE_IN);
    slot_drop_images(fleet, slot);
    loads_reported(slot);
}

static void info(struct fleet *fleet, struct slot *slot, const struct wire_info *in)
{
    {
        HOLD_LOCK(&fleet->lock);
        struct blade_info *out = &slot->info;
        out->known = true;
        out->cores = in->cores;
        out->restarts = in->restarts;
        out->memory_bytes = in->memory_bytes;
        out->memory_free_bytes = in->memory_free_bytes;
        out->disk_bytes = in->disk_bytes;
        out->disk_free_bytes = in->disk_free_bytes;
        out->uptime_s = in->uptime_s;
        wire_text_copy(&in->machine, out->machine, sizeof out->machine);
        wire_text_copy(&in->kernel, out->kernel, sizeof out->kernel);
        wire_text_copy(&in->runtime, out->runtime, sizeof out->runtime);
        slot->info_ns = clock_wall_ns();
    }
    fleet_notify(fleet, ENGINE_SLOT, slot->id);
}

static void holdings(struct fleet *fleet, struct slot *slot, const struct wire_holdings *in)
{
    uint32_t count = in->images.count, skip = count > HOLDINGS_MAX ? count - HOLDINGS_MAX : 0;
    slot->holdings_count = 0;
    for (uint32_t i = skip; i < count; i++)
        slot->holdings[slot->holdings_count++] = wire_u64_at(&in->images, i);
    if (slot->blade.in)
        slot_drop_images(fleet, slot);
}

static void report(struct fleet *fleet, struct slot *slot, const struct wire_report *in)
{
    slot->report = (struct blade_input){.phase = (enum wire_phase)in->phase, .image = in->image};
    wire_text_copy(&in->snapshot, slot->report_snapshot, sizeof slot->report_snapshot);
    wire_text_copy(&in->sentence, slot->report_sentence, sizeof slot->report_sentence);
    slot->reported = true;
    slot->reported_ms = loop_now_ms(fleet->loop);
    if (!slot->blade.in) {
        session_come_in(fleet, slot);
        return;
    }
    slot_reported(fleet, slot, BLADE_REPORT);
    loads_reported(slot);
}

static void pong(struct fleet *fleet, struct peer *peer, const struct wire_ping *in)
{
    if (peer->slot->challenger && in->number == peer->ping_number)
        session_challenge_answered(fleet, peer->slot);
}

static void control_message(struct fleet *fleet, struct peer *peer, const struct wire_message *m)
{
    struct slot *slot = peer->slot;
    switch (m->type) {
    case WIRE_PING:
        peer_send(peer, &(struct wire_message){.type = WIRE_PONG, .ping = m->ping});
        break;
    case WIRE_PONG:
        pong(fleet, peer, &m->ping);
        break;
    case WIRE_INFO:
        info(fleet, slot, &m->info);
        break;
    case WIRE_HOLDINGS:
        holdings(fleet, slot, &m->holdings);
        break;
    case WIRE_REPORT:
        report(fleet, slot, &m->report);
        break;
    case WIRE_PROGRESS:
    case WIRE_PREPARED:
    case WIRE_STARTED:
    case WIRE_FAILED:
        loads_control_message(slot, m);
        break;
    case WIRE_RUN_DONE:
        runs_done(slot, &m->run_done);
        break;
    default:
        peer_close(peer, "it sent a message that a controller does not take");
    }
}

static void output(struct fleet *fleet, struct slot *slot, const struct wire_log *in)
{
    int rc = slot_log_append(fleet->logs_fd, slot->id, in->output.at, in->output.len_bytes);
    if (rc < 0)
        log_warn("the output of slot %u cannot be kept: %s", slot->id, strerror(-rc));
    slot->log_grew = true;
}

static void bulk_message(struct fleet *fleet, struct peer *peer, const struct wire_message *m)
{
    struct err err = {0};
    switch (m->type) {
    case WIRE_LOG:
        output(fleet, peer->slot, &m->log);
        break;
    case WIRE_WANT:
    case WIRE_CREDIT:
        if (loads_bulk_message(peer->slot, m, &err) < 0)
            peer_close(peer, err.message);
        break;
    default:
        peer_close(peer, "it sent a message that a controller does not take");
    }
}

void session_message(struct fleet *fleet, struct peer *peer, const struct wire_message *message)
{
    if (peer->role == PEER_BULK)
        bulk_message(fleet, peer, message);
    else
        control_message(fleet, peer, message);
}
