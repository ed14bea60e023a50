#include "runnings.h"

#include <inttypes.h>
#include <string.h>

#include "image_cache.h"

struct row {
    struct catalog_running running;
    unsigned holds;
    bool going; /* its removal is under way */
};

struct runnings {
    pthread_mutex_t lock;
    pthread_cond_t gone; /* a removal has ended */
    struct blob_store *store;
    struct catalog *catalog;
    struct image_cache *images;
    struct row **by_id, **by_name; /* the same rows, sorted by id, and by name and n */
    size_t count, room;
};

static int compare_name(const struct catalog_running *a, const char *name, uint64_t n)
{
    int c = strcmp(a->name, name);
    return c != 0 ? c : (a->n > n) - (a->n < n);
}

/* The place of that id, or where it would be. */
static size_t place_of_id(const struct runnings *t, uint32_t id)
{
    size_t low = 0;
    size_t high = t->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->by_id[middle]->running.id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static size_t place_of_name(const struct runnings *t, const char *name, uint64_t n)
{
    size_t low = 0;
    size_t high = t->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_name(&t->by_name[middle]->running, name, n) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct row *row_of(const struct runnings *t, uint32_t id)
{
    size_t at = place_of_id(t, id);
    return at < t->count && t->by_id[at]->running.id == id ? t->by_id[at] : NULL;
}

static int make_room(struct runnings *t)
{
    if (t->count < t->room)
        return 0;
    size_t room = t->room ? t->room * 2 : 64;
    struct row **by_id = reallocarray(t->by_id, room, sizeof(struct row *));
    if (by_id)
        t->by_id = by_id;
    struct row **by_name = reallocarray(t->by_name, room, sizeof(struct row *));
    if (by_name)
        t->by_name = by_name;
    if (!by_id || !by_name)
        return -ENOMEM;
    t->room = room;
    return 0;
}

static void put_in(struct row **rows, size_t count, size_t at, struct row *row)
{
    memmove(&rows[at + 1], &rows[at], (count - at) * sizeof(struct row *));
    rows[at] = row;
}

static void take_out(struct row **rows, size_t count, size_t at)
{
    memmove(&rows[at], &rows[at + 1], (count - at - 1) * sizeof(struct row *));
}

/* Under the lock, or before anybody else knows the table. */
static int insert(struct runnings *t, const struct catalog_running *running)
{
    if (make_room(t) < 0)
        return -ENOMEM;
    struct row *row = calloc(1, sizeof(*row));
    if (!row)
        return -ENOMEM;
    row->running = *running;
    put_in(t->by_id, t->count, place_of_id(t, running->id), row);
    put_in(t->by_name, t->count, place_of_name(t, running->name, running->n), row);
    t->count++;
    return 0;
}

static void drop(struct runnings *t, struct row *row)
{
    take_out(t->by_id, t->count, place_of_id(t, row->running.id));
    take_out(t->by_name, t->count, place_of_name(t, row->running.name, row->running.n));
    t->count--;
    free(row);
}

static int take_row(void *arg, const struct catalog_running *running)
{
    return insert(arg, running);
}

int runnings_new(struct blob_store *store, struct catalog *catalog, struct runnings **out, struct err *err)
{
    struct runnings *t = calloc(1, sizeof(*t));
    if (!t)
        return err_set(err, ENOMEM, "no memory for the running snapshots");
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->gone, NULL);
    t->store = store;
    t->catalog = catalog;
    int r = image_cache_new(store, RUNNINGS_IMAGES_BYTES, &t->images);
    if (r < 0)
        err_set(err, ENOMEM, "no memory for the running snapshots");
    else
        r = catalog_runnings(catalog, take_row, t, err);
    if (r < 0) {
        runnings_free(t);
        return r;
    }
    *out = t;
    return 0;
}

void runnings_free(struct runnings *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->count; i++)
        free(t->by_id[i]);
    free(t->by_id);
    free(t->by_name);
    image_cache_free(t->images);
    pthread_cond_destroy(&t->gone);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

int runnings_get(struct runnings *t, uint32_t id, struct catalog_running *out)
{
    HOLD_LOCK(&t->lock);
    const struct row *row = row_of(t, id);
    if (!row)
        return -ENOENT;
    *out = row->running;
    return 0;
}

int runnings_find(struct runnings *t, const char *name, uint64_t n, uint32_t *id)
{
    HOLD_LOCK(&t->lock);
    size_t at = place_of_name(t, name, n);
    if (at == t->count || compare_name(&t->by_name[at]->running, name, n) != 0)
        return -ENOENT;
    *id = t->by_name[at]->running.id;
    return 0;
}

int runnings_hold(struct runnings *t, uint32_t id)
{
    HOLD_LOCK(&t->lock);
    struct row *row = row_of(t, id);
    if (!row || row->going)
        return -ENOENT;
    row->holds++;
    return 0;
}

void runnings_release(struct runnings *t, uint32_t id)
{
    HOLD_LOCK(&t->lock);
    struct row *row = row_of(t, id);
    if (row && row->holds > 0)
        row->holds--;
}

static const struct row *row_of_image(const struct runnings *t, uint64_t image)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->by_id[i]->running.image == image)
            return t->by_id[i];
    return NULL;
}

