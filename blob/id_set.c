#include "id_set.h"

#include <string.h>

#define ROOM_FIRST 1024u

/* The end of an id: as good as random, as all of it. */
static uint64_t key_of(const struct blob_id *id)
{
    uint64_t key;
    memcpy(&key, id->bytes + BLOB_ID_BYTES - sizeof(key), sizeof(key));
    return key ? key : 1;
}

/* Where the key is, or would be. */
static size_t search(const uint64_t *slots, size_t room, uint64_t key)
{
    size_t at = key & (room - 1);
    while (slots[at] && slots[at] != key)
        at = (at + 1) & (room - 1);
    return at;
}

static int grow(struct id_set *set)
{
    size_t room = set->room ? set->room * 2 : ROOM_FIRST;
    uint64_t *slots = calloc(room, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    for (size_t i = 0; i < set->room; i++)
        if (set->slots[i])
            slots[search(slots, room, set->slots[i])] = set->slots[i];
    free(set->slots);
    set->slots = slots;
    set->room = room;
    return 0;
}

int id_set_add(struct id_set *set, const struct blob_id *id)
{
    if (set->count >= set->room / 4 * 3 && grow(set) < 0)
        return -ENOMEM;
    uint64_t key = key_of(id);
    size_t at = search(set->slots, set->room, key);
    set->count += set->slots[at] == 0;
    set->slots[at] = key;
    return 0;
}

bool id_set_has(const struct id_set *set, const struct blob_id *id)
{
    uint64_t key = key_of(id);
    return set->room > 0 && set->slots[search(set->slots, set->room, key)] == key;
}

void id_set_free(struct id_set *set)
{
    free(set->slots);
    *set = (struct id_set){0};
}
