/* What the agent is made of: agent.c (the whole and what it tells), agent_load.c (loads), agent_notes.c (what
 * a receive's threads say), output_queue.c. */
#ifndef AGENT_AGENT_PARTS_H
#define AGENT_AGENT_PARTS_H

#include "agent.h"
#include "base/names.h"
#include "connection.h"
#include "images.h"
#include "instance.h"
#include "output_queue.h"
#include "receive.h"

/* From a receive's thread to the loop's. */
enum note_kind { NOTE_SEND, NOTE_ENDED, NOTE_DROPPED };
struct note {
    struct note *next;
    enum note_kind kind;
    uint64_t receive; /* whose it is: struct agent's receive_number */
    struct wire_message message;
    int result;
    struct err err;
    uint8_t bytes[]; /* what the message's views are of */
};

enum load_state { LOAD_NONE, LOAD_RECEIVING, LOAD_PREPARED, LOAD_STARTING };

struct load {
    enum load_state state;
    uint64_t id; /* 0: the connection that it came over is gone, nobody waits for its end */
    uint64_t image;
    char snapshot[RUNNING_NAME_MAX_BYTES + 1];
};

struct agent {
    struct loop *loop;
    const struct options *options;
    int dirfd;
    const char *dir;
    bool stopping;

    struct images *images;
    struct instance *instance;
    struct connection *connection;
    uint64_t session; /* counts the connections, to know late answers */

    struct load load;
    struct receive *receive; /* the last one; NULL when it has ended */
    uint64_t receive_number;
    struct loop_op progress_timer;
    uint64_t progress_bytes; /* as told */

    struct output_queue output;
    struct loop_op info_timer;

    pthread_mutex_t notes_lock; /* guards what follows */
    struct note *notes, **notes_end;
    struct loop_task notes_task;
    bool notes_posted;
};

/* agent.c */
void agent_send_holdings(struct agent *a);
void agent_send_failed(struct agent *a, uint64_t load, const struct err *err);

/* agent_load.c */
void agent_prepare(struct agent *a, const struct wire_prepare *prepare);
void agent_start(struct agent *a, uint64_t load);
void agent_cancel(struct agent *a, uint64_t load);
void agent_loads_down(struct agent *a); /* the connection is gone */
void agent_received(struct agent *a, int result, const struct err *err);
void agent_progress_done(struct loop_op *op, int result);

/* agent_notes.c */
struct receive_events agent_receive_events(struct agent *a, void **owner);
void agent_notes_run(struct loop_task *task);
void agent_notes_free(struct agent *a);

#endif
