/*
 * What a supervisor says of its container, in memory, in the file `status` and on its socket. Pure.
 *
 * The socket `sock` is a SOCK_SEQPACKET socket (unix(7)); each packet is one message, little-endian:
 *
 *   bladed -> supervisor    ASK               one STATE, please
 *                           ATTACH            output from where the last one that was attached left off,
 * please STOP grace_ms u32 the stop signal now, KILL after that time GOT offset u64    the output up to there
 * is handed on: send more, and never again supervisor -> bladed    STATE ...         after ASK and ATTACH,
 * and at each change; supervise_state_encode OUTPUT offset u64, bytes
 *
 * A message starts with its type, u8. One bladed is attached at a time: a newer one takes the place. When the
 * program has ended, and bladed has heard so, the supervisor hangs up and is gone.
 */
#ifndef AGENT_SUPERVISE_STATE_H
#define AGENT_SUPERVISE_STATE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

enum supervise_phase {
    SUPERVISE_STARTING = 0,
    SUPERVISE_RUNNING = 1,
    SUPERVISE_NOTHING = 2, /* there is nothing to start in this image */
    SUPERVISE_REFUSED = 3, /* could not be started: the sentence says why */
    SUPERVISE_ENDED = 4,
};

struct supervise_state {
    uint64_t start; /* which start of the instance: the spec's number */
    enum supervise_phase phase;
    bool asked;         /* ENDED after a stop was asked for */
    int exit_code;      /* of ENDED; 0 when a signal ended it */
    int signal;         /* of ENDED: 0 none */
    int64_t since_ns;   /* wall clock */
    char sentence[512]; /* of REFUSED and of a bad end */
};

enum supervise_message {
    SUPERVISE_ATTACH = 1,
    SUPERVISE_STOP = 2,
    SUPERVISE_GOT = 3,
    SUPERVISE_STATE = 4,
    SUPERVISE_OUTPUT = 5,
    SUPERVISE_ASK = 6,
};

#define SUPERVISE_OUTPUT_MAX_BYTES ((size_t)32 << 10)
#define SUPERVISE_PACKET_MAX_BYTES (SUPERVISE_OUTPUT_MAX_BYTES + 16)
#define SUPERVISE_WINDOW_BYTES ((uint64_t)256 << 10) /* of output that bladed has not said GOT to */

/* Nothing more will come of it. */
static inline bool supervise_is_over(const struct supervise_state *s)
{
    return s->phase >= SUPERVISE_NOTHING;
}

/* It ended as it should: 0, or because it was told to. */
static inline bool supervise_ended_well(const struct supervise_state *s)
{
    return s->phase == SUPERVISE_ENDED && (s->asked || (s->exit_code == 0 && s->signal == 0));
}

/*
 * Fills exit_code, signal, phase and sentence from a wait status (waitpid(2)). An init that stands between
 * (`through_init`) tells a signal as 128 + its number. `last_line`: of the output, or "".
 */
void supervise_state_ended(struct supervise_state *s, const char *snapshot, int wait_status,
                           bool through_init, const char *last_line);

/* A whole STATE packet; -EBADMSG for what is none. */
void supervise_state_encode(const struct supervise_state *s, struct buf *out);
int supervise_state_decode(const void *bytes, size_t len_bytes, struct supervise_state *out) MUST_CHECK;

/* The file `status`, JSON, below the instance's directory. The write survives power loss. -ENOENT: none. */
int supervise_status_write(int dirfd, const struct supervise_state *s) MUST_CHECK;
int supervise_status_read(int dirfd, struct supervise_state *out) MUST_CHECK;

#endif
