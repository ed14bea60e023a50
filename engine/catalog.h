/*
 * The catalog: what the controller must know after a restart, in an SQLite database (STORE/catalog.db; WAL,
 * synchronous=FULL, exclusive), one transaction a change. When a function returns 0 its change survives power
 * loss. Its own mutex makes it safe from any thread; every function blocks on the disk. FORMAT of the tables:
 * catalog.c. The `row` functions are called with that mutex held: they must not call the catalog; what they
 * return below 0 ends the reading and is returned.
 */
#ifndef ENGINE_CATALOG_H
#define ENGINE_CATALOG_H

#include "base/names.h"
#include "blob/id.h"
#include "engine/engine.h"
#include "wire/key.h"

struct catalog;

/* `store_path` exists and is locked by the caller. -EPROTONOSUPPORT: a newer format. */
int catalog_open(const char *store_path, struct catalog **out, struct err *err) MUST_CHECK;
void catalog_close(struct catalog *catalog);

void catalog_uuid(const struct catalog *catalog, uint8_t uuid[16]); /* of the store, made once */

struct catalog_slot {
    uint32_t id;
    char name[NAME_MAX_BYTES + 1];
    struct engine_attr attr;
    struct wire_key key; /* key.id is the slot's permanent id */
    bool has_old_key;
    struct wire_key old_key; /* valid until `key` was used */
    uint32_t running;        /* what the slot runs: acknowledged; 0 none */
    uint32_t starting;       /* what its blade was told to start, and may run by now; 0 none */
    bool stopped;            /* people asked for stop */
    int64_t state_ns;        /* last change of state that was noted */
    char error[512];
};

/* Fills `slot->id`. -EEXIST. */
int catalog_slot_add(struct catalog *c, struct catalog_slot *slot, struct err *err) MUST_CHECK;
int catalog_slot_remove(struct catalog *c, uint32_t id, struct err *err) MUST_CHECK;
int catalog_slot_rename(struct catalog *c, uint32_t id, const char *name, struct err *err) MUST_CHECK;
/* `running` 0: what it was told to start it does not run. */
int catalog_slot_set_starting(struct catalog *c, uint32_t id, uint32_t running, struct err *err) MUST_CHECK;
/* What it was told to start is settled by this, too. */
int catalog_slot_set_loaded(struct catalog *c, uint32_t id, uint32_t running, bool stopped, int64_t state_ns,
                            struct err *err) MUST_CHECK;
int catalog_slot_set_error(struct catalog *c, uint32_t id, const char *sentence, struct err *err) MUST_CHECK;
int catalog_slot_set_key(struct catalog *c, uint32_t id, const struct wire_key *key,
                         const struct wire_key *old, struct err *err) MUST_CHECK; /* `old` NULL: none */
int catalog_slots(struct catalog *c, int (*row)(void *arg, const struct catalog_slot *slot), void *arg,
                  struct err *err) MUST_CHECK;

/* Owner, mode and ACL (NULL or empty: none) of a slot (`file` "") or of a control file of it; slot ENGINE_ANY
 * has files as well. */
int catalog_attr_set(struct catalog *c, uint32_t slot, const char *file, const struct engine_attr *attr,
                     const struct engine_acl *acl, struct err *err) MUST_CHECK;
int catalog_attrs(struct catalog *c,
                  int (*row)(void *arg, uint32_t slot, const char *file, const struct engine_attr *attr,
                             const struct engine_acl *acl),
                  void *arg, struct err *err) MUST_CHECK;

struct catalog_running {
    uint32_t id;
    char name[NAME_MAX_BYTES + 1]; /* of the source */
    uint64_t n;
    uint64_t image;         /* number of its image: what the wire says; one per content id, never reused */
    struct blob_id content; /* the image's object */
    int64_t created_ns;
    uint64_t files, bytes, chunks, new_chunks, new_raw_bytes, new_stored_bytes;
};

/*
 * A capture ended: if the newest running snapshot of the name has this content it is that one, else a new one
 * is made (the next n of the name; the image number of that content, or a new one). In both cases, in the
 * same transaction and when `clean`, the source is noted as unchanged since. `r`: name, content, created_ns
 * and counts in; all of it out. Returns 1 when a new one was made, else 0.
 */
int catalog_running_add(struct catalog *c, struct catalog_running *r, bool clean, struct err *err) MUST_CHECK;
int catalog_running_remove(struct catalog *c, uint32_t id, struct err *err) MUST_CHECK;
/* The newest one of a name: 1, or 0 when there is none. */
int catalog_running_newest(struct catalog *c, const char *name, struct catalog_running *out,
                           struct err *err) MUST_CHECK;
int catalog_runnings(struct catalog *c, int (*row)(void *arg, const struct catalog_running *r), void *arg,
                     struct err *err) MUST_CHECK;

/* The running snapshot that the source of that name equals, nothing having been written since; 0 none. */
int catalog_source_clean(struct catalog *c, const char *name, uint32_t *running, struct err *err) MUST_CHECK;
/* Notes that it no longer does: written, renamed, removed; and that nothing is prepared of it. */
int catalog_source_dirty(struct catalog *c, const char *name, struct err *err) MUST_CHECK;

/*
 * A source that was captured ahead of any load: the content id and the counts that a running snapshot of it
 * would have (`id`, `n`, `image`, `created_ns` are 0). It holds as long as nothing is written: a later
 * catalog_source_dirty or catalog_running_add of the name ends it.
 */
int catalog_source_prepare(struct catalog *c, const struct catalog_running *r, struct err *err) MUST_CHECK;
/* 1, or 0 when nothing is. */
int catalog_source_prepared(struct catalog *c, const char *name, struct catalog_running *out,
                            struct err *err) MUST_CHECK;
int catalog_prepared(struct catalog *c, int (*row)(void *arg, const struct catalog_running *r), void *arg,
                     struct err *err) MUST_CHECK;

#endif
