/* The catalog's running snapshots, their images' numbers, and which sources are unchanged since. */
#include "catalog_db.h"

#include <string.h>

static bool read_running(const struct query *q, struct catalog_running *r)
{
    memset(r, 0, sizeof(*r));
    r->id = column_id(q, 0);
    r->n = (uint64_t)column_int(q, 2);
    r->image = (uint64_t)column_int(q, 3);
    r->created_ns = column_int(q, 5);
    r->files = (uint64_t)column_int(q, 6);
    r->bytes = (uint64_t)column_int(q, 7);
    r->chunks = (uint64_t)column_int(q, 8);
    r->new_chunks = (uint64_t)column_int(q, 9);
    r->new_raw_bytes = (uint64_t)column_int(q, 10);
    r->new_stored_bytes = (uint64_t)column_int(q, 11);
    return r->id && r->n && r->image && column_text(q, 1, r->name, sizeof(r->name)) &&
           column_blob(q, 4, r->content.bytes, sizeof(r->content.bytes));
}

/* 1 and the row, 0 none. */
static int newest(struct catalog *c, const char *name, struct catalog_running *out, struct err *err)
{
    QUERY q = query_on(c, CATALOG_RUNNING_NEWEST);
    query_text(&q, name);
    int r = query_step(&q, "look up a running snapshot", err);
    if (r <= 0)
        return r;
    return read_running(&q, out) ? 1 : catalog_damaged(c, "runnings", err);
}

static int image_number(struct catalog *c, const struct blob_id *content, uint64_t *number, struct err *err)
{
    {
        QUERY q = query_on(c, CATALOG_IMAGE_FIND);
        query_blob(&q, content->bytes, sizeof(content->bytes));
        int r = query_step(&q, "look up an image", err);
        if (r < 0)
            return r;
        if (r > 0) {
            *number = (uint64_t)column_int(&q, 0);
            return 0;
        }
    }
    QUERY q = query_on(c, CATALOG_IMAGE_ADD);
    query_blob(&q, content->bytes, sizeof(content->bytes));
    int r = query_run(&q, "number an image", err);
    if (r == 0)
        *number = (uint64_t)sqlite3_last_insert_rowid(c->db);
    return r;
}

static int next_n(struct catalog *c, const char *name, uint64_t *n, struct err *err)
{
    QUERY q = query_on(c, CATALOG_NAME_NEXT);
    query_text(&q, name);
    int r = query_step(&q, "number a running snapshot", err);
    if (r < 0)
        return r;
    if (r == 0)
        return catalog_damaged(c, "names", err);
    *n = (uint64_t)column_int(&q, 0);
    return 0;
}

static int insert(struct catalog *c, struct catalog_running *r, struct err *err)
{
    QUERY q = query_on(c, CATALOG_RUNNING_ADD);
    query_text(&q, r->name);
    query_int(&q, (int64_t)r->n);
    query_int(&q, (int64_t)r->image);
    query_int(&q, r->created_ns);
    query_int(&q, (int64_t)r->files);
    query_int(&q, (int64_t)r->bytes);
    query_int(&q, (int64_t)r->chunks);
    query_int(&q, (int64_t)r->new_chunks);
    query_int(&q, (int64_t)r->new_raw_bytes);
    query_int(&q, (int64_t)r->new_stored_bytes);
    int result = query_run(&q, "add a running snapshot", err);
    if (result < 0)
        return result;
    int64_t id = sqlite3_last_insert_rowid(c->db);
    if (id <= 0 || id > UINT32_MAX)
        return err_set(err, EOVERFLOW, "%s: no ids of running snapshots are left", c->path);
    r->id = (uint32_t)id;
    return 0;
}

static int drop_prepared(struct catalog *c, const char *name, struct err *err)
{
    QUERY q = query_on(c, CATALOG_PREPARED_DROP);
    query_text(&q, name);
    return query_run(&q, "forget what was prepared", err);
}

static int set_clean(struct catalog *c, const char *name, uint32_t running, bool clean, struct err *err)
{
    QUERY q = query_on(c, clean ? CATALOG_CLEAN_SET : CATALOG_CLEAN_DROP);
    query_text(&q, name);
    if (clean)
        query_int(&q, running);
    int r = query_run(&q, "note whether a source is unchanged", err);
    return r < 0 ? r : drop_prepared(c, name, err);
}

static int add(struct catalog *c, struct catalog_running *r, struct err *err)
{
    int result = image_number(c, &r->content, &r->image, err);
    if (result == 0)
        result = next_n(c, r->name, &r->n, err);
    return result < 0 ? result : insert(c, r, err);
}

int catalog_running_add(struct catalog *c, struct catalog_running *r, bool clean, struct err *err)
{
    HOLD_LOCK(&c->lock);
    int result = catalog_begin(c, err);
    if (result < 0)
        return result;
    struct catalog_running found;
    bool made = false;
    result = newest(c, r->name, &found, err);
    if (result >= 0) {
        made = result == 0 || memcmp(&found.content, &r->content, sizeof(r->content)) != 0;
        if (made)
            found = *r;
        result = made ? add(c, &found, err) : 0;
    }
    if (result == 0)
        result = set_clean(c, found.name, found.id, clean, err);
    result = catalog_end(c, result, err);
    if (result < 0)
        return result;
    *r = found;
    return made;
}

