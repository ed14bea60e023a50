/*
 * Node ids: the number by which the kernel and NFS clients name an inode of the mount. Pure.
 *
 * They are 64 bits wide, never pointers, and say by themselves what they name, so that a handle that an NFS
 * client kept is good after a restart. The class is in the top four bits:
 *
 *   0  below /snapshots: the inode number of the backing file system itself (and 1: the top of the mount)
 *   1  what is always there: the directories, and control files that belong to no slot
 *   2  /running: the id of the running snapshot (32 bits), the inode in its tree (28 bits)
 *   3  slots: slot (32), row of the control table (8); row 0 is the slot's directory
 *   4  action files: slot (32), row (8), sequence (20): each lookup gives another
 *   5  .bladefs of a snapshot: inode of its top directory (52), row (8); row 0 is the directory
 *   6  symlinks to slots and from them: kind (8), slot (32)
 */
#ifndef FS_IDS_H
#define FS_IDS_H

#include <stdbool.h>
#include <stdint.h>

enum node_kind {
    NODE_NONE,      /* names nothing: ESTALE */
    NODE_TOP,       /* the top of the mount */
    NODE_SNAPSHOT,  /* /snapshots and below */
    NODE_RUNNINGS,  /* /running */
    NODE_BLADES,    /* /blades */
    NODE_ANY,       /* /blades/any */
    NODE_STATES,    /* /state */
    NODE_STATE,     /* /state/<state> */
    NODE_STORE,     /* /store */
    NODE_CONTROL,   /* a control file */
    NODE_SLOT,      /* /blades/<slot> */
    NODE_BLADEFS,   /* .bladefs of a snapshot */
    NODE_SLOT_LINK, /* a symlink that has to do with a slot */
    NODE_RUNNING,   /* an inode of a running snapshot */
};

enum slot_link { LINK_STATE, LINK_IMAGE, LINK_SOURCE, LINK_KINDS };

struct node_id {
    enum node_kind kind;
    uint64_t owner; /* SNAPSHOT: the inode number. RUNNING: its id. CONTROL, SLOT, SLOT_LINK: the slot, or of
                       a file of .bladefs, and BLADEFS: the inode number of the top directory. Else 0 */
    uint32_t inode; /* RUNNING: in its tree */
    uint8_t row;    /* CONTROL: of the control table */
    uint8_t state;  /* STATE, and SLOT_LINK of LINK_STATE: an enum engine_state */
    uint8_t link;   /* SLOT_LINK: an enum slot_link */
    bool action;    /* CONTROL: an action file */
    bool bladefs;   /* CONTROL: a file of .bladefs */
    uint32_t sequence; /* CONTROL of an action file */
};

#define NODE_TOP_ID UINT64_C(1) /* FUSE_ROOT_ID */
#define NODE_SNAPSHOT_MAX ((UINT64_C(1) << 60) - 1)
#define NODE_BLADEFS_OWNER_MAX ((UINT64_C(1) << 52) - 1)
#define NODE_RUNNING_INODE_MAX ((UINT32_C(1) << 28) - 1)
#define NODE_SEQUENCE_MAX ((UINT32_C(1) << 20) - 1)
#define NODE_STATES_MAX 16

/* The number of a node; 0 when it does not fit: an inode number beyond the limits above. */
uint64_t node_id_encode(const struct node_id *id);
/* What a number names; NODE_NONE when nothing has it. */
struct node_id node_id_decode(uint64_t number);
/* The st_ino of a number: the number itself, an action file's without its sequence. */
uint64_t node_id_shown(uint64_t number);

/* The usual ones. */
uint64_t node_id_plain(enum node_kind kind);
uint64_t node_id_state(unsigned state);
uint64_t node_id_slot(uint32_t slot);
uint64_t node_id_running(uint32_t running, uint32_t inode);
uint64_t node_id_bladefs(uint64_t top_inode);
uint64_t node_id_link(enum slot_link link, unsigned state, uint32_t slot);

#endif
