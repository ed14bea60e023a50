/*
 * The engine: the store, the snapshots, the blades and the loads. This is all that fs/ may include of it.
 *
 * Every function is safe from any thread. Those that may wait (for the disk, at most) say "blocks"; none
 * waits for a blade: what does is a request, answered by a call of its `done`. Ids of slots and running
 * snapshots are given once and never reused in a store's life.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/names.h"

struct engine;

struct engine_options {
    const char *store_path;  /* made (0700) when it is not there */
    const char *listen_host; /* name or address */
    const char *listen_port;
    unsigned keep; /* when a new running snapshot is made, so many of its name stay: the newest, those that
                      are used, and the one that the source equals. 0: all */
    int level;     /* zstd's; 0: 1 */
    bool no_eager; /* sources are captured for loads only, not in the background */
};

/*
 * Locks and opens the store, starts the engine's threads and listens. Blocks. One clear sentence on failure:
 * locked by another controller, newer format, port in use, no io_uring, ...
 */
int engine_open(const struct engine_options *options, struct engine **out, struct err *err) MUST_CHECK;
/* Ends every request (-EINTR), closes the connections (instances go on), syncs, unlocks. Blocks. */
void engine_close(struct engine *engine);

/* The same for a store that no controller uses: one of these, or -errno; `out` gets what engine_show_checked
 * says, and what the opening of the store mended. Locks it meanwhile. -ENOENT: there is no store. Blocks. */
enum engine_check { ENGINE_CHECK_WHOLE, ENGINE_CHECK_REPAIRED, ENGINE_CHECK_LOST };
int engine_check_store(const char *store_path,
                       void (*progress)(void *arg, unsigned percent, uint64_t all_bytes), void *arg,
                       struct buf *out, struct err *err) MUST_CHECK;

/* The directory behind /snapshots; borrowed. */
int engine_snapshots_fd(const struct engine *engine);

/* Called from any thread, holding no lock of the engine, after something that people can see has changed. */
enum engine_topic { ENGINE_SLOT, ENGINE_SLOTS, ENGINE_ANY_CHOICE, ENGINE_RUNNINGS, ENGINE_STORE };
typedef void (*engine_changed)(void *arg, enum engine_topic topic, uint32_t slot);
void engine_watch(struct engine *engine, engine_changed changed,
                  void *arg); /* once, before anything changes */

/* ---- slots ---- */

#define ENGINE_ANY 0u /* the id of blades/any in engine_show and engine_load */

enum engine_state {
    ENGINE_ABSENT,
    ENGINE_READY,
    ENGINE_LOADING,
    ENGINE_RUNNING,
    ENGINE_LOADED,
    ENGINE_STOPPED,
    ENGINE_FAILED,
    ENGINE_LOST,
    ENGINE_STATES
};
const char *engine_state_name(enum engine_state state);

struct engine_attr {
    uid_t uid;
    gid_t gid;
    mode_t mode;        /* permission bits only */
    int64_t changed_ns; /* of owner and mode */
};

/* The access control list beside an owner and mode: bytes that the engine keeps and does not look into. */
#define ENGINE_ACL_MAX_BYTES 4096
struct engine_acl {
    size_t len_bytes; /* 0: there is none */
    uint8_t bytes[ENGINE_ACL_MAX_BYTES];
};

struct engine_slot {
    uint32_t id;
    char name[NAME_MAX_BYTES + 1];
    struct engine_attr attr;
    enum engine_state state;
    int64_t state_ns;                       /* last change of state */
    char image[RUNNING_NAME_MAX_BYTES + 1]; /* what is loaded, "" none */
    uint32_t running;                       /* its id, 0 none */
};

/* -EINVAL malformed or reserved, -EEXIST. Blocks (one transaction). */
int engine_slot_create(struct engine *engine, const char *name, const struct engine_attr *attr, uint32_t *id,
                       struct err *err) MUST_CHECK;
/* -ENOTEMPTY while something is loaded or loading. Blocks. The agent, if one is connected, is disconnected.
 */
int engine_slot_remove(struct engine *engine, uint32_t id, struct err *err) MUST_CHECK;
/* Only the name changes: key, connection and what runs stay. -EEXIST. Blocks. */
int engine_slot_rename(struct engine *engine, uint32_t id, const char *name, struct err *err) MUST_CHECK;
int engine_slot_find(struct engine *engine, const char *name, uint32_t *id) MUST_CHECK; /* 0 or -ENOENT */
int engine_slot_get(struct engine *engine, uint32_t id, struct engine_slot *out) MUST_CHECK;
/* Those with an id above `after`, by id, up to `max` of them: their number; fewer than `max`: there are no
 * more. */
