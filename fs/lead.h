/*
 * When the thread that reads requests looks for the next one without sleeping, and when it lets another read.
 * Pure. The idea is that of busy polling: Documentation/networking/napi.rst of the kernel.
 */
#ifndef FS_LEAD_H
#define FS_LEAD_H

#include <stdbool.h>
#include <stdint.h>

/* How long it looks. A client that was just answered asks its next within a few of these microseconds, or
 * later. */
enum { LEAD_LOOK_NS = 50000 };
/* Requests found at once, one after the other, that say that several clients ask at the same time; and the
 * processors that it takes for a second leader to help: with two the clients need the other one (measured: 4
 * clients, 2.0 s against 2.7). */
enum { LEAD_QUEUE = 16, LEAD_PROCESSORS = 4 };

/* `score`: how often looking would have been right of late; 0 at first. */
bool lead_looks(unsigned score);
/* After a request that came `gap_ns` after the last answer. */
unsigned lead_score(unsigned score, int64_t gap_ns);

/*
 * Who asks: the requests that one client (its thread, by the kernel's id, 0: nobody) has made without
 * another's between them. What nobody waits for does not count.
 */
struct lead_client {
    uint32_t id;
    unsigned in_a_row;
};
void lead_asked(struct lead_client *client, uint32_t opcode, uint32_t id);
/* Is it answered best on its own processor (near.h)? */
bool lead_is_near(const struct lead_client *client, unsigned score, unsigned processors);
/* Is it time to see on which one it is? `waiting`: its request was there when it was looked for first, as it
 * always is when both take turns on one. */
bool lead_looks_after(const struct lead_client *client, bool waiting);

/*
 * How many requests were there at once, one after the other; `waiting`: this one was there when it was looked
 * for first. `opcode` is the kernel's: what nobody waits for does not count.
 */
unsigned lead_queue(uint32_t opcode, bool waiting, unsigned at_once);
/* Does it give the lead away before it answers? */
bool lead_gives(uint32_t opcode, unsigned at_once, unsigned processors);

#endif
