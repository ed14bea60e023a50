#include "sources.h"

#include <string.h>
#include <time.h>

#include "base/fdio.h"
#include "parts.h"
#include "source.h"

int sources_new(struct catalog *catalog, struct sources **out)
{
    struct sources *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    pthread_mutex_init(&s->lock, NULL);
    s->catalog = catalog;
    s->started_ns = clock_wall_ns();
    *out = s;
    return 0;
}

static void source_free(struct engine_source *source)
{
    kept_free(&source->kept);
    inodes_free(&source->dirty);
    inodes_free(&source->inside);
    free(source->writers);
    pthread_cond_destroy(&source->changed);
    pthread_mutex_destroy(&source->lock);
    free(source);
}

void sources_free(struct sources *s)
{
    if (!s)
        return;
    struct engine_source *changed;
    while ((changed = sources_next_changed(s)))
        engine_source_put(changed);
    while (s->first) {
        struct engine_source *source = s->first;
        s->first = source->next;
        source_free(source);
    }
    pthread_mutex_destroy(&s->lock);
    free(s->no_strangers);
    free(s);
}

static struct engine_source *source_new(struct sources *s, const char *name, uint64_t top_inode)
{
    struct engine_source *source = calloc(1, sizeof(*source));
    if (!source)
        return NULL;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&source->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&source->lock, NULL);
    source->sources = s;
    source->top_inode = top_inode;
    source->refs = 1;
    snprintf(source->name, sizeof(source->name), "%s", name);
    return source;
}

struct engine_source *sources_get(struct sources *s, const char *name, uint64_t top_inode)
{
    HOLD_LOCK(&s->lock);
    for (struct engine_source *at = s->first; at; at = at->next)
        if (at->top_inode == top_inode) {
            at->refs++;
            return at;
        }
    struct engine_source *source = source_new(s, name, top_inode);
    if (source) {
        source->next = s->first;
        s->first = source;
    }
    return source;
}

struct engine_source *engine_source_get(struct engine *engine, const char *name, uint64_t top_inode)
{
    return sources_get(engine->sources, name, top_inode);
}

/* Under sources->lock. */
static void unlink_source(struct engine_source *source)
{
    for (struct engine_source **at = &source->sources->first; *at; at = &(*at)->next)
        if (*at == source) {
            *at = source->next;
            source->next = NULL;
            return;
        }
}

void engine_source_put(struct engine_source *source)
{
    if (!source)
        return;
    {
        HOLD_LOCK(&source->sources->lock);
        if (--source->refs > 0)
            return;
        unlink_source(source);
    }
    source_free(source);
}

int64_t source_started_ns(const struct engine_source *source)
{
    return source->sources->started_ns;
}

bool source_has_no_strangers(struct engine_source *source)
{
    const struct sources *s = source->sources;
    HOLD_LOCK(&source->sources->lock);
    for (size_t i = 0; i < s->no_strangers_count; i++)
        if (s->no_strangers[i] == source->top_inode)
            return true;
    return false;
}

void source_set_no_strangers(struct engine_source *source)
{
    struct sources *s = source->sources;
    HOLD_LOCK(&s->lock);
    if (s->no_strangers_count == s->no_strangers_room) {
        size_t room = s->no_strangers_room ? s->no_strangers_room * 2 : 16;
        uint64_t *more = realloc(s->no_strangers, room * sizeof(*more));
        if (!more)
            return; /* it is looked through again the next time */
        s->no_strangers = more;
        s->no_strangers_room = room;
    }
    s->no_strangers[s->no_strangers_count++] = source->top_inode;
}

int64_t source_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void source_wait(struct engine_source *source, int64_t wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += wait_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&source->changed, &source->lock, &until);
}

/* Under the lock: the mark, when nobody is busy with it. */
static enum source_mark settled_mark(struct engine_source *source)
{
    while (source->mark == SOURCE_BUSY)
        pthread_cond_wait(&source->changed, &source->lock);
    return source->mark;
}

