#include "lead.h"

enum { SCORE_MAX = 8, SCORE_LOOKS = 4, MISS = 2 };
enum { NEAR_AFTER = 32, NEAR_EVERY = 16 };

/* enum fuse_opcode of linux/fuse.h: what nobody waits for; what may wait for a disk. A write that is not
 * long goes into the page cache. */
enum {
    OP_FORGET = 2,
    OP_RELEASE = 18,
    OP_BATCH_FORGET = 42,
    OP_READ = 15,
    OP_FSYNC = 20,
    OP_FSYNCDIR = 30,
    OP_FALLOCATE = 43,
    OP_LSEEK = 46,
    OP_COPY_FILE_RANGE = 47,
    OP_SYNCFS = 50,
};

bool lead_looks(unsigned score)
{
    return score >= SCORE_LOOKS;
}

unsigned lead_score(unsigned score, int64_t gap_ns)
{
    if (gap_ns <= LEAD_LOOK_NS)
        return score < SCORE_MAX ? score + 1 : SCORE_MAX;
    return score > MISS ? score - MISS : 0;
}

static bool is_waited_for(uint32_t opcode)
{
    return opcode != OP_FORGET && opcode != OP_RELEASE && opcode != OP_BATCH_FORGET;
}

void lead_asked(struct lead_client *client, uint32_t opcode, uint32_t id)
{
    if (!is_waited_for(opcode))
        return;
    if (id == 0 || id != client->id)
        *client = (struct lead_client){.id = id};
    client->in_a_row++;
}

bool lead_is_near(const struct lead_client *client, unsigned score, unsigned processors)
{
    return processors > 1 && client->id != 0 && client->in_a_row >= NEAR_AFTER && lead_looks(score);
}

bool lead_looks_after(const struct lead_client *client, bool waiting)
{
    return !waiting || client->in_a_row % NEAR_EVERY == 0;
}

unsigned lead_queue(uint32_t opcode, bool waiting, unsigned at_once)
{
    if (!is_waited_for(opcode))
        return at_once;
    return waiting ? at_once + 1 : 0;
}

bool lead_gives(uint32_t opcode, unsigned at_once, unsigned processors)
{
    switch (opcode) {
    case OP_READ:
    case OP_FSYNC:
    case OP_FSYNCDIR:
    case OP_FALLOCATE:
    case OP_LSEEK:
    case OP_COPY_FILE_RANGE:
    case OP_SYNCFS:
        return true;
    default:
        return at_once >= LEAD_QUEUE && processors >= LEAD_PROCESSORS;
    }
}
