/*
 * The slots in memory. The table and what people can see of a slot are under the fleet's mutex; the part
 * below it belongs to the loop's thread. Slots are freed on the loop's thread only, so that it may hold on to
 * them without the mutex.
 */
#ifndef ENGINE_SLOTS_H
#define ENGINE_SLOTS_H

#include "blade_machine.h"
#include "catalog.h"
#include "engine/engine.h"
#include "wire/key.h"

#define HOLDINGS_MAX 64 /* images of a blade that are remembered */
#define ATTR_FILE_BYTES 32

struct attr_acl {
    uint8_t *bytes; /* owned */
    size_t len_bytes;
};

struct attr_entry {
    char file[ATTR_FILE_BYTES];
    struct engine_attr attr;
    struct attr_acl acl;
};

struct attr_list {
    struct attr_entry *at;
    size_t count;
};

/* Of the load under way, or of the last one. */
struct progress {
    bool any; /* there was one */
    bool done;
    uint64_t done_bytes, total_bytes; /* of content in place */
    uint64_t sent_bytes;              /* of chunks, as they went over */
    int64_t began_ms, ended_ms;       /* CLOCK_BOOTTIME; 0: goes on */
};

/* What the agent tells of its machine, NUL-terminated and free of control characters. */
struct blade_info {
    bool known;
    char version[64], address[64], machine[32], kernel[96], runtime[128];
    uint32_t cores, restarts;
    uint64_t memory_bytes, memory_free_bytes, disk_bytes, disk_free_bytes, uptime_s;
};

struct peer;
struct load;
struct run;

struct slot {
    /* under the fleet's mutex */
    uint32_t id;
    uint32_t running; /* held in runnings; 0 none */
    bool stopped;
    bool removing; /* no request may begin */
    bool taken;    /* a load or a run request holds it */
    bool has_old_key;
    char name[NAME_MAX_BYTES + 1];
    char image[RUNNING_NAME_MAX_BYTES + 1];
    struct wire_key key, old_key;
    char error[512];
    struct engine_attr attr;
    struct attr_acl acl;
    struct attr_list attrs; /* of its control files */
    struct blade blade;
    struct progress progress;
    struct blade_info info;
    int64_t loaded_ns, progress_ns, error_ns, info_ns, key_ns, seen_ns;

    /* the loop's thread */
    struct peer *control, *bulk;
    struct peer *challenger; /* a second control connection, while the first is asked whether it lives */
    int64_t challenge_ends_ms;
    uint64_t session;
    struct load *load;
    struct run *run;
    uint64_t holdings[HOLDINGS_MAX];
    struct blade_input report; /* the last one */
    uint32_t holdings_count;
    bool reported;
    uint32_t
        starting;  /* held in runnings: what its blade was told to start, until it is known what came of it */
    bool settling; /* the catalog is about to forget `starting` */
    int64_t reported_ms;
    bool log_grew;
    char report_snapshot[RUNNING_NAME_MAX_BYTES + 1];
    char report_sentence[512];
};

struct slots {
    struct slot **at;    /* sorted by name */
    struct slot **by_id; /* the same, sorted by id */
    size_t count, cap;
};

/* All under the fleet's mutex. Returned slots are the table's. */
int slots_insert(struct slots *slots, struct slot *slot) MUST_CHECK; /* takes it over on success */
void slots_take_out(struct slots *slots, struct slot *slot);         /* the caller's again */
void slots_rename(struct slots *slots, struct slot *slot, const char *name);
struct slot *slots_by_name(const struct slots *slots, const char *name);
/* The place in by_id of the first slot whose id is not below that. */
size_t slots_place_of_id(const struct slots *slots, uint32_t id);
struct slot *slots_by_id(const struct slots *slots, uint32_t id);
struct slot *slots_by_key(const struct slots *slots, const char *key_id);

void slot_free(struct slot *slot); /* wipes its keys; NULL is allowed */

/* NULL: was never set. */
const struct attr_entry *attrs_find(const struct attr_list *list, const char *file);
int attrs_set(struct attr_list *list, const char *file, const struct engine_attr *attr,
              const struct engine_acl *acl) MUST_CHECK;
int attr_acl_set(struct attr_acl *to, const struct engine_acl *acl) MUST_CHECK; /* NULL: none */
void attrs_free(struct attr_list *list);

#endif
