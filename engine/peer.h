/*
 * One connection: a socket on the loop with a wire_link in it. Nothing here knows what the messages mean. All
 * on the loop's thread.
 */
#ifndef ENGINE_PEER_H
#define ENGINE_PEER_H

#include "base/loop.h"
#include "wire/link.h"

struct peer;
struct slot;

struct peer_events {
    /* A whole message; its views live as long as the call. May close the peer. */
    void (*message)(struct peer *peer, const struct wire_message *message);
    /* Some output went out. May close the peer. */
    void (*drained)(struct peer *peer);
    /* Once, when it is over, whoever ended it; `why` is a sentence, "" when the other side just closed. The
     * peer is freed on a later turn of the loop. */
    void (*closed)(struct peer *peer, const char *why);
    /* It is gone. */
    void (*freed)(void *arg);
    void *arg;
};

struct peer {
    struct loop *loop;
    struct peer_events events;
    struct wire_link *link;
    int fd;
    char address[64];
    int64_t opened_ms, heard_ms, sent_ms;
    int64_t finish_ms; /* it is closed when its output went out, at the latest then; 0: lives */
    char finish_why[256];
    bool closing;

    /* the owner's */
    struct slot *slot; /* once its hello was accepted or is being weighed */
    enum { PEER_NEW, PEER_WEIGHED, PEER_CONTROL, PEER_BULK } role;
    struct wire_hello hello;
    char agent_version[64];
    uint64_t ping_number;
    struct peer *next, *prev;

    /* its own */
    struct loop_op read_op, write_op;
    struct loop_task reap_task;
    bool reaping;
    uint8_t *in;
    struct buf out; /* what the kernel is reading */
    size_t out_off_bytes;
};

/* Takes `fd` over (also on failure), a connected socket in blocking mode, and starts reading. */
int peer_new(struct loop *loop, int fd, const char *address, wire_find_key find, void *find_arg,
             const struct peer_events *events, struct peer **out) MUST_CHECK;

/* Queues a message and starts writing. On failure (no memory, dead link) the peer is closed; -errno. */
int peer_send(struct peer *peer, const struct wire_message *message);

/* What waits to go out, in bytes of the stream. */
size_t peer_pending(const struct peer *peer);

void peer_close(struct peer *peer, const char *why);
/* Reads no more, and closes it when what waits went out, at `finish_ms` at the latest: see peer_tick. */
void peer_finish(struct peer *peer, const char *why);
/* To be called now and then. */
void peer_tick(struct peer *peer);

#endif
