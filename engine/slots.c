#include "slots.h"

#include <string.h>

static size_t place_among(struct slot *const *at, size_t count, const char *name)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(at[mid]->name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static size_t place_of(const struct slots *slots, const char *name)
{
    return place_among(slots->at, slots->count, name);
}

size_t slots_place_of_id(const struct slots *slots, uint32_t id)
{
    size_t low = 0, high = slots->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (slots->by_id[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void put_in(struct slot **list, size_t count, size_t place, struct slot *slot)
{
    memmove(&list[place + 1], &list[place], (count - place) * sizeof(struct slot *));
    list[place] = slot;
}

static void take_out(struct slot **list, size_t count, size_t place)
{
    memmove(&list[place], &list[place + 1], (count - place - 1) * sizeof(struct slot *));
}

static int make_room(struct slots *slots)
{
    if (slots->count < slots->cap)
        return 0;
    size_t cap = slots->cap ? slots->cap * 2 : 16;
    struct slot **at = reallocarray(slots->at, cap, sizeof(struct slot *));
    if (at)
        slots->at = at;
    struct slot **by_id = reallocarray(slots->by_id, cap, sizeof(struct slot *));
    if (by_id)
        slots->by_id = by_id;
    if (!at || !by_id)
        return -ENOMEM;
    slots->cap = cap;
    return 0;
}

int slots_insert(struct slots *slots, struct slot *slot)
{
    int r = make_room(slots);
    if (r < 0)
        return r;
    put_in(slots->at, slots->count, place_of(slots, slot->name), slot);
    put_in(slots->by_id, slots->count, slots_place_of_id(slots, slot->id), slot);
    slots->count++;
    return 0;
}

void slots_take_out(struct slots *slots, struct slot *slot)
{
    if (slots_by_id(slots, slot->id) != slot)
        return;
    take_out(slots->at, slots->count, place_of(slots, slot->name));
    take_out(slots->by_id, slots->count, slots_place_of_id(slots, slot->id));
    slots->count--;
}

void slots_rename(struct slots *slots, struct slot *slot, const char *name)
{
    take_out(slots->at, slots->count, place_of(slots, slot->name));
    snprintf(slot->name, sizeof slot->name, "%s", name);
    put_in(slots->at, slots->count - 1, place_among(slots->at, slots->count - 1, slot->name), slot);
}

struct slot *slots_by_name(const struct slots *slots, const char *name)
{
    size_t place = place_of(slots, name);
    if (place < slots->count && strcmp(slots->at[place]->name, name) == 0)
        return slots->at[place];
    return NULL;
}

struct slot *slots_by_id(const struct slots *slots, uint32_t id)
{
    size_t place = slots_place_of_id(slots, id);
    return place < slots->count && slots->by_id[place]->id == id ? slots->by_id[place] : NULL;
}

struct slot *slots_by_key(const struct slots *slots, const char *key_id)
{
    for (size_t i = 0; i < slots->count; i++) {
        if (strcmp(slots->at[i]->key.id, key_id) == 0)
            return slots->at[i];
    }
    return NULL;
}

void slot_free(struct slot *slot)
{
    if (!slot)
        return;
    explicit_bzero(&slot->key, sizeof slot->key);
    explicit_bzero(&slot->old_key, sizeof slot->old_key);
    attrs_free(&slot->attrs);
    free(slot->acl.bytes);
    free(slot);
}

static struct attr_entry *entry_of(const struct attr_list *list, const char *file)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->at[i].file, file) == 0)
            return &list->at[i];
    }
    return NULL;
}

const struct attr_entry *attrs_find(const struct attr_list *list, const char *file)
{
    return entry_of(list, file);
}

static struct attr_entry *entry_new(struct attr_list *list, const char *file)
{
    struct attr_entry *at = realloc(list->at, (list->count + 1) * sizeof *at);
    if (!at)
        return NULL;
    list->at = at;
    at[list->count] = (struct attr_entry){0};
    snprintf(at[list->count].file, sizeof at->file, "%s", file);
    return &at[list->count++];
}

int attr_acl_set(struct attr_acl *to, const struct engine_acl *acl)
{
    struct attr_acl new = {.len_bytes = acl ? acl->len_bytes : 0};
    if (new.len_bytes) {
        new.bytes = malloc(new.len_bytes);
        if (!new.bytes)
            return -ENOMEM;
        memcpy(new.bytes, acl->bytes, new.len_bytes);
    }
    free(to->bytes);
    *to = new;
    return 0;
}

int attrs_set(struct attr_list *list, const char *file, const struct engine_attr *attr,
              const struct engine_acl *acl)
{
    struct attr_acl new = {0};
    int r = attr_acl_set(&new, acl);
    if (r < 0)
        return r;
    struct attr_entry *entry = entry_of(list, file);
    if (!entry)
        entry = entry_new(list, file);
    if (!entry) {
        free(new.bytes);
        return -ENOMEM;
    }
    free(entry->acl.bytes);
    entry->acl = new;
    entry->attr = *attr;
    return 0;
}

void attrs_free(struct attr_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i].acl.bytes);
    free(list->at);
    *list = (struct attr_list){0};
}