static void set_mark(struct engine_source *source, enum source_mark mark, uint32_t running)
{
    source->mark = mark;
    source->clean_running = running;
    pthread_cond_broadcast(&source->changed);
}

/*
 * Under the lock, which is dropped while the catalog is written: notes durably that `source` and, when it is
 * another, the name `also` have changed.
 */
static int note_dirty(struct engine_source *source, const char *also)
{
    char name[NAME_MAX_BYTES + 1];
    memcpy(name, source->name, sizeof(name));
    set_mark(source, SOURCE_BUSY, 0);
    pthread_mutex_unlock(&source->lock);
    int r = catalog_source_dirty(source->sources->catalog, name, NULL);
    if (r == 0 && also && strcmp(also, name) != 0)
        r = catalog_source_dirty(source->sources->catalog, also, NULL);
    pthread_mutex_lock(&source->lock);
    set_mark(source, r == 0 ? SOURCE_DIRTY : SOURCE_UNKNOWN, 0);
    return r;
}

int engine_source_renamed(struct engine_source *source, const char *name)
{
    HOLD_LOCK(&source->lock);
    settled_mark(source);
    source_changed(source);
    int r = note_dirty(source, name);
    snprintf(source->name, sizeof(source->name), "%s", name);
    /* The catalog may still hold a note for the new name, of a tree that was there before. */
    set_mark(source, SOURCE_DIRTY, 0);
    return r;
}

void engine_source_removed(struct engine_source *source)
{
    {
        HOLD_LOCK(&source->sources->lock);
        unlink_source(source);
    }
    {
        HOLD_LOCK(&source->lock);
        source->gone = true;
        source_changed(source);
        if (settled_mark(source) != SOURCE_DIRTY && note_dirty(source, NULL) < 0)
            source->mark = SOURCE_UNKNOWN;
        pthread_cond_broadcast(&source->changed);
    }
    source_forget(source);
}

/* Under the lock. */
static void remember(struct engine_source *source, const uint64_t *inodes, size_t count)
{
    source_changed(source);
    if (!source->capturing && !source->kept.blob)
        return;
    for (size_t i = 0; i < count; i++)
        inodes_add(&source->dirty, inodes[i]);
}

static void leave(struct engine_source *source)
{
    gate_leave(&source->gate);
    if (source->gate.inside == 0) {
        inodes_free(&source->inside);
        pthread_cond_broadcast(&source->changed);
    }
}

int engine_change_begin(struct engine_source *source, const uint64_t *inodes, size_t count)
{
    HOLD_LOCK(&source->lock);
    int64_t since_ms = source_now_ms();
    int64_t wait_ms = 0;
    while (!gate_enter(&source->gate, since_ms, source_now_ms(), &wait_ms))
        source_wait(source, wait_ms);
    remember(source, inodes, count);
    for (size_t i = 0; i < count; i++)
        inodes_add(&source->inside, inodes[i]);
    if (settled_mark(source) == SOURCE_DIRTY)
        return 0;
    int r = note_dirty(source, NULL);
    if (r < 0)
        leave(source);
    return r;
}

void engine_change_end(struct engine_source *source)
{
    HOLD_LOCK(&source->lock);
    leave(source);
}

