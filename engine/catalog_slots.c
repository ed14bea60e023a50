/* The catalog's slots, and the owners and modes of slots and control files. */
#include "catalog_db.h"

#include <string.h>

static void bind_key(struct query *q, const struct wire_key *key)
{
    if (!key) {
        query_null(q);
        query_null(q);
        return;
    }
    query_text(q, key->id);
    query_blob(q, key->secret, sizeof(key->secret));
}

static int attr_set(struct catalog *c, uint32_t slot, const char *file, const struct engine_attr *attr,
                    const struct engine_acl *acl, struct err *err)
{
    QUERY q = query_on(c, CATALOG_ATTR_SET);
    query_int(&q, slot);
    query_text(&q, file);
    query_int(&q, attr->uid);
    query_int(&q, attr->gid);
    query_int(&q, attr->mode);
    query_int(&q, attr->changed_ns);
    if (acl && acl->len_bytes)
        query_blob(&q, acl->bytes, acl->len_bytes);
    else
        query_null(&q);
    return query_run(&q, "note an owner and mode", err);
}

static int slot_insert(struct catalog *c, const struct catalog_slot *slot, struct err *err)
{
    QUERY q = query_on(c, CATALOG_SLOT_ADD);
    query_text(&q, slot->name);
    bind_key(&q, &slot->key);
    bind_key(&q, slot->has_old_key ? &slot->old_key : NULL);
    query_id(&q, slot->running);
    query_int(&q, slot->stopped);
    query_int(&q, slot->state_ns);
    query_text(&q, slot->error);
    int r = query_run(&q, "add a slot", err);
    if (r == -EEXIST)
        return err_set(err, EEXIST, "there is a slot %s already", slot->name);
    return r;
}

int catalog_slot_add(struct catalog *c, struct catalog_slot *slot, struct err *err)
{
    HOLD_LOCK(&c->lock);
    int r = catalog_begin(c, err);
    if (r < 0)
        return r;
    int64_t id = 0;
    r = slot_insert(c, slot, err);
    if (r == 0) {
        id = sqlite3_last_insert_rowid(c->db);
        if (id <= 0 || id > UINT32_MAX)
            r = err_set(err, EOVERFLOW, "%s: no slot ids are left", c->path);
    }
    if (r == 0)
        r = attr_set(c, (uint32_t)id, "", &slot->attr, NULL, err);
    r = catalog_end(c, r, err);
    if (r == 0)
        slot->id = (uint32_t)id;
    return r;
}

/* After an UPDATE or DELETE of one slot. */
static int one_changed(struct catalog *c, uint32_t id, struct err *err)
{
    if (sqlite3_changes(c->db) > 0)
        return 0;
    return err_set(err, ENOENT, "%s has no slot %u", c->path, id);
}

int catalog_slot_remove(struct catalog *c, uint32_t id, struct err *err)
{
    HOLD_LOCK(&c->lock);
    int r = catalog_begin(c, err);
    if (r < 0)
        return r;
    {
        QUERY q = query_on(c, CATALOG_ATTRS_REMOVE);
        query_int(&q, id);
        r = query_run(&q, "remove a slot", err);
    }
    if (r == 0) {
        QUERY q = query_on(c, CATALOG_SLOT_REMOVE);
        query_int(&q, id);
        r = query_run(&q, "remove a slot", err);
    }
    if (r == 0)
        r = one_changed(c, id, err);
    return catalog_end(c, r, err);
}

int catalog_slot_rename(struct catalog *c, uint32_t id, const char *name, struct err *err)
{
    HOLD_LOCK(&c->lock);
    QUERY q = query_on(c, CATALOG_SLOT_RENAME);
    query_text(&q, name);
    query_int(&q, id);
    int r = query_run(&q, "rename a slot", err);
    if (r == -EEXIST)
        return err_set(err, EEXIST, "there is a slot %s already", name);
    return r < 0 ? r : one_changed(c, id, err);
}

int catalog_slot_set_starting(struct catalog *c, uint32_t id, uint32_t running, struct err *err)
{
    HOLD_LOCK(&c->lock);
    QUERY q = query_on(c, CATALOG_SLOT_STARTING);
    query_id(&q, running);
    query_int(&q, id);
    int r = query_run(&q, "note what is started", err);
    return r < 0 ? r : one_changed(c, id, err);
}

