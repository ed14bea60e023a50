#include "ids.h"

enum { CLASS_BITS = 60 };
enum {
    CLASS_SNAPSHOT = 0,
    CLASS_FIXED = 1,
    CLASS_RUNNING = 2,
    CLASS_SLOT = 3,
    CLASS_ACTION = 4,
    CLASS_BLADEFS = 5,
    CLASS_LINK = 6,
};
enum { FIXED_STATE = 0x40 };
enum { LINK_BITS = 5 }; /* of the kind: link above, state below */

#define ROW_MASK UINT64_C(0xff)
#define SLOT_MASK UINT64_C(0xffffffff)

static uint64_t with_class(unsigned class, uint64_t rest)
{
    return (uint64_t) class << CLASS_BITS | rest;
}

static uint64_t control_encode(const struct node_id *id)
{
    if (id->bladefs)
        return id->owner > NODE_BLADEFS_OWNER_MAX ? 0 : with_class(CLASS_BLADEFS, id->owner << 8 | id->row);
    if (id->action)
        return with_class(CLASS_ACTION, (id->owner & SLOT_MASK) << 28 | (uint64_t)id->row << 20 |
                                            (id->sequence & NODE_SEQUENCE_MAX));
    return with_class(CLASS_SLOT, (id->owner & SLOT_MASK) << 8 | id->row);
}

uint64_t node_id_encode(const struct node_id *id)
{
    switch (id->kind) {
    case NODE_NONE:
        return 0;
    case NODE_TOP:
        return NODE_TOP_ID;
    case NODE_SNAPSHOT:
        return id->owner > NODE_SNAPSHOT_MAX || id->owner == NODE_TOP_ID ? 0 : id->owner;
    case NODE_RUNNINGS:
    case NODE_BLADES:
    case NODE_ANY:
    case NODE_STATES:
    case NODE_STORE:
        return with_class(CLASS_FIXED, id->kind);
    case NODE_STATE:
        return with_class(CLASS_FIXED, FIXED_STATE + id->state);
    case NODE_CONTROL:
        return control_encode(id);
    case NODE_SLOT:
        return with_class(CLASS_SLOT, (id->owner & SLOT_MASK) << 8);
    case NODE_BLADEFS:
        return id->owner > NODE_BLADEFS_OWNER_MAX ? 0 : with_class(CLASS_BLADEFS, id->owner << 8);
    case NODE_SLOT_LINK:
        return with_class(CLASS_LINK,
                          (uint64_t)(id->link << LINK_BITS | id->state) << 32 | (id->owner & SLOT_MASK));
    case NODE_RUNNING:
        if (id->inode > NODE_RUNNING_INODE_MAX)
            return 0;
        return with_class(CLASS_RUNNING, (id->owner & SLOT_MASK) << 28 | id->inode);
    }
    return 0;
}

static struct node_id decode_fixed(uint64_t rest)
{
    struct node_id id = {.kind = NODE_NONE};
    switch (rest) {
    case NODE_RUNNINGS:
    case NODE_BLADES:
    case NODE_ANY:
    case NODE_STATES:
    case NODE_STORE:
        id.kind = (enum node_kind)rest;
        return id;
    default:
        break;
    }
    if (rest >= FIXED_STATE && rest < FIXED_STATE + NODE_STATES_MAX) {
        id.kind = NODE_STATE;
        id.state = (uint8_t)(rest - FIXED_STATE);
    }
    return id;
}

static struct node_id decode_link(uint64_t rest)
{
    struct node_id id = {.kind = NODE_NONE};
    uint64_t kind = rest >> 32;
    if (kind >> LINK_BITS >= LINK_KINDS)
        return id;
    id.kind = NODE_SLOT_LINK;
    id.link = (uint8_t)(kind >> LINK_BITS);
    id.state = (uint8_t)(kind & ((1U << LINK_BITS) - 1));
    id.owner = rest & SLOT_MASK;
    return id;
}

struct node_id node_id_decode(uint64_t number)
{
    uint64_t rest = number & NODE_SNAPSHOT_MAX;
    struct node_id id = {.kind = NODE_NONE};
    if (number == 0)
        return id;
    if (number == NODE_TOP_ID) {
        id.kind = NODE_TOP;
        return id;
    }
    switch (number >> CLASS_BITS) {
    case CLASS_SNAPSHOT:
        id = (struct node_id){.kind = NODE_SNAPSHOT, .owner = rest};
        break;
    case CLASS_FIXED:
        id = decode_fixed(rest);
        break;
    case CLASS_RUNNING:
        id = (struct node_id){
            .kind = NODE_RUNNING, .owner = rest >> 28, .inode = rest & NODE_RUNNING_INODE_MAX};
        break;
    case CLASS_SLOT:
        if (rest >> 40 != 0)
            break;
        id = (struct node_id){.kind = NODE_SLOT, .owner = rest >> 8, .row = (uint8_t)(rest & ROW_MASK)};
        if (id.row)
            id.kind = NODE_CONTROL;
        break;
    case CLASS_ACTION:
        id = (struct node_id){.kind = NODE_CONTROL,
                              .owner = rest >> 28,
                              .row = (uint8_t)(rest >> 20 & ROW_MASK),
                              .action = true,
                              .sequence = rest & NODE_SEQUENCE_MAX};
        break;
    case CLASS_BLADEFS:
        id = (struct node_id){.kind = NODE_BLADEFS, .owner = rest >> 8, .row = (uint8_t)(rest & ROW_MASK)};
        if (id.row) {
            id.kind = NODE_CONTROL;
            id.bladefs = true;
        }
        break;
    case CLASS_LINK:
        id = decode_link(rest);
        break;
    default:
        break;
    }
    return id;
}

uint64_t node_id_shown(uint64_t number)
{
    return number >> CLASS_BITS == CLASS_ACTION ? number & ~(uint64_t)NODE_SEQUENCE_MAX : number;
}

uint64_t node_id_plain(enum node_kind kind)
{
    return node_id_encode(&(struct node_id){.kind = kind});
}

uint64_t node_id_state(unsigned state)
{
    return node_id_encode(&(struct node_id){.kind = NODE_STATE, .state = (uint8_t)state});
}

uint64_t node_id_slot(uint32_t slot)
{
    return node_id_encode(&(struct node_id){.kind = NODE_SLOT, .owner = slot});
}

uint64_t node_id_running(uint32_t running, uint32_t inode)
{
    return node_id_encode(&(struct node_id){.kind = NODE_RUNNING, .owner = running, .inode = inode});
}

uint64_t node_id_bladefs(uint64_t top_inode)
{
    return node_id_encode(&(struct node_id){.kind = NODE_BLADEFS, .owner = top_inode});
}

uint64_t node_id_link(enum slot_link link, unsigned state, uint32_t slot)
{
    return node_id_encode(&(struct node_id){
        .kind = NODE_SLOT_LINK, .link = (uint8_t)link, .state = (uint8_t)state, .owner = slot});
}
