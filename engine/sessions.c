#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fdio.h"
#include "base/log.h"
#include "session_parts.h"

bool slot_connected(const struct slot *slot)
{
    return slot->control && slot->bulk && slot->reported;
}

/* ---- keys ---- */

/* A wire_find_key. */
static int find_key(void *arg, const char *id, struct wire_key keys[2])
{
    struct fleet *fleet = arg;
    HOLD_LOCK(&fleet->lock);
    const struct slot *slot = slots_by_key(&fleet->slots, id);
    if (!slot || slot->removing)
        return -ENOENT;
    keys[0] = slot->key;
    if (slot->has_old_key)
        keys[1] = slot->old_key;
    return slot->has_old_key ? 2 : 1;
}

/* ---- the end of a connection ---- */

/* `prefix` "as " gives "as slot 1, ", for who claims to be one; a name from outside is not repeated. */
static void claimed_slot(struct fleet *fleet, const struct peer *peer, char *out, size_t out_bytes)
{
    HOLD_LOCK(&fleet->lock);
    const struct slot *slot = slots_by_key(&fleet->slots, wire_link_claimed(peer->link));
    out[0] = '\0';
    if (slot)
        snprintf(out, out_bytes, " as slot %s", slot->name);
}

static void closed_new(struct fleet *fleet, struct peer *peer, const char *why)
{
    char as[NAME_MAX_BYTES + 16];
    fleet->unauthenticated--;
    claimed_slot(fleet, peer, as, sizeof as);
    if (why[0])
        log_warn("a connection from %s%s was refused: %s", peer->address, as, why);
    else
        log_debug("a connection from %s%s ended before its greeting", peer->address, as);
}

static void closed_control(struct fleet *fleet, struct peer *peer, const char *why)
{
    struct slot *slot = peer->slot;
    char name[NAME_MAX_BYTES + 1];
    slot_name(fleet, slot, name);
    log_info("slot %s: the connection from %s is over%s%s", name, peer->address, why[0] ? ": " : "", why);
    slot->control = NULL;
    slot->reported = false;
    slot->holdings_count = 0;
    slot->report = (struct blade_input){0};
    if (slot->bulk)
        peer_close(slot->bulk, "");
    {
        HOLD_LOCK(&fleet->lock);
        slot->seen_ns = clock_wall_ns();
    }
    slot_event(fleet, slot, BLADE_OUT, 0);
    runs_lost(slot);
    loads_lost(slot);
}

static void closed_bulk(struct peer *peer)
{
    struct slot *slot = peer->slot;
    slot->bulk = NULL;
    if (slot->control) /* the two are one session */
        peer_close(slot->control, "its bulk connection ended");
}

static void peer_closed(struct peer *peer, const char *why)
{
    struct fleet *fleet = peer->events.arg;
    struct slot *slot = peer->slot;
    if (peer->prev)
        peer->prev->next = peer->next;
    else
        fleet->peers = peer->next;
    if (peer->next)
        peer->next->prev = peer->prev;

    if (peer->role == PEER_NEW) {
        closed_new(fleet, peer, why);
    } else if (slot && slot->challenger == peer) {
        slot->challenger = NULL;
    } else if (slot && slot->control == peer) {
        closed_control(fleet, peer, why);
    } else if (slot && slot->bulk == peer) {
        closed_bulk(peer);
    }
}

static void peer_freed(void *arg)
{
    struct fleet *fleet = arg;
    fleet->outstanding--;
}

/* ---- the start of one ---- */

static void peer_message(struct peer *peer, const struct wire_message *message)
{
    struct fleet *fleet = peer->events.arg;
    switch (peer->role) {
    case PEER_NEW:
        if (message->type == WIRE_HELLO)
            session_hello(fleet, peer, &message->hello);
        else
            peer_close(peer, "it did not greet");
        break;
    case PEER_WEIGHED:
        peer_close(peer, "it went on before it was welcome");
        break;
    case PEER_CONTROL:
    case PEER_BULK:
        session_message(fleet, peer, message);
        break;
    }
}

