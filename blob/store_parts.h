/*
 * The inside of a store, for its own files:
 *
 *   store.c         put, get, what is said about chunks
 *   store_open.c    the secret, scanning packs without a footer at the start, mending them
 *   store_footers.c the index from the footers of all others
 *   store_append.c  records into packs, syncing, sealing
 *   store_bad.c     chunks set aside, kept over restarts
 *   store_files.c   fds of packs
 *   store_reserve.c room that is kept for a full disk
 *   gc.c            collections; gc_mark.c what must stay, gc_sweep.c emptying and removing packs
 *   fsck.c          checks; fsck_pack.c of one pack
 *   object.c        objects longer than a chunk, on top of put and get
 *
 * Locks, in the order in which they are taken: sync_lock, append_lock, then one of the short ones
 * (index_lock, files_lock, bad_lock, spare_lock), under which nothing waits. commit_lock comes before all of
 * them, reserve_lock is alone.
 */
#ifndef BLOB_STORE_PARTS_H
#define BLOB_STORE_PARTS_H

#include <pthread.h>

#include "base/buf.h"
#include "blob/store.h"
#include "id_set.h"
#include "index.h"
#include "pack.h"
#include "pack_io.h"

#define TAIL_ROOM_BYTES (1u << 20) /* records gathered before they are written */
#define SPARE_COMPRESSORS 4

/* A pack that takes records, or one that is full and neither synced nor sealed. */
struct open_pack {
    uint32_t number;
    struct pack_grower *file; /* owned */
    uint32_t written_bytes;   /* in the file; under index_lock as well */
    bool full;                /* no more records; to be sealed */
    bool dirty;               /* written since it was synced */
    bool syncing, sealing;    /* the running sync's own */
    struct buf entries;       /* what its footer will be */
    struct open_pack *next;
};

struct pack_file {
    uint32_t number;
    int fd;
    unsigned users;
    bool gone;        /* removed: closed by its last user */
    uint64_t used_at; /* a count, for who was idle longest */
};

struct blob_store {
    int packs_fd;      /* STORE/packs, owned */
    struct buf mended; /* struct blob_store_mend, of the opening */
    struct pack_io io;
    struct blob_secret secret;
    int level;

    pthread_mutex_t index_lock;
    struct index index;
    uint32_t tail_pack;       /* the pack whose last records are in `tail`, 0: none */
    uint32_t tail_from_bytes; /* from this offset on */
    uint64_t packs, bad_chunks, cut_bytes;
    bool collecting;       /* a collection is under way */
    bool recording;        /* and has listed its roots */
    unsigned captures;     /* at work; then as well as with one that records, what is put or touched stays: */
    struct id_set touched; /* these */
    bool touched_lost;     /* there was no memory for one: nothing more may be removed */

    pthread_rwlock_t commit_lock; /* for writing: a collection lists its roots */

    pthread_mutex_t append_lock;
    struct open_pack *open;    /* the newest first; only a sync takes some out */
    struct open_pack *current; /* of these, the one that takes records; NULL: make one */
    unsigned full_packs;       /* of these */
    uint32_t last_number;      /* of any pack ever made */
    uint8_t *tail;             /* TAIL_ROOM_BYTES */
    uint32_t tail_bytes;       /* behind current->written_bytes */
    bool names_dirty;          /* packs were made since the directory was synced */
    int broken;                /* the errno of a sync that failed: nothing more is taken */

    pthread_mutex_t sync_lock; /* one sync at a time; only syncs wait for it */

    pthread_mutex_t files_lock;
    struct pack_file *files;
    size_t file_count;
    uint64_t file_uses, file_drops;

    pthread_mutex_t reserve_lock;
    int reserve_fd; /* -1: there is none */
    uint64_t reserve_bytes;

    pthread_mutex_t bad_lock;
    int bad_fd; /* -1: nothing was ever set aside */
    uint64_t bad_end_bytes;

    pthread_mutex_t spare_lock;
    struct blob_compressor *spares[SPARE_COMPRESSORS]; /* for who brings none */
    unsigned spare_count;
};

/* What it returns below 0 is no memory. */
typedef int (*store_each_id)(void *arg, const struct blob_id *id);

/* store_append.c. Returns the bytes added, 0 when the id is there already, or -errno. */
int store_append(struct blob_store *store, const struct blob_id *id, const uint8_t *record,
                 uint32_t record_bytes, uint32_t raw_bytes, struct err *err) MUST_CHECK;
/* The same for a record that lies at `from` and is copied: it is there afterwards, unless the chunk lies
 * elsewhere by now (0). */
int store_move(struct blob_store *store, const struct blob_id *id, const struct index_place *from,
               const uint8_t *record, uint32_t record_bytes, struct err *err) MUST_CHECK;
