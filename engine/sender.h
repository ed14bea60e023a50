/*
 * Images on their way out: the descriptor, the seeds, and the chunks that a blade wants, taken from blocks of
 * the packs (pack_blocks.h) and handed on as they lie there, checked but never recompressed. All senders
 * share the blocks. A sender takes one only when its blade has given credit for it and its connection has
 * room, and lets it go as soon as its chunks are queued on the connection: a slow blade holds up nobody else.
 * The loop's thread.
 */
#ifndef ENGINE_SENDER_H
#define ENGINE_SENDER_H

#include "base/loop.h"
#include "blob/image.h"
#include "blob/store.h"
#include "plan.h"
#include "wire/message.h"

/* That wait on a connection, at most (and one message more): little enough for its buffers to be kept when
 * they are empty (engine/wire/link_queue.c): new memory costs more than what is sent in it. */
#define SENDER_ROOM_BYTES (256u << 10)

struct sender_pool;
struct sender;

int sender_pool_new(struct loop *loop, struct blob_store *store, struct sender_pool **out,
                    struct err *err) MUST_CHECK;
bool sender_pool_idle(const struct sender_pool *pool); /* no read is under way */
void sender_pool_free(struct sender_pool *pool);       /* idle, without senders; NULL is allowed */
/* Goes on wherever it can; to be called when a connection has drained. */
void sender_pool_pump(struct sender_pool *pool);

struct sender_events {
    size_t (*pending)(void *arg);                               /* bytes that wait on the connection */
    int (*send)(void *arg, const struct wire_message *message); /* 0 or -errno: it is closed */
    /* A chunk cannot be read: the sender is dead; may stop it. -EIO when it is damaged (set aside already).
     */
    void (*failed)(void *arg, const struct err *err);
    void *arg;
};

/* `plan` is borrowed until sender_stop. */
int sender_new(struct sender_pool *pool, uint64_t load, const struct plan *plan,
               const struct sender_events *events, struct sender **out) MUST_CHECK;
void sender_stop(struct sender *sender); /* frees it; NULL is allowed */

/* The blade knows of the load: the descriptor may go out. */
void sender_begin(struct sender *sender);
/* What the blade asks for: -EBADMSG when it makes no sense, with the fault. */
int sender_want(struct sender *sender, const struct wire_want *want, struct err *err) MUST_CHECK;
int sender_credit(struct sender *sender, uint64_t bytes, struct err *err) MUST_CHECK;
uint64_t sender_sent_bytes(const struct sender *sender); /* of chunks' payload */

#endif