int catalog_running_newest(struct catalog *c, const char *name, struct catalog_running *out, struct err *err)
{
    HOLD_LOCK(&c->lock);
    struct catalog_running found;
    int r = newest(c, name, &found, err);
    if (r > 0)
        *out = found;
    return r;
}

int catalog_running_remove(struct catalog *c, uint32_t id, struct err *err)
{
    HOLD_LOCK(&c->lock);
    int r = catalog_begin(c, err);
    if (r < 0)
        return r;
    int64_t image = 0;
    {
        QUERY q = query_on(c, CATALOG_RUNNING_REMOVE);
        query_int(&q, id);
        r = query_step(&q, "remove a running snapshot", err);
        if (r > 0)
            image = column_int(&q, 0);
        /* The statement is at its end, and what it refers to is checked, with the next step only. */
        if (r > 0)
            r = query_run(&q, "remove a running snapshot", err);
        else if (r == 0)
            r = err_set(err, ENOENT, "%s has no running snapshot %u", c->path, id);
    }
    if (r == 0) {
        QUERY q = query_on(c, CATALOG_IMAGES_PRUNE);
        query_int(&q, image);
        r = query_run(&q, "remove an image", err);
    }
    return catalog_end(c, r, err);
}

int catalog_runnings(struct catalog *c, int (*row)(void *arg, const struct catalog_running *r), void *arg,
                     struct err *err)
{
    HOLD_LOCK(&c->lock);
    QUERY q = query_on(c, CATALOG_RUNNINGS);
    for (;;) {
        int r = query_step(&q, "read the running snapshots", err);
        if (r <= 0)
            return r;
        struct catalog_running running;
        if (!read_running(&q, &running))
            return catalog_damaged(c, "runnings", err);
        r = row(arg, &running);
        if (r < 0)
            return err_sys(err, -r, "%s: cannot take in %s@%llu", c->path, running.name,
                           (unsigned long long)running.n);
    }
}

int catalog_source_clean(struct catalog *c, const char *name, uint32_t *running, struct err *err)
{
    HOLD_LOCK(&c->lock);
    QUERY q = query_on(c, CATALOG_CLEAN_GET);
    query_text(&q, name);
    int r = query_step(&q, "look up a source", err);
    if (r < 0)
        return r;
    *running = r > 0 ? column_id(&q, 0) : 0;
    return 0;
}

int catalog_source_dirty(struct catalog *c, const char *name, struct err *err)
{
    HOLD_LOCK(&c->lock);
    int r = catalog_begin(c, err);
    return r < 0 ? r : catalog_end(c, set_clean(c, name, 0, false, err), err);
}

static bool read_prepared(const struct query *q, struct catalog_running *r)
{
    memset(r, 0, sizeof(*r));
    r->files = (uint64_t)column_int(q, 2);
    r->bytes = (uint64_t)column_int(q, 3);
    r->chunks = (uint64_t)column_int(q, 4);
    r->new_chunks = (uint64_t)column_int(q, 5);
    r->new_raw_bytes = (uint64_t)column_int(q, 6);
    r->new_stored_bytes = (uint64_t)column_int(q, 7);
    return column_text(q, 0, r->name, sizeof(r->name)) &&
           column_blob(q, 1, r->content.bytes, sizeof(r->content.bytes));
}

int catalog_source_prepared(struct catalog *c, const char *name, struct catalog_running *out, struct err *err)
{
    HOLD_LOCK(&c->lock);
    struct catalog_running found;
    QUERY q = query_on(c, CATALOG_PREPARED_GET);
    query_text(&q, name);
    int r = query_step(&q, "look up what was prepared", err);
    if (r > 0 && !read_prepared(&q, &found))
        return catalog_damaged(c, "prepared", err);
    if (r > 0)
        *out = found;
    return r;
}

int catalog_source_prepare(struct catalog *c, const struct catalog_running *r, struct err *err)
{
    HOLD_LOCK(&c->lock);
    QUERY q = query_on(c, CATALOG_PREPARED_SET);
    query_text(&q, r->name);
    query_blob(&q, r->content.bytes, sizeof(r->content.bytes));
    query_int(&q, (int64_t)r->files);
    query_int(&q, (int64_t)r->bytes);
    query_int(&q, (int64_t)r->chunks);
    query_int(&q, (int64_t)r->new_chunks);
    query_int(&q, (int64_t)r->new_raw_bytes);
    query_int(&q, (int64_t)r->new_stored_bytes);
    return query_run(&q, "note what was prepared", err);
}

int catalog_prepared(struct catalog *c, int (*row)(void *arg, const struct catalog_running *r), void *arg,
                     struct err *err)
{
    HOLD_LOCK(&c->lock);
    QUERY q = query_on(c, CATALOG_PREPARED_ALL);
    for (;;) {
        int r = query_step(&q, "read what was prepared", err);
        if (r <= 0)
            return r;
        struct catalog_running prepared;
        if (!read_prepared(&q, &prepared))
            return catalog_damaged(c, "prepared", err);
        r = row(arg, &prepared);
        if (r < 0)
            return err_sys(err, -r, "%s: cannot take in what was prepared of %s", c->path, prepared.name);
    }
}
