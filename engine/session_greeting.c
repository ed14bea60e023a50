#include <string.h>

#include "base/fdio.h"
#include "base/log.h"
#include "session_parts.h"

void session_refuse(struct peer *peer, enum wire_refusal code, const char *sentence)
{
    const struct wire_message refused = {
        .type = WIRE_REFUSED, .refused = {.code = (uint16_t)code, .sentence = wire_text(sentence)}};
    peer->slot = NULL; /* it has no part in it, and may outlive it */
    if (peer_send(peer, &refused) == 0)
        peer_finish(peer, sentence);
}

static int send_welcome(struct fleet *fleet, struct peer *peer, uint64_t session)
{
    char name[NAME_MAX_BYTES + 1];
    slot_name(fleet, peer->slot, name);
    struct wire_message welcome = {.type = WIRE_WELCOME,
                                   .welcome = {.version = WIRE_VERSION,
                                               .session = session,
                                               .heartbeat_ms = HEARTBEAT_MS,
                                               .dead_ms = DEAD_MS,
                                               .slot = wire_text(name)}};
    catalog_uuid(fleet->options.catalog, welcome.welcome.store_uuid);
    return peer_send(peer, &welcome);
}

/* Its new key was used: the old one is over. */
static void old_key_ends(struct fleet *fleet, struct slot *slot)
{
    {
        HOLD_LOCK(&fleet->lock);
        if (!slot->has_old_key)
            return;
        slot->has_old_key = false;
        explicit_bzero(&slot->old_key, sizeof slot->old_key);
    }
    commit_keys(fleet, slot->id);
}

void session_welcome(struct fleet *fleet, struct peer *peer)
{
    struct slot *slot = peer->slot;
    char name[NAME_MAX_BYTES + 1];
    slot_name(fleet, slot, name);
    slot->control = peer;
    peer->role = PEER_CONTROL;
    slot->session = ++fleet->last_session;
    slot->reported = false;
    slot->report_snapshot[0] = slot->report_sentence[0] = '\0';
    {
        HOLD_LOCK(&fleet->lock);
        snprintf(slot->info.address, sizeof slot->info.address, "%s", peer->address);
        snprintf(slot->info.version, sizeof slot->info.version, "%s", peer->agent_version);
        slot->info_ns = slot->seen_ns = clock_wall_ns();
    }
    log_info("slot %s: connected from %s, agent %s", name, peer->address, peer->agent_version);
    send_welcome(fleet, peer, slot->session);
}

static void challenge(struct fleet *fleet, struct slot *slot, struct peer *peer)
{
    char name[NAME_MAX_BYTES + 1];
    slot_name(fleet, slot, name);
    if (slot->challenger) {
        log_warn("slot %s: a connection from %s was refused: another one is being weighed", name,
                 peer->address);
        session_refuse(peer, WIRE_REFUSED_BUSY, "the slot is taken, and another connection waits for it");
        return;
    }
    peer->role = PEER_WEIGHED;
    slot->challenger = peer;
    slot->challenge_ends_ms = loop_now_ms(fleet->loop) + CHALLENGE_MS;
    struct peer *first = slot->control;
    const struct wire_message ping = {
        .type = WIRE_PING,
        .ping = {.number = ++fleet->last_ping, .sent_ms = (uint64_t)loop_now_ms(fleet->loop)}};
    first->ping_number = fleet->last_ping;
    if (peer_send(first, &ping) < 0 && slot->challenger == peer) { /* it is closed now */
        slot->challenger = NULL;
        session_welcome(fleet, peer);
    }
}

void session_challenge_answered(struct fleet *fleet, struct slot *slot)
{
    struct peer *peer = slot->challenger;
    char name[NAME_MAX_BYTES + 1];
    slot_name(fleet, slot, name);
    slot->challenger = NULL;
    log_warn(
        "slot %s: a second connection, from %s, was refused: the first, from %s, answers; is this key used "
        "on two machines?",
        name, peer->address, slot->control->address);
    session_refuse(peer, WIRE_REFUSED_BUSY, "another agent with this key is connected and answers");
}

static void hello_control(struct fleet *fleet, struct slot *slot, struct peer *peer)
{
    if (slot->control)
        challenge(fleet, slot, peer);
    else
        session_welcome(fleet, peer);
}

static void hello_bulk(struct fleet *fleet, struct slot *slot, struct peer *peer, uint64_t session)
{
    if (!slot->control || slot->bulk || session != slot->session) {
        session_refuse(peer, WIRE_REFUSED_SESSION, "there is no such session: control comes first");
        return;
    }
    peer->role = PEER_BULK;
    slot->bulk = peer;
    if (send_welcome(fleet, peer, session) == 0)
        session_come_in(fleet, slot);
}

void session_hello(struct fleet *fleet, struct peer *peer, const struct wire_hello *hello)
{
    struct slot *slot;
    bool removing = false;
    {
        HOLD_LOCK(&fleet->lock);
        slot = slots_by_key(&fleet->slots, wire_link_peer(peer->link));
        removing = slot && slot->removing;
    }
    fleet->unauthenticated--;
    peer->role = PEER_WEIGHED;
    wire_text_copy(&hello->agent_version, peer->agent_version, sizeof peer->agent_version);
    if (!slot || removing) {
        session_refuse(peer, WIRE_REFUSED_OTHER, "the slot was removed");
        return;
    }
    peer->slot = slot;
    if (wire_link_peer_key(peer->link) == 0)
        old_key_ends(fleet, slot);
    if (hello->version_min > WIRE_VERSION || hello->version_max < WIRE_VERSION) {
        char sentence[160];
        snprintf(sentence, sizeof sentence,
                 "the agent speaks versions %u to %u of the protocol, the controller %u: give both the same "
                 "release",
                 hello->version_min, hello->version_max, WIRE_VERSION);
        log_warn("a connection from %s was refused: %s", peer->address, sentence);
        session_refuse(peer, WIRE_REFUSED_VERSION, sentence);
        return;
    }
    if (hello->role == WIRE_ROLE_CONTROL)
        hello_control(fleet, slot, peer);
    else
        hello_bulk(fleet, slot, peer, hello->session);
}
