/*
 * What decides while a capture looks at a source: the gate that changes pass through, and the set of inodes
 * that changed. Pure: the caller brings the time, the lock and the waiting.
 */
#ifndef ENGINE_GATE_H
#define ENGINE_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define GATE_HOLD_MS 100 /* nobody waits longer before a closed gate */

/*
 * A change enters, is made, and leaves. A closed gate lets nobody in; when those inside have left, the tree
 * is held. Who comes to a gate that is closed for GATE_HOLD_MS, or has waited so long, breaks it open, and
 * the capture finds out when it opens it.
 */
struct gate {
    bool closed;
    int64_t closed_ms;
    unsigned inside;
};

void gate_close(struct gate *gate, int64_t now_ms);
/* False: it had been broken open, what was looked at since may have changed. */
bool gate_open(struct gate *gate);
bool gate_held(const struct gate *gate);
/* For a change that came at `since_ms`. True: it is inside. False: ask again after `wait_ms`, or when the
 * gate opens. */
bool gate_enter(struct gate *gate, int64_t since_ms, int64_t now_ms, int64_t *wait_ms);
void gate_leave(struct gate *gate);
/* As gate_enter, for a writer that is opened: it need only wait while the tree is held, since a capture looks
 * for writers after that. It does not get inside. */
bool gate_pass(struct gate *gate, int64_t since_ms, int64_t now_ms, int64_t *wait_ms);

/* Inode numbers, each once; beyond INODES_MAX it is no list any more but `all`. */
#define INODES_MAX 100000

struct inodes {
    uint64_t *slots; /* open addressing, a power of two; 0: free */
    size_t count, room;
    bool all;
};

void inodes_free(struct inodes *set);
/* Without memory: `all`. */
void inodes_add(struct inodes *set, uint64_t inode);
bool inodes_has(const struct inodes *set, uint64_t inode); /* of `all`: yes */
void inodes_add_set(struct inodes *set, const struct inodes *more);
/* The numbers as an array of `count` in place (the set is no set any more, only to be freed). */
uint64_t *inodes_list(struct inodes *set);

#endif