/* Ends the pack that takes records, and begins another one. */
int store_next_pack(struct blob_store *store, struct err *err) MUST_CHECK;
/* Writes the gathered records to their pack; under append_lock. */
int store_flush(struct blob_store *store, struct err *err) MUST_CHECK;
/* Adds an open pack (which takes over `file` and `entries`); `takes_more`: the next records go there. Under
 * append_lock. */
int store_add_open_pack(struct blob_store *store, uint32_t number, struct pack_grower *file,
                        uint32_t written_bytes, struct buf *entries, bool takes_more) MUST_CHECK;
void store_free_open_packs(struct blob_store *store);

/* store_footers.c. What the start found of a pack. */
enum pack_state {
    PACK_SEALED,    /* its footer is good, and indexed */
    PACK_OPEN,      /* no footer that can be trusted: to be scanned */
    PACK_HEADERLESS /* its header is damaged, or it has none */
};
/* Reads all packs' footers; `states` has room for `count`. -EPROTONOSUPPORT: a newer format. Blocks. */
int store_load_footers(struct blob_store *store, const uint32_t *numbers, size_t count, uint8_t *states,
                       struct err *err) MUST_CHECK;
/* The footer of a sealed pack, appended to `out`: 1 and what it says; 0: there is none to be trusted. */
int store_read_footer(const struct pack_reader *pack, uint64_t pack_bytes, struct buf *out,
                      struct pack_trailer *trailer, struct err *err) MUST_CHECK;
/* Takes a footer's entries into the index; a chunk that lies in a later place already stays there. */
int store_index_entries(struct blob_store *store, uint32_t number, const uint8_t *entries, uint32_t count,
                        struct err *err) MUST_CHECK;

/* store_bad.c. Reads the list and takes what it names out of the index; what is of none of these packs goes
 * from the list. */
int store_bad_load(struct blob_store *store, const uint32_t *numbers, size_t count,
                   struct err *err) MUST_CHECK;
/* The ids of all that were set aside, stored again since or not; what cannot be read is none. -ENOMEM. */
int store_bad_each(struct blob_store *store, store_each_id each, void *arg, struct err *err) MUST_CHECK;
void store_bad_add(struct blob_store *store, const struct blob_id *id, uint32_t pack, uint32_t offset_bytes);

/* store_open.c: blob_store_open with packs that are kept elsewhere than in STORE/packs. They are taken over,
 * also on failure; NULL: in STORE/packs. */
int store_open_over(int dirfd, int level, struct pack_io *packs, struct blob_store **out,
                    struct err *err) MUST_CHECK;

/* store_files.c. An fd, the store's, until store_file_put. -EOPNOTSUPP: these packs have none. */
int store_file_get(struct blob_store *store, uint32_t number) MUST_CHECK;
void store_file_put(struct blob_store *store, uint32_t number);
/* Reads a range of a pack, through such an fd where there are any; as fd_read_at, or -ENOENT. */
ssize_t store_file_read(struct blob_store *store, uint32_t number, void *out, size_t len_bytes,
                        uint64_t offset) MUST_CHECK;
/* The pack was removed: its fd goes with its last user. */
void store_file_drop(struct blob_store *store, uint32_t number);
void store_files_free(struct blob_store *store);

/* store_reserve.c. Takes the room, if there is enough of it. */
void store_reserve_take(struct blob_store *store);
void store_reserve_close(struct blob_store *store);

/* store.c: a collection under way, or one that begins while a capture is at work, keeps this one; under
 * index_lock. */
void store_keep(struct blob_store *store, const struct blob_id *id);
/* store.c: a collection begins to record, or ends to. */
void store_record(struct blob_store *store, bool recording);
/* Reads, expands and checks the record at `place`: `record` has room for all of it, `raw` for its content.
 * -EBADMSG: it is damaged; -ENOENT: its pack is gone. */
int store_check_record(struct blob_store *store, const struct blob_id *id, const struct index_place *place,
                       uint8_t *record, void *raw) MUST_CHECK;
/* store.c: unless it lies elsewhere by now. */
void store_set_aside(struct blob_store *store, const struct blob_id *id, const struct index_place *place);
/* blob_store_set_aside: true when the chunk was damaged, and `place` is where it lay. */
bool store_set_aside_if_bad(struct blob_store *store, const struct blob_id *id, struct index_place *place);

/* store.c: how long an object's list is, which nobody was told. -ENOENT. */
int64_t store_raw_bytes(struct blob_store *store, const struct blob_id *id) MUST_CHECK;

/* object.c: blob_object_load of any length, which also tells the id of every chunk that the object is made
 * of, its list and all levels included. */
int store_object_walk(struct blob_store *store, const struct blob_id *id, size_t max_bytes,
                      store_each_id each, void *arg, struct buf *out, struct err *err) MUST_CHECK;
/* blob_object_save with lists of at most `list_max` entries, so that a test sees lists of lists. */
int store_object_save(struct blob_store *store, struct blob_compressor *c, const void *bytes,
                      size_t len_bytes, size_t list_max, struct blob_id *id, struct err *err) MUST_CHECK;

#endif