static int add_writer(struct engine_source *source, uint64_t inode, int fd)
{
    if (source->writers_count == source->writers_room) {
        size_t room = source->writers_room ? source->writers_room * 2 : 16;
        struct writer *more = reallocarray(source->writers, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        source->writers = more;
        source->writers_room = room;
    }
    source->writers[source->writers_count++] = (struct writer){.inode = inode, .fd = fd};
    return 0;
}

static void remove_writer(struct engine_source *source, uint64_t inode, int fd)
{
    for (size_t i = 0; i < source->writers_count; i++)
        if (source->writers[i].inode == inode && source->writers[i].fd == fd) {
            source->writers[i] = source->writers[--source->writers_count];
            break;
        }
    pthread_cond_broadcast(&source->changed);
}

int engine_writer_opened(struct engine_source *source, uint64_t inode, int fd)
{
    HOLD_LOCK(&source->lock);
    int64_t since_ms = source_now_ms();
    int64_t wait_ms = 0;
    while (!gate_pass(&source->gate, since_ms, source_now_ms(), &wait_ms))
        source_wait(source, wait_ms);
    int r = add_writer(source, inode, fd);
    if (r < 0)
        return r;
    remember(source, &inode, 1);
    if (settled_mark(source) == SOURCE_DIRTY)
        return 0;
    r = note_dirty(source, NULL);
    if (r < 0)
        remove_writer(source, inode, fd);
    return r;
}

void engine_writer_closed(struct engine_source *source, uint64_t inode, int fd)
{
    HOLD_LOCK(&source->lock);
    remember(source, &inode, 1);
    remove_writer(source, inode, fd);
}

/* Under the lock, which is dropped meanwhile. */
static void ask_catalog(struct engine_source *source)
{
    char name[NAME_MAX_BYTES + 1];
    struct catalog_running prepared = {0};
    uint32_t running = 0;
    memcpy(name, source->name, sizeof(name));
    set_mark(source, SOURCE_BUSY, 0);
    pthread_mutex_unlock(&source->lock);
    int r = catalog_source_clean(source->sources->catalog, name, &running, NULL);
    if (r == 0 && running == 0)
        r = catalog_source_prepared(source->sources->catalog, name, &prepared, NULL);
    pthread_mutex_lock(&source->lock);
    source->prepared = prepared;
    if (r < 0)
        set_mark(source, SOURCE_UNKNOWN, 0);
    else
        set_mark(source, running || r > 0 ? SOURCE_CLEAN : SOURCE_DIRTY, running);
}

int source_known(struct engine_source *source, uint32_t *running, struct catalog_running *prepared,
                 uint64_t *generation)
{
    HOLD_LOCK(&source->lock);
    if (settled_mark(source) == SOURCE_UNKNOWN && !source->gone)
        ask_catalog(source);
    if (source->mark != SOURCE_CLEAN || source->gone)
        return 0;
    *generation = source->generation;
    if (source->clean_running == 0)
        *prepared = source->prepared;
    else
        *running = source->clean_running;
    return source->clean_running == 0 ? 2 : 1;
}

void source_distrust(struct engine_source *source)
{
    HOLD_LOCK(&source->lock);
    source_changed(source);
    if (settled_mark(source) != SOURCE_DIRTY && note_dirty(source, NULL) < 0)
        source->mark = SOURCE_DIRTY; /* what the catalog says is not asked again */
}

void source_name(struct engine_source *source, char out[NAME_MAX_BYTES + 1])
{
    HOLD_LOCK(&source->lock);
    memcpy(out, source->name, NAME_MAX_BYTES + 1);
}

bool source_is(struct engine_source *source, const char *name)
{
    HOLD_LOCK(&source->lock);
    return !source->gone && strcmp(source->name, name) == 0;
}

int engine_source_stats(struct engine_source *source, struct buf *out, int64_t *changed_ns)
{
    char name[NAME_MAX_BYTES + 1];
    struct catalog_running row;
    source_name(source, name);
    int r = catalog_running_newest(source->sources->catalog, name, &row, NULL);
    if (r < 0)
        return r;
    if (changed_ns)
        *changed_ns = r ? row.created_ns : 0;
    if (r)
        buf_printf(out, "files %llu\nbytes %llu\nnew_bytes %llu\nnew_chunks %llu\nchunks %llu\n",
                   (unsigned long long)row.files, (unsigned long long)row.bytes,
                   (unsigned long long)row.new_raw_bytes, (unsigned long long)row.new_chunks,
                   (unsigned long long)row.chunks);
    return out->error;
}