int catalog_slot_set_loaded(struct catalog *c, uint32_t id, uint32_t running, bool stopped, int64_t state_ns,
                            struct err *err)
{
    HOLD_LOCK(&c->lock);
    QUERY q = query_on(c, CATALOG_SLOT_LOADED);
    query_id(&q, running);
    query_int(&q, stopped);
    query_int(&q, state_ns);
    query_int(&q, id);
    int r = query_run(&q, "note what is loaded", err);
    return r < 0 ? r : one_changed(c, id, err);
}

int catalog_slot_set_error(struct catalog *c, uint32_t id, const char *sentence, struct err *err)
{
    HOLD_LOCK(&c->lock);
    QUERY q = query_on(c, CATALOG_SLOT_ERROR);
    query_text(&q, sentence);
    query_int(&q, id);
    int r = query_run(&q, "note an error", err);
    return r < 0 ? r : one_changed(c, id, err);
}

int catalog_slot_set_key(struct catalog *c, uint32_t id, const struct wire_key *key,
                         const struct wire_key *old, struct err *err)
{
    HOLD_LOCK(&c->lock);
    QUERY q = query_on(c, CATALOG_SLOT_KEY);
    bind_key(&q, key);
    bind_key(&q, old);
    query_int(&q, id);
    int r = query_run(&q, "note a key", err);
    return r < 0 ? r : one_changed(c, id, err);
}

static bool column_key(const struct query *q, int column, struct wire_key *key)
{
    return column_text(q, column, key->id, sizeof(key->id)) &&
           column_blob(q, column + 1, key->secret, sizeof(key->secret));
}

static void column_attr(const struct query *q, int column, struct engine_attr *attr)
{
    attr->uid = (uid_t)column_int(q, column);
    attr->gid = (gid_t)column_int(q, column + 1);
    attr->mode = (mode_t)(column_int(q, column + 2) & 07777);
    attr->changed_ns = column_int(q, column + 3);
}

static bool read_slot(const struct query *q, struct catalog_slot *slot)
{
    memset(slot, 0, sizeof(*slot));
    slot->id = column_id(q, 0);
    slot->has_old_key = !column_is_null(q, 4);
    slot->running = column_id(q, 6);
    slot->stopped = column_int(q, 7) != 0;
    slot->state_ns = column_int(q, 8);
    column_attr(q, 10, &slot->attr);
    slot->starting = column_id(q, 14);
    return slot->id && column_text(q, 1, slot->name, sizeof(slot->name)) && column_key(q, 2, &slot->key) &&
           (!slot->has_old_key || column_key(q, 4, &slot->old_key)) &&
           column_text(q, 9, slot->error, sizeof(slot->error));
}

int catalog_slots(struct catalog *c, int (*row)(void *arg, const struct catalog_slot *slot), void *arg,
                  struct err *err)
{
    HOLD_LOCK(&c->lock);
    QUERY q = query_on(c, CATALOG_SLOTS);
    for (;;) {
        int r = query_step(&q, "read the slots", err);
        if (r <= 0)
            return r;
        struct catalog_slot slot;
        if (!read_slot(&q, &slot))
            return catalog_damaged(c, "slots", err);
        r = row(arg, &slot);
        if (r < 0)
            return err_sys(err, -r, "%s: cannot take in the slot %s", c->path, slot.name);
    }
}

int catalog_attr_set(struct catalog *c, uint32_t slot, const char *file, const struct engine_attr *attr,
                     const struct engine_acl *acl, struct err *err)
{
    HOLD_LOCK(&c->lock);
    return attr_set(c, slot, file, attr, acl, err);
}

int catalog_attrs(struct catalog *c,
                  int (*row)(void *arg, uint32_t slot, const char *file, const struct engine_attr *attr,
                             const struct engine_acl *acl),
                  void *arg, struct err *err)
{
    HOLD_LOCK(&c->lock);
    QUERY q = query_on(c, CATALOG_ATTRS);
    for (;;) {
        int r = query_step(&q, "read the owners and modes", err);
        if (r <= 0)
            return r;
        char file[256];
        struct engine_attr attr;
        struct engine_acl acl;
        if (!column_text(&q, 1, file, sizeof(file)) ||
            !column_bytes(&q, 6, acl.bytes, sizeof(acl.bytes), &acl.len_bytes))
            return catalog_damaged(c, "attrs", err);
        column_attr(&q, 2, &attr);
        r = row(arg, column_id(&q, 0), file, &attr, &acl);
        if (r < 0)
            return err_sys(err, -r, "%s: cannot take in the owner and mode of %s", c->path, file);
    }
}