size_t engine_slot_list(struct engine *engine, uint32_t after, struct engine_slot *out,
                        size_t max) MUST_CHECK;
size_t engine_slot_count(struct engine *engine) MUST_CHECK;

/* Makes another key for its agent, with the same id. The one in use stays valid until this one was used.
 * Blocks. */
int engine_slot_new_key(struct engine *engine, uint32_t id, struct err *err) MUST_CHECK;

/* Owner, mode and ACL of a slot (`file` NULL) or of one of its control files, kept in the catalog. get:
 * -ENOENT when they were never set. set blocks; `acl` NULL: none. */
int engine_attr_get(struct engine *engine, uint32_t slot, const char *file,
                    struct engine_attr *out) MUST_CHECK;
int engine_acl_get(struct engine *engine, uint32_t slot, const char *file, struct engine_acl *out) MUST_CHECK;
int engine_attr_set(struct engine *engine, uint32_t slot, const char *file, const struct engine_attr *attr,
                    const struct engine_acl *acl, struct err *err) MUST_CHECK;

/* What a control file reads as: appended to `out`, whole; `changed_ns` (may be NULL): when it last changed.
 */
enum engine_text {
    ENGINE_TEXT_LOAD,
    ENGINE_TEXT_STATE,
    ENGINE_TEXT_PROGRESS,
    ENGINE_TEXT_ERROR,
    ENGINE_TEXT_KEY,
    ENGINE_TEXT_INFO,
};
int engine_show(struct engine *engine, uint32_t slot, enum engine_text what, struct buf *out,
                int64_t *changed_ns) MUST_CHECK;
int engine_show_status(struct engine *engine, struct buf *out, int64_t *changed_ns) MUST_CHECK;
int engine_show_store(struct engine *engine, struct buf *out, int64_t *changed_ns) MUST_CHECK;

/* The kept end of a slot's output. Blocks on the disk. */
int engine_log_stat(struct engine *engine, uint32_t slot, uint64_t *size_bytes,
                    int64_t *changed_ns) MUST_CHECK;
ssize_t engine_log_read(struct engine *engine, uint32_t slot, void *out, size_t len_bytes,
                        uint64_t offset) MUST_CHECK;

/* ---- requests ---- */

/*
 * Called exactly once for a request that was taken, on a thread of the engine: 0 or -errno (DESIGN.md's), and
 * for a load the line "<slot> <name>@<n>\n" ("" on failure), which lives as long as the call.
 */
typedef void (*engine_done)(void *arg, int result, const char *line);

/*
 * Loads a source snapshot or "<name>@<n>" (without newline, checked here: -EINVAL) on a slot, or on an
 * available blade (ENGINE_ANY). 0: taken, `done` will be called (perhaps before this returns) and `*request`
 * names it; or -errno, and `done` is never called. The caller's rights were checked by the caller. A
 * failure's sentence is what `error` reads as.
 */
int engine_load(struct engine *engine, uint32_t slot, const char *value, size_t len_bytes, engine_done done,
                void *arg, uint64_t *request) MUST_CHECK;

enum engine_verb { ENGINE_RUN_START, ENGINE_RUN_STOP, ENGINE_RUN_RESTART, ENGINE_UNLOAD };
int engine_run(struct engine *engine, uint32_t slot, enum engine_verb verb, engine_done done, void *arg,
               uint64_t *request) MUST_CHECK;

/*
 * Removes from the store what no running snapshot needs: a request, too, `done` being called when that is
 * over. -EEXIST: somebody else's is under way. Cancelled, it ends soon, with -EINTR; what it removed until
 * then is removed.
 */
int engine_collect(struct engine *engine, engine_done done, void *arg, uint64_t *request) MUST_CHECK;
/* What the last one, asked for or not, has done: `key value` lines, or "never". */
int engine_show_collected(struct engine *engine, struct buf *out, int64_t *changed_ns) MUST_CHECK;

/*
 * Reads and checks everything in the store, and repairs what it can: a request, too. `done`: 0 everything is
 * whole or repaired, -EIO something is lost, -ENOSPC, ... -EEXIST: a check is under way.
 */
int engine_check(struct engine *engine, engine_done done, void *arg, uint64_t *request) MUST_CHECK;
/* How far it is, or what the last one has found: `key value` lines and then a line for each fault; "never".
 */
int engine_show_checked(struct engine *engine, struct buf *out, int64_t *changed_ns) MUST_CHECK;

/* Ends the wait of one request with -EINTR, and its load if nobody else waits for it and the blade was not
 * told to start yet; from then on the load goes to its end. An unknown number is ignored. */
