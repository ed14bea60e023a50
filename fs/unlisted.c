#include "unlisted.h"

#include "base/fdio.h"
#include "fs.h"
#include "snap.h"
#include "virtual.h"

enum { ASKED_MAX = 64, ASKED_MS = 2000 }; /* the listing is read at once */

/* No offset of a real listing: the kernel, which keeps listings, must never go on from here in one. */
#define END_OFFSET INT64_C(0x7ffffffffffffff0)

struct asked {
    pid_t thread;
    uint64_t parent, child; /* child 0: free */
    int64_t at_ms;
};

struct unlisted {
    pthread_mutex_t lock;
    struct asked asked[ASKED_MAX];
    size_t next; /* the oldest */
};

int unlisted_new(struct unlisted **out)
{
    struct unlisted *unlisted = calloc(1, sizeof(*unlisted));
    if (!unlisted)
        return -ENOMEM;
    pthread_mutex_init(&unlisted->lock, NULL);
    *out = unlisted;
    return 0;
}

void unlisted_free(struct unlisted *unlisted)
{
    if (!unlisted)
        return;
    pthread_mutex_destroy(&unlisted->lock);
    free(unlisted);
}

void unlisted_ask(struct unlisted *unlisted, pid_t thread, uint64_t parent, uint64_t child, int64_t now_ms)
{
    HOLD_LOCK(&unlisted->lock);
    unlisted->asked[unlisted->next] =
        (struct asked){.thread = thread, .parent = parent, .child = child, .at_ms = now_ms};
    unlisted->next = (unlisted->next + 1) % ASKED_MAX;
}

uint64_t unlisted_take(struct unlisted *unlisted, pid_t thread, uint64_t parent, int64_t now_ms)
{
    HOLD_LOCK(&unlisted->lock);
    for (size_t i = 0; i < ASKED_MAX; i++) {
        struct asked *asked = &unlisted->asked[i];
        if (!asked->child || asked->thread != thread || asked->parent != parent)
            continue;
        uint64_t child = now_ms - asked->at_ms <= ASKED_MS ? asked->child : 0;
        asked->child = 0;
        if (child)
            return child;
    }
    return 0;
}

static const char *name_of(enum node_kind kind)
{
    switch (kind) {
    case NODE_ANY:
        return "any";
    case NODE_BLADEFS:
        return BLADEFS_DIR;
    default:
        return NULL;
    }
}

void unlisted_parent(fuse_req_t req, fuse_ino_t child)
{
    struct fs *fs = fs_of(req);
    struct node_id id = node_id_decode(child);
    pid_t thread = fuse_req_ctx(req)->pid;
    if (!name_of(id.kind) || thread == 0) /* of another pid namespace: it is not to be told from others */
        return;
    uint64_t parent = parent_of(&id, child);
    unlisted_ask(fs->unlisted, thread, parent, child, clock_boot_ms());
    /* It is to read the directory here, not the listing that it has. */
    (void)fuse_lowlevel_notify_inval_inode(fs->session, parent, 0, 0);
}

bool unlisted_readdir(fuse_req_t req, fuse_ino_t parent, size_t size, off_t off, bool plus)
{
    struct fs *fs = fs_of(req);
    enum node_kind kind = node_id_decode(parent).kind;
    char reply[512];
    size_t n, room = size < sizeof(reply) ? size : sizeof(reply);
    if (kind != NODE_BLADES && kind != NODE_SNAPSHOT)
        return false;
    if (off == END_OFFSET) {
        fuse_reply_buf(req, NULL, 0);
        return true;
    }
    uint64_t child =
        off == 0 ? unlisted_take(fs->unlisted, fuse_req_ctx(req)->pid, parent, clock_boot_ms()) : 0;
    if (!child)
        return false;
    const char *name = name_of(node_id_decode(child).kind);
    /* As an entry it has no node id: the kernel looks it up. */
    struct fuse_entry_param entry = {.attr.st_mode = S_IFDIR, .attr.st_ino = child};
    n = plus ? fuse_add_direntry_plus(req, reply, room, name, &entry, END_OFFSET)
             : fuse_add_direntry(req, reply, room, name, &entry.attr, END_OFFSET);
    if (n > room)
        return false;
    fuse_reply_buf(req, reply, n);
    (void)fuse_lowlevel_notify_inval_inode(fs->session, parent, 0, 0); /* and is not to keep this one */
    return true;
}
