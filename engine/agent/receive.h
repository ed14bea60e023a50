/*
 * An arriving image: its descriptor, the seeds, the chunks; out of them the tree below DIR/incoming and at
 * last the image below DIR/images. What it holds in memory is bounded: the descriptor, its indexes, and a
 * window of chunks that the controller may send ahead.
 *
 * The loop's thread feeds it and never waits; threads of its own expand, check, copy and write. A receive
 * that ends early leaves what it has for the same image to go on from.
 */
#ifndef AGENT_RECEIVE_H
#define AGENT_RECEIVE_H

#include "images.h"
#include "wire/message.h"

#define RECEIVE_WINDOW_BYTES (8u << 20)

struct receive;

struct receive_events {
    /* WANT or CREDIT is to be sent. Its views live as long as the call. */
    void (*send)(void *arg, const struct wire_message *message);
    /* The last call: 0 when the image is complete and on disk, -ECANCELED, or -errno with a sentence. */
    void (*ended)(void *arg, int result, const struct err *err);
    /* Images were dropped to make room. */
    void (*dropped)(void *arg);
    void *arg; /* all are called on threads of the receive's */
};

/*
 * `dir`: the agent's directory's path, for sentences, borrowed. `after`: an earlier receive, or NULL; taken
 * over (also on failure): it is cancelled, and this one begins when it has ended. -EMSGSIZE when the
 * announced sizes are beyond what is allowed.
 */
int receive_new(struct images *images, const char *dir, const struct wire_prepare *prepare,
                const struct receive_events *events, struct receive *after, struct receive **out,
                struct err *err) MUST_CHECK;

/* What the controller sent for this load. A bad message makes the load fail through `ended`. */
void receive_descriptor(struct receive *receive, const struct wire_descriptor *descriptor);
void receive_seeds(struct receive *receive, const struct wire_seeds *seeds);
void receive_chunk(struct receive *receive, const struct wire_chunk *chunk);
/* That was all for now: the chunks are worked on from here on, at the latest. */
void receive_taken(struct receive *receive);

void receive_progress(struct receive *receive, uint64_t *done_bytes, uint64_t *total_bytes);
void receive_cancel(struct receive *receive); /* does not wait; `ended` still comes */
void receive_free(struct receive *receive);   /* cancels and waits for its threads; NULL is allowed */

#endif
