/* The children of the made-up directories: by name, and as lists. */
#include <stdio.h>
#include <string.h>

#include "control.h"
#include "snap.h"
#include "virtual.h"

/* Cookies: 1 and 2 are `.` and `..`. Slots and running snapshots have their ids, control files their rows. */
enum { COOKIE_FIRST = 3, COOKIE_LINK = 0x200, COOKIE_DIR = 0x300 };
enum { BATCH = 128 };

static const char *const link_names[] = {[LINK_IMAGE] = "image", [LINK_SOURCE] = "source"};

struct fixed {
    enum node_kind parent;
    const char *name;
    enum node_kind kind;
};

static const struct fixed fixed_dirs[] = {
    {NODE_TOP, "running", NODE_RUNNINGS},
    {NODE_TOP, "blades", NODE_BLADES},
    {NODE_TOP, "state", NODE_STATES},
    {NODE_TOP, "store", NODE_STORE},
};

void children_free(struct children *children)
{
    free(children->items);
    *children = (struct children){0};
}

static int add(struct children *children, const char *name, uint64_t number, mode_t type, uint64_t key)
{
    if (COOKIE_FIRST + key <= children->last)
        return 0;
    if (children->count == children->room) {
        size_t room = children->room ? children->room * 2 : 32;
        struct child *items = realloc(children->items, room * sizeof(*items));
        if (!items)
            return -ENOMEM;
        children->items = items;
        children->room = room;
    }
    struct child *child = &children->items[children->count++];
    child->cookie = COOKIE_FIRST + key;
    child->number = number;
    child->type = type;
    snprintf(child->name, sizeof(child->name), "%s", name);
    return 0;
}

static bool place_of(const struct node_id *dir, enum control_place *out)
{
    switch (dir->kind) {
    case NODE_TOP:
        *out = PLACE_TOP;
        return true;
    case NODE_STORE:
        *out = PLACE_STORE;
        return true;
    case NODE_SLOT:
        *out = PLACE_SLOT;
        return true;
    case NODE_ANY:
        *out = PLACE_ANY;
        return true;
    case NODE_BLADEFS:
        *out = PLACE_BLADEFS;
        return true;
    default:
        return false;
    }
}

static bool link_is_there(struct fs *fs, enum slot_link link, uint64_t slot)
{
    char target[128];
    int64_t changed_ns;
    struct node_id id = {.kind = NODE_SLOT_LINK, .link = (uint8_t)link, .owner = slot};
    return link_target(fs, &id, target, sizeof(target), &changed_ns) == 0;
}

int child_find(struct fs *fs, const struct node_id *dir, const char *name, uint64_t *number)
{
    enum control_place place;
    uint32_t id;
    for (size_t i = 0; i < sizeof(fixed_dirs) / sizeof(fixed_dirs[0]); i++)
        if (fixed_dirs[i].parent == dir->kind && strcmp(fixed_dirs[i].name, name) == 0) {
            *number = node_id_plain(fixed_dirs[i].kind);
            return 0;
        }
    if (place_of(dir, &place)) {
        const struct control *row = control_named(place, name);
        if (row) {
            *number = control_number(fs, row, dir->owner);
            return 0;
        }
    }
    switch (dir->kind) {
    case NODE_TOP:
        *number = fs->snapshots->inode;
        return strcmp(name, "snapshots") == 0 ? 0 : -ENOENT;
    case NODE_BLADES:
        if (strcmp(name, "any") == 0) {
            *number = node_id_plain(NODE_ANY);
            return 0;
        }
        if (engine_slot_find(fs->engine, name, &id) < 0)
            return -ENOENT;
        *number = node_id_slot(id);
        return 0;
    case NODE_RUNNINGS:
        if (engine_running_find(fs->engine, name, &id) < 0)
            return -ENOENT;
        *number = node_id_running(id, 0);
        return 0;
    case NODE_STATES:
        for (unsigned s = 0; s < ENGINE_STATES; s++)
            if (strcmp(engine_state_name((enum engine_state)s), name) == 0) {
                *number = node_id_state(s);
                return 0;
            }
        return -ENOENT;
    case NODE_STATE:
        if (engine_slot_find(fs->engine, name, &id) < 0)
            return -ENOENT;
        *number = node_id_link(LINK_STATE, dir->state, id);
        return 0;
    case NODE_SLOT:
        for (unsigned l = LINK_IMAGE; l < LINK_KINDS; l++)
            if (strcmp(link_names[l], name) == 0) {
                *number = node_id_link((enum slot_link)l, 0, (uint32_t)dir->owner);
                return 0;
            }
        return -ENOENT;
    case NODE_ANY:
    case NODE_STORE:
    case NODE_BLADEFS:
        return -ENOENT;
    default:
        return -ENOTDIR;
    }
}

static int list_controls(struct fs *fs, const struct node_id *dir, struct children *out)
{
    enum control_place place;
    int r = 0;
    if (!place_of(dir, &place))
        return 0;
    for (const struct control *row = control_table(); r == 0 && row->row; row++)
        if (row->place == place)
            r = add(out, row->name, control_number(fs, row, dir->owner), S_IFREG, row->row);
    return r;
}

