/*
 * Making, removing and renaming slots, and their owners, modes and ACLs: the catalog first, on the caller's
 * thread, then memory. `changes` keeps both in the same order.
 */
#include <string.h>

#include "base/container.h"
#include "base/fdio.h"
#include "base/log.h"
#include "fleet_parts.h"
#include "parts.h"
#include "slot_log.h"

static int check_name(const char *name, struct err *err)
{
    if (slot_name_is_valid(name, strlen(name)))
        return 0;
    return err_set(
        err, EINVAL,
        "a slot's name is 1 to 63 of A-Z a-z 0-9 . _ -, begins with a letter or digit, and is not any");
}

/* ---- make ---- */

static int create(struct fleet *fleet, struct slot *slot, struct err *err)
{
    struct catalog_slot row = {.attr = slot->attr, .key = slot->key, .state_ns = clock_wall_ns()};
    snprintf(row.name, sizeof row.name, "%s", slot->name);
    int rc = catalog_slot_add(fleet->options.catalog, &row, err);
    explicit_bzero(&row.key, sizeof row.key);
    if (rc < 0)
        return rc;
    slot->id = row.id;
    slot->key_ns = slot->loaded_ns = slot->progress_ns = slot->error_ns = slot->info_ns = row.state_ns;
    blade_begin(&slot->blade, 0, row.state_ns);
    {
        HOLD_LOCK(&fleet->lock);
        rc = slots_insert(&fleet->slots, slot);
    }
    if (rc < 0) {
        if (catalog_slot_remove(fleet->options.catalog, row.id, NULL) < 0)
            log_error("slot %s is in the catalog and not in memory: restart the controller", slot->name);
        return err_set(err, -rc, "no memory for another slot");
    }
    return 0;
}

int engine_slot_create(struct engine *engine, const char *name, const struct engine_attr *attr, uint32_t *id,
                       struct err *err)
{
    struct fleet *fleet = engine->fleet;
    int rc = check_name(name, err);
    if (rc < 0)
        return rc;
    struct slot *slot = calloc(1, sizeof *slot);
    if (!slot)
        return err_set(err, ENOMEM, "no memory for another slot");
    snprintf(slot->name, sizeof slot->name, "%s", name);
    slot->attr = *attr;
    rc = wire_key_make(NULL, &slot->key, err);
    if (rc == 0) {
        HOLD_LOCK(&fleet->changes);
        rc = create(fleet, slot, err);
        if (rc == 0)
            *id = slot->id;
    }
    if (rc < 0) {
        slot_free(slot);
        return rc;
    }
    fleet_notify(fleet, ENGINE_SLOTS, ENGINE_ANY);
    return 0;
}

/* ---- remove ---- */

struct removal {
    struct loop_task task;
    struct fleet *fleet;
    struct slot *slot;
};

static void removed_on_loop(struct loop_task *task)
{
    struct removal *removal = CONTAINER_OF(task, struct removal, task);
    session_end(removal->slot, "the slot was removed");
    slot_starting(removal->fleet, removal->slot, 0);
    slot_log_remove(removal->fleet->logs_fd, removal->slot->id);
    slot_free(removal->slot);
    free(removal);
}

/* From here on nothing begins on it. NULL, with `err`: it cannot be removed. */
static struct slot *mark_removing(struct fleet *fleet, uint32_t id, struct err *err)
{
    HOLD_LOCK(&fleet->lock);
    struct slot *slot = slots_by_id(&fleet->slots, id);
    if (!slot || slot->removing) {
        err_set(err, ENOENT, "there is no such slot");
    } else if (slot->running != 0) {
        err_set(err, ENOTEMPTY, "%s is loaded on slot %s: unload it first", slot->image, slot->name);
    } else if (slot->taken) {
        err_set(err, ENOTEMPTY, "a load is under way on slot %s", slot->name);
    } else {
        slot->removing = true;
        return slot;
    }
    return NULL;
}

static int remove_slot(struct fleet *fleet, uint32_t id, struct slot **out, struct err *err)
{
    HOLD_LOCK(&fleet->changes);
    struct slot *slot = mark_removing(fleet, id, err);
    if (!slot)
        return -err->code;
    int rc = catalog_slot_remove(fleet->options.catalog, id, err);
    HOLD_LOCK(&fleet->lock);
    if (rc < 0) {
        slot->removing = false;
        return rc;
    }
    slots_take_out(&fleet->slots, slot);
    *out = slot;
    return 0;
}

int engine_slot_remove(struct engine *engine, uint32_t id, struct err *err)
{
    struct fleet *fleet = engine->fleet;
    struct removal *removal = calloc(1, sizeof *removal);
    if (!removal)
        return err_set(err, ENOMEM, "no memory");
    struct err local = {0};
    int rc = remove_slot(fleet, id, &removal->slot, err ? err : &local);
    if (rc < 0) {
        free(removal);
        return rc;
    }
    removal->fleet = fleet;
    removal->task.run = removed_on_loop; /* the loop may be looking at it */
    loop_post(fleet->loop, &removal->task);
    fleet_notify(fleet, ENGINE_SLOTS, id);
    return 0;
}

/* ---- rename ---- */

static int rename_slot(struct fleet *fleet, uint32_t id, const char *name, struct err *err)
{
    HOLD_LOCK(&fleet->changes);
    {
        HOLD_LOCK(&fleet->lock);
        if (!slots_by_id(&fleet->slots, id))
            return err_set(err, ENOENT, "there is no such slot");
    }
    int rc = catalog_slot_rename(fleet->options.catalog, id, name, err);
    if (rc < 0)
        return rc;
    HOLD_LOCK(&fleet->lock);
    struct slot *slot = slots_by_id(&fleet->slots, id);
    if (slot)
        slots_rename(&fleet->slots, slot, name);
    return 0;
}

