#include "fs.h"

#include <sys/resource.h>

#include "base/fdio.h"
#include "cursors.h"
#include "opens.h"
#include "passthrough.h"
#include "polls.h"
#include "snap.h"
#include "trees.h"
#include "unlisted.h"
#include "waits.h"

/* Descriptors of nodes that stay open though nobody uses them: enough for a source tree at work. */
enum { NODE_FDS_MAX = 32768 };
enum { CURSORS_MAX = 64 };

static void on_change(void *arg, enum engine_topic topic, uint32_t slot)
{
    struct fs *fs = arg;
    int64_t now = clock_wall_ns();
    switch (topic) {
    case ENGINE_SLOT:
        fs->states_ns = now;
        break;
    case ENGINE_SLOTS:
        fs->slots_ns = fs->states_ns = now;
        break;
    case ENGINE_RUNNINGS:
        fs->runnings_ns = now;
        trees_forget_removed(fs->trees);
        break;
    case ENGINE_ANY_CHOICE:
    case ENGINE_STORE:
        break;
    }
    polls_wake(fs->polls, topic, slot);
}

/* The times of the lists, from what is in them. */
static void first_times(struct fs *fs)
{
    enum { BATCH = 64 };
    struct engine_slot slots[BATCH];
    struct engine_running runnings[BATCH];
    int64_t states_ns = 0, runnings_ns = 0;
    size_t count;
    uint32_t after = 0;
    fs->started_ns = clock_wall_ns();
    do {
        count = engine_slot_list(fs->engine, after, slots, BATCH);
        for (size_t i = 0; i < count; i++)
            states_ns = slots[i].state_ns > states_ns ? slots[i].state_ns : states_ns;
        after = count ? slots[count - 1].id : 0;
    } while (count == BATCH);
    after = 0;
    do {
        count = engine_running_list(fs->engine, after, runnings, BATCH);
        for (size_t i = 0; i < count; i++)
            runnings_ns = runnings[i].created_ns > runnings_ns ? runnings[i].created_ns : runnings_ns;
        after = count ? runnings[count - 1].id : 0;
    } while (count == BATCH);
    fs->slots_ns = fs->started_ns;
    fs->states_ns = states_ns ? states_ns : fs->started_ns;
    fs->runnings_ns = runnings_ns ? runnings_ns : fs->started_ns;
}

static size_t node_fds(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 256;
    size_t half = (size_t)limit.rlim_cur / 2;
    return half < NODE_FDS_MAX ? half : NODE_FDS_MAX;
}

static int make_parts(struct fs *fs, bool passthrough)
{
    int r = backing_open(engine_snapshots_fd(fs->engine), &fs->backing);
    if (r == 0)
        r = tops_new(fs->engine, &fs->tops);
    if (r == 0)
        r = nodes_new(&fs->backing, node_fds(), &fs->nodes);
    if (r == 0)
        r = trees_new(fs->engine, &fs->trees);
    if (r == 0)
        r = polls_new(&fs->polls);
    if (r == 0)
        r = opens_new(&fs->opens);
    if (r == 0)
        r = passthrough_new(&fs->backing, passthrough, &fs->passthrough);
    if (r == 0)
        r = lingering_new(snap_file_settled, fs, &fs->lingering);
    if (r == 0)
        r = cursors_new(CURSORS_MAX, &fs->cursors);
    if (r == 0)
        r = unlisted_new(&fs->unlisted);
    if (r == 0)
        r = waits_new(fs->engine, &fs->waits);
    if (r < 0)
        return r;
    int fd = openat(fs->backing.fd, ".", O_PATH | O_CLOEXEC);
    return fd < 0 ? -errno : node_learn(fs->nodes, fd, fs->backing.inode, NULL, &fs->snapshots);
}

int fs_new(struct engine *engine, const struct fs_options *options, struct fs **out, struct err *err)
{
    struct fs *fs = calloc(1, sizeof(*fs));
    if (!fs)
        return err_set(err, ENOMEM, "no memory");
    fs->engine = engine;
    fs->backing.fd = -1;
    fs->uid = geteuid();
    fs->gid = getegid();
    pthread_mutex_init(&fs->locate_lock, NULL);
    pthread_mutex_init(&fs->access_lock, NULL);
    int r = make_parts(fs, options->passthrough);
    if (r < 0) {
        fs_free(fs); /* it does not watch the engine yet */
        return err_sys(err, -r, "cannot read the snapshots of the store");
    }
    first_times(fs);
    engine_watch(engine, on_change, fs);
    *out = fs;
    return 0;
}

void fs_release(struct fs *fs)
{
    if (fs->opens)
        opens_end(fs->opens, fs);
    lingering_free(fs->lingering);
    fs->lingering = NULL;
    cursors_free(fs->cursors);
    fs->cursors = NULL;
    if (fs->trees)
        trees_end(fs->trees);
    if (fs->snapshots)
        node_put(fs->nodes, fs->snapshots);
    fs->snapshots = NULL;
    nodes_free(fs->nodes);
    fs->nodes = NULL;
    tops_free(fs->tops);
    fs->tops = NULL;
}

void fs_free(struct fs *fs)
{
    if (!fs)
        return;
    fs_release(fs);
    trees_free(fs->trees);
    waits_free(fs->waits);
    polls_free(fs->polls);
    opens_free(fs->opens);
    unlisted_free(fs->unlisted);
    passthrough_free(fs->passthrough);
    backing_close(&fs->backing);
    pthread_mutex_destroy(&fs->locate_lock);
    pthread_mutex_destroy(&fs->access_lock);
    free(fs);
}
