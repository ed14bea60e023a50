/* Sources that changed, for who captures ahead; and captures that are kept with their sources. */
#include "base/fdio.h"
#include "source.h"

/* ---- the queue of those that changed ---- */

void sources_watch(struct sources *s, void (*changed)(void *arg), void *arg)
{
    s->changed = changed;
    s->changed_arg = arg;
}

void source_changed(struct engine_source *source)
{
    struct sources *s = source->sources;
    source->generation++;
    source->changed_ms = source_now_ms();
    if (source->queued || !s->changed)
        return;
    source->queued = true;
    {
        HOLD_LOCK(&s->lock);
        source->refs++;
        source->queue_next = s->queue;
        s->queue = source;
    }
    s->changed(s->changed_arg);
}

struct engine_source *sources_next_changed(struct sources *s)
{
    struct engine_source *source;
    {
        HOLD_LOCK(&s->lock);
        source = s->queue;
        if (source)
            s->queue = source->queue_next;
    }
    if (source) {
        HOLD_LOCK(&source->lock);
        source->queued = false;
    }
    return source;
}

/* ---- what is kept ---- */

void kept_free(struct kept *kept)
{
    if (!kept->blob)
        return;
    blob_capture_free(STEAL(kept->blob));
    cleanup_fd(&kept->tree_fd);
}

void source_note_kept(struct engine_source *source)
{
    uint64_t bytes = source->kept.blob ? blob_capture_bytes(source->kept.blob) : 0;
    HOLD_LOCK(&source->sources->lock);
    /* The caller has a reference, so it is not the last one that goes. */
    if (bytes > 0 && source->kept_bytes == 0)
        source->refs++;
    else if (bytes == 0 && source->kept_bytes > 0)
        source->refs--;
    source->kept_bytes = bytes;
    source->kept_ms = source_now_ms();
}

void source_forget(struct engine_source *source)
{
    struct kept kept;
    {
        HOLD_LOCK(&source->lock);
        kept = source->kept;
        source->kept = (struct kept){.tree_fd = -1};
        source_note_kept(source);
        if (!source->capturing)
            inodes_free(&source->dirty);
    }
    kept_free(&kept);
}

/* The one that was kept longest ago, with a reference; `*bytes` is what all of them hold. */
static struct engine_source *oldest_kept(struct sources *s, uint64_t *bytes)
{
    struct engine_source *oldest = NULL;
    int64_t oldest_ms = INT64_MAX;
    *bytes = 0;
    HOLD_LOCK(&s->lock);
    for (struct engine_source *at = s->first; at; at = at->next) {
        *bytes += at->kept_bytes;
        if (at->kept_bytes > 0 && at->kept_ms < oldest_ms) {
            oldest_ms = at->kept_ms;
            oldest = at;
        }
    }
    if (oldest)
        oldest->refs++;
    return oldest;
}

void sources_trim(struct sources *s, uint64_t bytes_max)
{
    for (;;) {
        uint64_t bytes;
        struct engine_source *oldest = oldest_kept(s, &bytes);
        if (oldest && bytes > bytes_max)
            source_forget(oldest);
        engine_source_put(oldest);
        if (bytes <= bytes_max)
            return;
    }
}

/* ---- for collections ---- */

/* All that have something kept, each with a reference. */
static int list_kept(struct sources *s, struct engine_source ***out, size_t *count)
{
    HOLD_LOCK(&s->lock);
    size_t n = 0;
    for (const struct engine_source *at = s->first; at; at = at->next)
        n += at->kept_bytes > 0;
    struct engine_source **list = calloc(n + 1, sizeof(struct engine_source *));
    if (!list)
        return -ENOMEM;
    n = 0;
    for (struct engine_source *at = s->first; at; at = at->next)
        if (at->kept_bytes > 0) {
            at->refs++;
            list[n++] = at;
        }
    *out = list;
    *count = n;
    return 0;
}

struct prepared_roots {
    blob_gc_root root;
    void *arg;
};

static int take_prepared(void *arg, const struct catalog_running *r)
{
    const struct prepared_roots *to = arg;
    return to->root(to->arg, &r->content);
}

int sources_roots(void *sources, blob_gc_root root, void *arg, struct err *err)
{
    struct sources *s = sources;
    struct prepared_roots to = {.root = root, .arg = arg};
    OWNED struct engine_source **list = NULL;
    size_t count = 0;
    int r = list_kept(s, &list, &count);
    if (r < 0)
        return err_set(err, ENOMEM, "no memory for what was captured ahead");
    for (size_t i = 0; i < count; i++) {
        {
            /* One that is at work finds out by itself what is gone. */
            HOLD_LOCK(&list[i]->lock);
            if (list[i]->kept.blob)
                blob_capture_touch(list[i]->kept.blob);
        }
        engine_source_put(list[i]);
    }
    return catalog_prepared(s->catalog, take_prepared, &to, err);
}