static void peer_drained(struct peer *peer)
{
    struct fleet *fleet = peer->events.arg;
    if (peer->role == PEER_BULK)
        sender_pool_pump(fleet->senders);
}

void session_accepted(void *arg, int fd, const char *address)
{
    struct fleet *fleet = arg;
    if (fleet->closing || fleet->unauthenticated >= UNAUTHENTICATED_MAX) {
        log_warn("a connection from %s was refused: too many that have not shown a key", address);
        close(fd);
        return;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    const struct peer_events events = {.message = peer_message,
                                       .drained = peer_drained,
                                       .closed = peer_closed,
                                       .freed = peer_freed,
                                       .arg = fleet};
    struct peer *peer;
    if (peer_new(fleet->loop, fd, address, find_key, fleet, &events, &peer) < 0) {
        log_error("a connection from %s was refused: no memory", address);
        return;
    }
    fleet->outstanding++;
    fleet->unauthenticated++;
    peer->next = fleet->peers;
    if (peer->next)
        peer->next->prev = peer;
    fleet->peers = peer;
}

void session_end(struct slot *slot, const char *why)
{
    if (slot->challenger)
        peer_close(slot->challenger, why);
    if (slot->control)
        peer_close(slot->control, why);
    if (slot->bulk)
        peer_close(slot->bulk, why);
}

void sessions_close(struct fleet *fleet)
{
    while (fleet->peers)
        peer_close(fleet->peers, "the controller ends");
}

/* ---- time ---- */

/* The connection that stands did not answer. */
static void challenge_ends(struct fleet *fleet, struct slot *slot)
{
    struct peer *peer = slot->challenger;
    char name[NAME_MAX_BYTES + 1];
    slot_name(fleet, slot, name);
    log_warn("slot %s: the connection from %s does not answer; one from %s takes its place", name,
             slot->control ? slot->control->address : "before", peer->address);
    slot->challenger = NULL;
    if (slot->control)
        peer_close(slot->control, "it did not answer, and another took its place");
    session_welcome(fleet, peer);
}

/* Returns false when it was closed: the list may have changed then. */
static bool peer_alive(struct fleet *fleet, struct peer *peer, int64_t now_ms, bool late)
{
    peer_tick(peer);
    if (peer->closing)
        return false;
    if (peer->role == PEER_NEW && now_ms - peer->opened_ms > HANDSHAKE_MS) {
        peer_close(peer, "it did not greet in time");
        return false;
    }
    if (peer->role != PEER_CONTROL || peer->finish_ms)
        return true;
    if (!late && now_ms - peer->heard_ms > DEAD_MS) {
        peer_close(peer, "nothing was heard of it for 5 s");
        return false;
    }
    if (now_ms - peer->sent_ms >= HEARTBEAT_MS) {
        const struct wire_message ping = {
            .type = WIRE_PING, .ping = {.number = ++fleet->last_ping, .sent_ms = (uint64_t)now_ms}};
        return peer_send(peer, &ping) == 0;
    }
    return true;
}

void sessions_tick(struct fleet *fleet)
{
    int64_t now_ms = loop_now_ms(fleet->loop);
    /* When this program itself did not run for a while, what was sent meanwhile is still to be read. */
    bool late = fleet->ticked_ms && now_ms - fleet->ticked_ms > 2 * HEARTBEAT_MS;
    fleet->ticked_ms = now_ms;
    struct peer *peer = fleet->peers;
    while (peer) {
        struct slot *slot = peer->slot;
        if (peer->role == PEER_WEIGHED && slot && slot->challenger == peer &&
            now_ms >= slot->challenge_ends_ms) {
            challenge_ends(fleet, slot);
            return; /* the list has changed: the rest has its turn at the next tick */
        }
        if (!peer_alive(fleet, peer, now_ms, late))
            return;
        peer = peer->next;
    }
}