void engine_cancel(struct engine *engine, uint64_t request);

/* ---- source snapshots: fs/ passes their files through and tells what changes ---- */

struct engine_source;

/* The source snapshot of that name whose top directory has that inode number in the backing file system; the
 * same object for as long as somebody holds it. NULL: no memory. */
struct engine_source *engine_source_get(struct engine *engine, const char *name, uint64_t top_inode);
void engine_source_put(struct engine_source *source);
/* After the top directory was renamed, or removed. Block. */
int engine_source_renamed(struct engine_source *source, const char *name) MUST_CHECK;
void engine_source_removed(struct engine_source *source);

/*
 * Around every request that changes the tree: `begin` before, with the inode numbers of what changes (for a
 * name: its directory, and the named inode when there is one; a new file's number needs not be known), `end`
 * after. `begin` marks the snapshot as changed, durably, before it returns for the first time since a
 * capture, and waits while a capture holds the tree for its last look: 100 ms at most. Returns 0 or -errno of
 * the catalog (the change must not be made then).
 */
int engine_change_begin(struct engine_source *source, const uint64_t *inodes, size_t count) MUST_CHECK;
void engine_change_end(struct engine_source *source);

/* A file of it is open for writing from `opened` until `closed`. `fd` is borrowed meanwhile: it is how the
 * file is named to people (/proc/self/fd). */
int engine_writer_opened(struct engine_source *source, uint64_t inode, int fd) MUST_CHECK;
void engine_writer_closed(struct engine_source *source, uint64_t inode, int fd);

/* What .bladefs/stats reads as. */
int engine_source_stats(struct engine_source *source, struct buf *out, int64_t *changed_ns) MUST_CHECK;

/* ---- running snapshots ---- */

struct engine_running {
    uint32_t id;
    char name[RUNNING_NAME_MAX_BYTES + 1];
    int64_t created_ns;
};

int engine_running_find(struct engine *engine, const char *name, uint32_t *id) MUST_CHECK; /* 0 or -ENOENT */
int engine_running_get(struct engine *engine, uint32_t id, struct engine_running *out) MUST_CHECK;
/* As engine_slot_list. */
size_t engine_running_list(struct engine *engine, uint32_t after, struct engine_running *out,
                           size_t max) MUST_CHECK;
/* `newest_ns`: when the newest of them was made; 0: there are none. */
size_t engine_running_count(struct engine *engine, int64_t *newest_ns) MUST_CHECK;
/* -ENOTEMPTY while it is loaded or loading somewhere. Trees that are open stay readable. Blocks. */
int engine_running_remove(struct engine *engine, uint32_t id, struct err *err) MUST_CHECK;

/* Its tree, read from chunks. Inode numbers are from 0 (the top) and the same whenever it is opened. */
struct engine_tree;
int engine_tree_open(struct engine *engine, uint32_t running, struct engine_tree **out,
                     struct err *err) MUST_CHECK;
void engine_tree_put(struct engine_tree *tree);
int engine_tree_stat(struct engine_tree *tree, uint32_t inode,
                     struct stat *out) MUST_CHECK; /* st_ino: the number */
int engine_tree_find(struct engine_tree *tree, uint32_t dir, const char *name, uint32_t *inode) MUST_CHECK;
uint32_t engine_tree_parent(struct engine_tree *tree, uint32_t dir);
/* Entry number `k` of a directory, from 0 in the order of names: 1, or 0 past the last. `name` is a view, not
 * NUL-terminated. */
int engine_tree_entry(struct engine_tree *tree, uint32_t dir, uint32_t k, const char **name,
                      size_t *name_bytes, uint32_t *inode) MUST_CHECK;
/* Blocks on the disk. -EIO: a bad chunk, logged by name. */
ssize_t engine_tree_read(struct engine_tree *tree, uint32_t inode, void *out, size_t len_bytes,
                         uint64_t offset) MUST_CHECK;
/* SEEK_DATA or SEEK_HOLE: the offset, or -ENXIO. */
int64_t engine_tree_seek(struct engine_tree *tree, uint32_t inode, uint64_t offset, int whence) MUST_CHECK;
int engine_tree_readlink(struct engine_tree *tree, uint32_t inode, const char **target,
                         size_t *len_bytes) MUST_CHECK;
/* A view, or -ENODATA. */
int engine_tree_getxattr(struct engine_tree *tree, uint32_t inode, const char *name, const void **value,
                         size_t *len_bytes) MUST_CHECK;
/* Names, each with its NUL, appended. */
int engine_tree_listxattr(struct engine_tree *tree, uint32_t inode, struct buf *out) MUST_CHECK;

#endif