int engine_slot_rename(struct engine *engine, uint32_t id, const char *name, struct err *err)
{
    int rc = check_name(name, err);
    if (rc == 0)
        rc = rename_slot(engine->fleet, id, name, err);
    if (rc == 0)
        fleet_notify(engine->fleet, ENGINE_SLOTS, id);
    return rc;
}

/* ---- keys ---- */

/* `keys[0]` is made; `keys[1]` is what an agent has by now: not one that was made and never used. */
static int make_key(struct fleet *fleet, uint32_t id, struct wire_key keys[2], struct err *err)
{
    {
        HOLD_LOCK(&fleet->lock);
        const struct slot *slot = slots_by_id(&fleet->slots, id);
        if (!slot)
            return err_set(err, ENOENT, "there is no such slot");
        keys[1] = slot->has_old_key ? slot->old_key : slot->key;
    }
    int rc = wire_key_make(keys[1].id, &keys[0], err);
    return rc < 0 ? rc : catalog_slot_set_key(fleet->options.catalog, id, &keys[0], &keys[1], err);
}

int engine_slot_new_key(struct engine *engine, uint32_t id, struct err *err)
{
    struct fleet *fleet = engine->fleet;
    struct wire_key keys[2] = {0};
    int rc;
    {
        HOLD_LOCK(&fleet->changes);
        rc = make_key(fleet, id, keys, err);
        HOLD_LOCK(&fleet->lock);
        struct slot *slot = slots_by_id(&fleet->slots, id);
        if (rc == 0 && slot) {
            slot->key = keys[0];
            slot->old_key = keys[1];
            slot->has_old_key = true;
            slot->key_ns = clock_wall_ns();
        }
    }
    explicit_bzero(keys, sizeof keys);
    if (rc == 0)
        fleet_notify(fleet, ENGINE_SLOT, id);
    return rc;
}

/* ---- owners, modes and ACLs ---- */

/* Either of `out` and `acl` may be NULL. */
static int get_attr(struct fleet *fleet, uint32_t id, const char *file, struct engine_attr *out,
                    struct engine_acl *acl)
{
    HOLD_LOCK(&fleet->lock);
    const struct slot *slot = id == ENGINE_ANY ? NULL : slots_by_id(&fleet->slots, id);
    if (id != ENGINE_ANY && !slot)
        return -ENOENT;
    bool is_slot = slot && !file[0];
    const struct attr_entry *entry =
        is_slot ? NULL : attrs_find(slot ? &slot->attrs : &fleet->any_attrs, file);
    if (!is_slot && !entry)
        return -ENOENT;
    if (out)
        *out = entry ? entry->attr : slot->attr;
    const struct attr_acl *kept = entry ? &entry->acl : &slot->acl;
    if (acl) {
        acl->len_bytes = kept->len_bytes;
        if (kept->len_bytes)
            memcpy(acl->bytes, kept->bytes, kept->len_bytes);
    }
    return 0;
}

int engine_attr_get(struct engine *engine, uint32_t slot, const char *file, struct engine_attr *out)
{
    return get_attr(engine->fleet, slot, file ? file : "", out, NULL);
}

int engine_acl_get(struct engine *engine, uint32_t slot, const char *file, struct engine_acl *out)
{
    return get_attr(engine->fleet, slot, file ? file : "", NULL, out);
}

static int set_attr(struct fleet *fleet, uint32_t id, const char *file, const struct engine_attr *attr,
                    const struct engine_acl *acl)
{
    HOLD_LOCK(&fleet->lock);
    struct slot *slot = id == ENGINE_ANY ? NULL : slots_by_id(&fleet->slots, id);
    if (id != ENGINE_ANY && !slot)
        return -ENOENT;
    if (slot && !file[0]) {
        int rc = attr_acl_set(&slot->acl, acl);
        if (rc == 0)
            slot->attr = *attr;
        return rc;
    }
    return attrs_set(slot ? &slot->attrs : &fleet->any_attrs, file, attr, acl);
}

int engine_attr_set(struct engine *engine, uint32_t slot, const char *file, const struct engine_attr *attr,
                    const struct engine_acl *acl, struct err *err)
{
    struct fleet *fleet = engine->fleet;
    int rc;
    file = file ? file : "";
    if (strlen(file) >= ATTR_FILE_BYTES)
        return err_set(err, EINVAL, "no control file has a name of %zu bytes", strlen(file));
    if (acl && acl->len_bytes > sizeof acl->bytes)
        return err_set(err, EINVAL, "an access control list of %zu bytes is too long", acl->len_bytes);
    {
        HOLD_LOCK(&fleet->changes);
        bool there = true;
        if (slot != ENGINE_ANY) {
            HOLD_LOCK(&fleet->lock);
            there = slots_by_id(&fleet->slots, slot) != NULL;
        }
        if (!there)
            return err_set(err, ENOENT, "there is no such slot");
        rc = catalog_attr_set(fleet->options.catalog, slot, file, attr, acl, err);
        if (rc == 0 && (rc = set_attr(fleet, slot, file, attr, acl)) < 0)
            err_set(err, -rc, "no memory for owners and modes");
    }
    if (rc == 0)
        fleet_notify(fleet, slot == ENGINE_ANY ? ENGINE_ANY_CHOICE : ENGINE_SLOT, slot);
    return rc;
}
