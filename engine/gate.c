#include "gate.h"

void gate_close(struct gate *gate, int64_t now_ms)
{
    gate->closed = true;
    gate->closed_ms = now_ms;
}

bool gate_open(struct gate *gate)
{
    bool was_closed = gate->closed;
    gate->closed = false;
    return was_closed;
}

bool gate_held(const struct gate *gate)
{
    return gate->closed && gate->inside == 0;
}

/* Whether the gate is open, be it that it is broken open now. */
static bool is_open(struct gate *gate, int64_t since_ms, int64_t now_ms, int64_t *wait_ms)
{
    if (!gate->closed)
        return true;
    /* It may have been closed anew while this one waited. */
    int64_t from_ms = since_ms < gate->closed_ms ? since_ms : gate->closed_ms;
    int64_t left_ms = from_ms + GATE_HOLD_MS - now_ms;
    if (left_ms <= 0) {
        gate->closed = false;
        return true;
    }
    *wait_ms = left_ms;
    return false;
}

bool gate_enter(struct gate *gate, int64_t since_ms, int64_t now_ms, int64_t *wait_ms)
{
    if (!is_open(gate, since_ms, now_ms, wait_ms))
        return false;
    gate->inside++;
    return true;
}

void gate_leave(struct gate *gate)
{
    if (gate->inside > 0)
        gate->inside--;
}

bool gate_pass(struct gate *gate, int64_t since_ms, int64_t now_ms, int64_t *wait_ms)
{
    return !gate_held(gate) || is_open(gate, since_ms, now_ms, wait_ms);
}

void inodes_free(struct inodes *set)
{
    free(set->slots);
    *set = (struct inodes){0};
}

static void give_up(struct inodes *set)
{
    inodes_free(set);
    set->all = true;
}

/* Where it is, or belongs. */
static size_t place_of(const uint64_t *slots, size_t room, uint64_t inode)
{
    /* Fibonacci hashing (Knuth, TAOCP 6.4): neighbours are spread. */
    size_t at = (size_t)((inode * 0x9e3779b97f4a7c15u) >> 32) & (room - 1);
    while (slots[at] != 0 && slots[at] != inode)
        at = (at + 1) & (room - 1);
    return at;
}

static bool put(uint64_t *slots, size_t room, uint64_t inode)
{
    size_t at = place_of(slots, room, inode);
    if (slots[at] == inode)
        return false;
    slots[at] = inode;
    return true;
}

bool inodes_has(const struct inodes *set, uint64_t inode)
{
    return set->all ||
           (set->room > 0 && inode != 0 && set->slots[place_of(set->slots, set->room, inode)] == inode);
}

static bool grow(struct inodes *set)
{
    size_t room = set->room ? set->room * 2 : 64;
    uint64_t *slots = calloc(room, sizeof(*slots));
    if (!slots)
        return false;
    for (size_t i = 0; i < set->room; i++)
        if (set->slots[i])
            put(slots, room, set->slots[i]);
    free(set->slots);
    set->slots = slots;
    set->room = room;
    return true;
}

void inodes_add(struct inodes *set, uint64_t inode)
{
    if (set->all || inode == 0)
        return;
    if (set->count * 2 >= set->room && !grow(set)) {
        give_up(set);
        return;
    }
    if (put(set->slots, set->room, inode) && ++set->count > INODES_MAX)
        give_up(set);
}

void inodes_add_set(struct inodes *set, const struct inodes *more)
{
    if (more->all)
        give_up(set);
    for (size_t i = 0; i < more->room; i++)
        inodes_add(set, more->slots[i]);
}

uint64_t *inodes_list(struct inodes *set)
{
    size_t n = 0;
    for (size_t i = 0; i < set->room; i++)
        if (set->slots[i])
            set->slots[n++] = set->slots[i];
    return set->slots;
}