uint32_t runnings_of_image(struct runnings *t, uint64_t image)
{
    HOLD_LOCK(&t->lock);
    const struct row *row = row_of_image(t, image);
    return row ? row->running.id : 0;
}

bool runnings_of_content(struct runnings *t, const struct blob_id *content, struct catalog_running *out)
{
    HOLD_LOCK(&t->lock);
    for (size_t i = 0; i < t->count; i++)
        if (blob_id_compare(&t->by_id[i]->running.content, content) == 0) {
            *out = t->by_id[i]->running;
            return true;
        }
    return false;
}

int runnings_image_get(struct runnings *t, uint64_t image, struct shared_image **out, struct err *err)
{
    struct image_use use;
    {
        /* A collection sees it in the table or in use. */
        HOLD_LOCK(&t->lock);
        const struct row *row = row_of_image(t, image);
        if (!row)
            return err_set(err, ENOENT, "there is no image %" PRIu64 " any more", image);
        int r = image_cache_use(t->images, image, &row->running.content, &use, err);
        if (r < 0)
            return r;
    }
    return image_cache_load(t->images, &use, out, err);
}

void runnings_image_put(struct runnings *t, struct shared_image *image)
{
    image_cache_put(t->images, image);
}

int runnings_added(struct runnings *t, const struct catalog_running *running)
{
    HOLD_LOCK(&t->lock);
    struct row *row = row_of(t, running->id);
    if (!row)
        return insert(t, running);
    while (row && row->going) {
        pthread_cond_wait(&t->gone, &t->lock);
        row = row_of(t, running->id);
    }
    return row ? 0 : -ENOENT;
}

size_t runnings_count(struct runnings *t)
{
    HOLD_LOCK(&t->lock);
    return t->count;
}

size_t runnings_newest(struct runnings *t, int64_t *created_ns)
{
    HOLD_LOCK(&t->lock);
    *created_ns = t->count ? t->by_id[t->count - 1]->running.created_ns : 0;
    return t->count;
}

size_t runnings_list(struct runnings *t, uint32_t after, struct catalog_running *out, size_t max)
{
    HOLD_LOCK(&t->lock);
    size_t count = 0;
    size_t from = after == UINT32_MAX ? t->count : place_of_id(t, after + 1);
    for (size_t i = from; i < t->count && count < max; i++)
        out[count++] = t->by_id[i]->running;
    return count;
}

size_t runnings_of_name(struct runnings *t, const char *name, uint64_t after, struct catalog_running *out,
                        size_t max)
{
    HOLD_LOCK(&t->lock);
    size_t count = 0;
    for (size_t i = place_of_name(t, name, after + 1); i < t->count && count < max; i++) {
        if (strcmp(t->by_name[i]->running.name, name) != 0)
            break;
        out[count++] = t->by_name[i]->running;
    }
    return count;
}

/* What the listing of roots needs. */
struct listing {
    blob_gc_root root;
    void *arg;
};

static int list_row(void *arg, const struct catalog_running *running)
{
    const struct listing *to = arg;
    return to->root(to->arg, &running->content);
}

/* The catalog's too: what it could not tell whether it has it, the table has not. */
int runnings_roots(void *runnings, blob_gc_root root, void *arg, struct err *err)
{
    struct runnings *t = runnings;
    struct listing to = {.root = root, .arg = arg};
    int r = catalog_runnings(t->catalog, list_row, &to, err);
    if (r < 0)
        return r;
    HOLD_LOCK(&t->lock);
    for (size_t i = 0; i < t->count && r >= 0; i++)
        r = root(arg, &t->by_id[i]->running.content);
    if (r >= 0)
        r = image_cache_roots(t->images, root, arg);
    return r < 0 ? err_sys(err, -r, "the running snapshots cannot be listed") : 0;
}

static int removal_begin(struct runnings *t, uint32_t id, struct err *err)
{
    HOLD_LOCK(&t->lock);
    struct row *row = row_of(t, id);
    if (!row || row->going)
        return err_set(err, ENOENT, "there is no such running snapshot");
    if (row->holds > 0)
        return err_set(err, ENOTEMPTY, "%s@%" PRIu64 " is loaded on a blade, or being loaded",
                       row->running.name, row->running.n);
    row->going = true;
    return 0;
}

int runnings_remove(struct runnings *t, uint32_t id, struct err *err)
{
    int r = removal_begin(t, id, err);
    if (r < 0)
        return r;
    do { /* on a full disk what is kept for it makes it possible */
        r = catalog_running_remove(t->catalog, id, err);
    } while (r == -ENOSPC && t->store && blob_store_give_room(t->store));
    HOLD_LOCK(&t->lock);
    struct row *row = row_of(t, id);
    if (row && r == 0)
        drop(t, row);
    else if (row)
        row->going = false;
    pthread_cond_broadcast(&t->gone);
    return r;
}
