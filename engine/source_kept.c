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
    uint64_t inodes = source->kept.blob ? blob_capture_inodes(source->kept.blob) : 0;
    HOLD_LOCK(&source->sources->lock);
    /* The caller has a reference, so it is not the last one that goes. */
    if (inodes > 0 && source->kept_inodes == 0)
        source->refs++;
    else if (inodes == 0 && source->kept_inodes > 0)
        source->refs--;
    source->kept_inodes = inodes;
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

/* The one that was kept longest ago, with a reference; `*inodes` is what all of them hold. */
static struct engine_source *oldest_kept(struct sources *s, uint64_t *inodes)
{
    struct engine_source *oldest = NULL;
    int64_t oldest_ms = INT64_MAX;
    *inodes = 0;
    HOLD_LOCK(&s->lock);
    for (struct engine_source *at = s->first; at; at = at->next) {
        *inodes += at->kept_inodes;
        if (at->kept_inodes > 0 && at->kept_ms < oldest_ms) {
            oldest_ms = at->kept_ms;
            oldest = at;
        }
    }
    if (oldest)
        oldest->refs++;
    return oldest;
}

void sources_trim(struct sources *s, uint64_t inodes_max)
{
    for (;;) {
        uint64_t inodes;
        struct engine_source *oldest = oldest_kept(s, &inodes);
        if (oldest && inodes > inodes_max)
            source_forget(oldest);
        engine_source_put(oldest);
        if (inodes <= inodes_max)
            return;
    }
}
