/* A capture from its beginning to its end; what it is made of is in capture_parts.h. */
#include "blob/capture.h"

#include <limits.h>
#include <sched.h>
#include <string.h>

#include "capture_parts.h"

#define THREADS_MAX 32

static unsigned count_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    return (unsigned)CPU_COUNT(&set);
}

static int start(struct blob_capture *c, unsigned threads, struct err *err)
{
    struct statx st;
    int r = capture_statx(c->treefd, "", &st);
    if (r < 0)
        return err_sys(err, -r, "The tree to be captured cannot be looked at");
    if (!S_ISDIR(st.stx_mode))
        return err_set(err, ENOTDIR, "The tree to be captured is not a directory.");
    c->dev = (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor;
    int64_t root = capture_add(c, st.stx_ino);
    c->xattr_names = malloc(XATTR_LIST_MAX);
    c->list_space = malloc(CAPTURE_LIST_BYTES);
    if (root < 0 || !c->xattr_names || !c->list_space)
        return capture_no_memory(err);
    c->nodes[root].mode = S_IFDIR;
    c->nodes[root].refs = 1;
    if (threads == 0)
        threads = count_cores();
    c->threads = threads < THREADS_MAX ? threads : THREADS_MAX;
    return 0;
}

/* The threads are made when they are needed, by who needs them: they have his priority. */
static int work_begin(struct blob_capture *c, struct err *err)
{
    if (c->pool.queue_end)
        return 0;
    if (!c->at_work)
        blob_store_capture_begin(c->store);
    c->at_work = true;
    return capture_pool_start(&c->pool, c->store, c->threads, c->level, &c->cancelled, err);
}

int blob_capture_new(struct blob_store *store, int treefd, const struct blob_capture_options *options,
                     struct blob_capture **out, struct err *err)
{
    struct blob_capture *c = calloc(1, sizeof(*c));
    if (!c)
        return capture_no_memory(err);
    c->store = store;
    c->treefd = treefd;
    c->level = options->level;
    c->free_node = CAPTURE_NONE;
    for (size_t i = 0; i < CAPTURE_DIRS_OPEN; i++)
        c->open[i].fd = -1;
    int r = start(c, options->threads, err);
    if (r < 0) {
        blob_capture_free(c);
        return r;
    }
    *out = c;
    return 0;
}

void blob_capture_free(struct blob_capture *c)
{
    if (!c)
        return;
    atomic_store(&c->cancelled, true);
    blob_capture_rest(c);
    capture_model_free(c);
    free(c->list_space);
    free(c->xattr_names);
    free(c->xattr_list);
    buf_free(&c->xattr_values);
    free(c);
}

void blob_capture_cancel(struct blob_capture *c)
{
    atomic_store(&c->cancelled, true);
}

void blob_capture_go_on(struct blob_capture *c)
{
    atomic_store(&c->cancelled, false);
}

void blob_capture_rest(struct blob_capture *c)
{
    capture_pool_stop(&c->pool);
    capture_close_dirs(c);
    if (c->at_work)
        blob_store_capture_end(c->store);
    c->at_work = false;
}

uint64_t blob_capture_bytes(const struct blob_capture *c)
{
    /* The names of an inode take some 40 bytes. */
    return (uint64_t)c->cap_nodes * sizeof(struct capture_node) + (uint64_t)c->n_live * 40 +
           (uint64_t)c->chunks.cap * (sizeof(struct blob_chunk) + sizeof(uint32_t)) +
           (uint64_t)c->n_buckets * sizeof(uint32_t) + sizeof(*c);
}

void blob_capture_count_anew(struct blob_capture *c)
{
    c->new_chunks = 0;
    c->new_raw_bytes = 0;
    c->new_stored_bytes = 0;
}

/* After the walk, well or not: every file that was given is taken back. */
static int settle(struct blob_capture *c, int r, struct err *err)
{
    capture_close_dirs(c);
    struct err late = {0};
    int collected = capture_collect(c, 0, &late);
    if (r < 0 || collected == 0)
        return r;
    if (err)
        *err = late;
    return collected;
}

int blob_capture_scan(struct blob_capture *c, struct err *err)
{
    int64_t r = work_begin(c, err);
    if (r == 0 && capture_queue(c, CAPTURE_ROOT) < 0)
        r = capture_no_memory(err);
    if (r == 0)
        r = capture_read_dirs(c, err);
    return settle(c, r < 0 ? (int)r : 0, err);
}

/* Notes the nodes that are to be looked at again, and queues the directories among them. */
static int force(struct blob_capture *c, const uint64_t *keys, size_t count, struct capture_list *listed)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t node = capture_find(c, keys[i]);
        if (node == CAPTURE_NONE || c->nodes[node].forced)
            continue;
        c->nodes[node].forced = 1;
        if (capture_list_add(listed, node) < 0)
            return -ENOMEM;
        if (S_ISDIR(c->nodes[node].mode) && capture_queue(c, node) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* Queues again what was not found: its parent may be known by now. */
static int queue_pending(struct blob_capture *c)
{
    uint32_t count = c->n_pending;
    c->n_pending = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t node = capture_find(c, c->pending[i]);
        if (node != CAPTURE_NONE && S_ISDIR(c->nodes[node].mode) && c->nodes[node].refs > 0 &&
            capture_queue(c, node) < 0)
            return -ENOMEM;
    }
    return 0;
}

/*
 * Directories, in whatever order they came: one that was moved is found once the directory that it is in now
 * was read, so what could not be found is tried again for as long as something else could.
 */
static int reread_dirs(struct blob_capture *c, struct err *err)
{
    for (;;) {
        int64_t count = capture_read_dirs(c, err);
        if (count <= 0 || c->n_pending == 0)
            return (int)count;
        if (queue_pending(c) < 0)
            return capture_no_memory(err);
    }
}

/* A listed file, at the name that it is known by. */
static int reread_file(struct blob_capture *c, uint32_t node, struct err *err)
{
    if (!capture_find_name(c, node))
        return 0; /* no name is left: it is swept away */
    uint32_t dir = c->nodes[node].parent;
    int fd = capture_open_dir(c, dir, err);
    if (fd < 0 && fd != -ENOENT)
        return fd;
    int64_t found = CAPTURE_NONE;
    if (fd >= 0) {
        char name[NAME_MAX + 1];
        snprintf(name, sizeof(name), "%s", capture_name(c, node));
        found = capture_look(c, dir, fd, name, err);
    }
    if (found < 0)
        return (int)found;
    if (found == node)
        return 0;
    /* Something else has its name now, or nothing: the directory changed, and is in the next list. */
    bool stray = found != CAPTURE_NONE && c->nodes[found].refs == 0;
    if ((stray && capture_list_add(&c->orphans, (uint32_t)found) < 0) ||
        capture_pend(c, c->nodes[node].key) < 0 || capture_pend(c, c->nodes[dir].key) < 0)
        return capture_no_memory(err);
    return 0;
}

static int reread(struct blob_capture *c, const struct capture_list *listed, struct err *err)
{
    int r = reread_dirs(c, err);
    for (uint32_t i = 0; r >= 0 && i < listed->count; i++) {
        const struct capture_node *n = &c->nodes[listed->list[i]];
        if (n->forced && n->refs > 0 && !S_ISDIR(n->mode))
            r = reread_file(c, listed->list[i], err);
    }
    if (r >= 0) /* one of them may be a directory by now */
        r = (int)capture_read_dirs(c, err);
    return r < 0 ? r : 0;
}

int blob_capture_rescan(struct blob_capture *c, const uint64_t *inodes, size_t count, struct err *err)
{
    struct capture_list listed = {0};
    uint64_t *before = STEAL(c->pending);
    uint32_t n_before = c->n_pending;
    c->n_pending = 0;
    c->cap_pending = 0;
    int r = work_begin(c, err);
    if (r == 0 && (force(c, inodes, count, &listed) < 0 || force(c, before, n_before, &listed) < 0))
        r = capture_no_memory(err);
    if (r == 0)
        r = reread(c, &listed, err);
    r = settle(c, r, err);
    /* What is left undone is for the next one. */
    for (uint32_t i = 0; r < 0 && i < n_before; i++)
        if (capture_pend(c, before[i]) < 0)
            r = capture_no_memory(err);
    for (uint32_t i = 0; i < listed.count; i++)
        c->nodes[listed.list[i]].forced = 0;
    free(listed.list);
    free(before);
    if (r == 0 && capture_sweep(c) < 0)
        r = capture_no_memory(err);
    return r;
}

/* The last try for what was not found where it was last seen: there, and in the directories that named it. */
static int resolve_pending(struct blob_capture *c, struct err *err)
{
    struct err ignored;
    for (int again = 0; again < 2 && c->n_pending > 0; again++) {
        uint32_t count = c->n_pending;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t node = capture_find(c, c->pending[i]);
            if (node == CAPTURE_NONE || c->nodes[node].parent == CAPTURE_NONE)
                continue;
            if (capture_pend(c, c->nodes[c->nodes[node].parent].key) < 0)
                return capture_no_memory(err);
        }
        int r = blob_capture_rescan(c, NULL, 0, err ? err : &ignored);
        if (r < 0)
            return r;
    }
    for (uint32_t i = 0; i < c->n_pending; i++) {
        uint32_t node = capture_find(c, c->pending[i]);
        if (node == CAPTURE_NONE)
            continue;
        char path[CAPTURE_PATH_BYTES];
        capture_path(c, node, NULL, path);
        return err_set(err, EIO, "%s was moved while the tree was captured: load again.", path);
    }
    return 0;
}

int blob_capture_finish(struct blob_capture *c, struct blob_capture_result *out, struct err *err)
{
    struct blob_capture_result result = {0};
    OWNED_BUF struct buf image = BUF_EMPTY;
    int r = resolve_pending(c, err);
    if (r == 0)
        r = capture_keep_chunks(c, err);
    if (r == 0)
        r = capture_write(c, &image, &result, err);
    if (r < 0)
        return r;
    struct blob_compressor *compressor = NULL;
    if (blob_compressor_new(c->level, &compressor) < 0)
        return capture_no_memory(err);
    r = blob_object_save(c->store, compressor, image.bytes, image.len_bytes, &result.image, err);
    blob_compressor_free(compressor);
    if (r >= 0)
        r = blob_store_sync(c->store, err);
    if (r < 0)
        return r;
    if (atomic_load(&c->cancelled))
        return err_set(err, ECANCELED, "The capture was cancelled.");
    result.new_chunks = c->new_chunks;
    result.new_raw_bytes = c->new_raw_bytes;
    result.new_stored_bytes = c->new_stored_bytes;
    result.image_bytes = image.len_bytes;
    *out = result;
    return 0;
}