static int list_fixed(struct fs *fs, const struct node_id *dir, struct children *out)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(fixed_dirs) / sizeof(fixed_dirs[0]); i++)
        if (fixed_dirs[i].parent == dir->kind)
            r = add(out, fixed_dirs[i].name, node_id_plain(fixed_dirs[i].kind), S_IFDIR, COOKIE_DIR + i);
    if (r == 0 && dir->kind == NODE_TOP)
        r = add(out, "snapshots", fs->snapshots->inode, S_IFDIR, COOKIE_DIR + 0x80);
    for (unsigned s = 0; r == 0 && dir->kind == NODE_STATES && s < ENGINE_STATES; s++)
        r = add(out, engine_state_name((enum engine_state)s), node_id_state(s), S_IFDIR, COOKIE_DIR + s);
    for (unsigned l = LINK_IMAGE; r == 0 && dir->kind == NODE_SLOT && l < LINK_KINDS; l++)
        if (link_is_there(fs, (enum slot_link)l, dir->owner))
            r = add(out, link_names[l], node_id_link((enum slot_link)l, 0, (uint32_t)dir->owner), S_IFLNK,
                    COOKIE_LINK + l);
    return r;
}

/* The id after which to go on. */
static uint32_t id_of(uint64_t cookie)
{
    return cookie > COOKIE_FIRST ? (uint32_t)(cookie - COOKIE_FIRST) : 0;
}

static int list_slots(struct fs *fs, const struct node_id *dir, struct children *out)
{
    struct engine_slot slots[BATCH];
    if (dir->kind != NODE_BLADES && dir->kind != NODE_STATE)
        return 0;
    size_t count = engine_slot_list(fs->engine, id_of(out->last), slots, BATCH);
    int r = 0;
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (dir->kind == NODE_BLADES)
            r = add(out, slots[i].name, node_id_slot(slots[i].id), S_IFDIR, slots[i].id);
        else if (slots[i].state == (enum engine_state)dir->state)
            r = add(out, slots[i].name, node_id_link(LINK_STATE, dir->state, slots[i].id), S_IFLNK,
                    slots[i].id);
        out->last = COOKIE_FIRST + slots[i].id;
    }
    out->more = count == BATCH;
    return r;
}

static int list_runnings(struct fs *fs, const struct node_id *dir, struct children *out)
{
    struct engine_running runnings[BATCH];
    if (dir->kind != NODE_RUNNINGS)
        return 0;
    size_t count = engine_running_list(fs->engine, id_of(out->last), runnings, BATCH);
    int r = 0;
    for (size_t i = 0; r == 0 && i < count; i++) {
        r = add(out, runnings[i].name, node_id_running(runnings[i].id, 0), S_IFDIR, runnings[i].id);
        out->last = COOKIE_FIRST + runnings[i].id;
    }
    out->more = count == BATCH;
    return r;
}

static int by_cookie(const void *a, const void *b)
{
    const struct child *x = a, *y = b;
    return (x->cookie > y->cookie) - (x->cookie < y->cookie);
}

int children_after(struct fs *fs, const struct node_id *dir, uint64_t after, struct children *out)
{
    out->count = 0;
    out->more = false;
    out->last = after;
    int r = list_controls(fs, dir, out);
    if (r == 0)
        r = list_fixed(fs, dir, out);
    if (r == 0)
        r = list_slots(fs, dir, out);
    if (r == 0)
        r = list_runnings(fs, dir, out);
    if (r == 0 && out->count > 1)
        qsort(out->items, out->count, sizeof(*out->items), by_cookie);
    return r;
}

static uint64_t control_parent(const struct node_id *id)
{
    const struct control *row = control_of_row(id->row);
    switch (row ? row->place : PLACE_TOP) {
    case PLACE_TOP:
        return NODE_TOP_ID;
    case PLACE_STORE:
        return node_id_plain(NODE_STORE);
    case PLACE_SLOT:
        return node_id_slot((uint32_t)id->owner);
    case PLACE_ANY:
        return node_id_plain(NODE_ANY);
    case PLACE_BLADEFS:
        return node_id_bladefs(id->owner);
    }
    return NODE_TOP_ID;
}

uint64_t parent_of(const struct node_id *id, uint64_t number)
{
    switch (id->kind) {
    case NODE_CONTROL:
        return control_parent(id);
    case NODE_SLOT:
    case NODE_ANY:
        return node_id_plain(NODE_BLADES);
    case NODE_STATE:
        return node_id_plain(NODE_STATES);
    case NODE_SLOT_LINK:
        return id->link == LINK_STATE ? node_id_state(id->state) : node_id_slot((uint32_t)id->owner);
    case NODE_BLADEFS:
        return id->owner;
    case NODE_RUNNING:
        return node_id_plain(NODE_RUNNINGS);
    case NODE_NONE:
        return number;
    default:
        return NODE_TOP_ID;
    }
}
