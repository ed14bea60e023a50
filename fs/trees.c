#include "trees.h"

#include "base/log.h"

enum { UNUSED_MAX = 4 };

struct trees {
    pthread_mutex_t lock;
    struct engine *engine;
    struct open_tree *first;
    uint64_t uses;
};

int trees_new(struct engine *engine, struct trees **out)
{
    struct trees *trees = calloc(1, sizeof(*trees));
    if (!trees)
        return -ENOMEM;
    pthread_mutex_init(&trees->lock, NULL);
    trees->engine = engine;
    *out = trees;
    return 0;
}

static void free_tree(struct open_tree *tree)
{
    engine_tree_put(tree->tree);
    free(tree);
}

void trees_end(struct trees *trees)
{
    HOLD_LOCK(&trees->lock);
    while (trees->first) {
        struct open_tree *tree = trees->first;
        trees->first = tree->next;
        free_tree(tree);
    }
}

void trees_free(struct trees *trees)
{
    if (!trees)
        return;
    trees_end(trees);
    pthread_mutex_destroy(&trees->lock);
    free(trees);
}

static struct open_tree *use_known(struct trees *trees, uint32_t running)
{
    struct open_tree *tree = trees->first;
    while (tree && tree->running != running)
        tree = tree->next;
    if (tree) {
        tree->users++;
        tree->used = ++trees->uses;
    }
    return tree;
}

int tree_get(struct trees *trees, uint32_t running, struct open_tree **out)
{
    struct err err = {0};
    {
        HOLD_LOCK(&trees->lock);
        struct open_tree *known = use_known(trees, running);
        if (known) {
            *out = known;
            return 0;
        }
    }
    struct open_tree *fresh = calloc(1, sizeof(*fresh));
    if (!fresh)
        return -ENOMEM;
    int r = engine_tree_open(trees->engine, running, &fresh->tree, &err);
    if (r < 0) {
        free(fresh);
        if (r == -ENOENT)
            return -ESTALE;
        log_error("%s", err.message[0] ? err.message : "a running snapshot cannot be read");
        return r;
    }
    pthread_mutex_lock(&trees->lock);
    struct open_tree *known = use_known(trees, running);
    if (!known) {
        fresh->running = running;
        fresh->users = 1;
        fresh->used = ++trees->uses;
        fresh->next = trees->first;
        trees->first = fresh;
    }
    pthread_mutex_unlock(&trees->lock);
    if (known)
        free_tree(fresh);
    *out = known ? known : fresh;
    return 0;
}

/* The unused tree that was used longest ago, off the list, when there are too many of them. */
static struct open_tree *take_oldest(struct trees *trees)
{
    struct open_tree **oldest = NULL;
    size_t unused = 0;
    for (struct open_tree **at = &trees->first; *at; at = &(*at)->next) {
        if ((*at)->users > 0)
            continue;
        unused++;
        if (!oldest || (*at)->used < (*oldest)->used)
            oldest = at;
    }
    if (unused <= UNUSED_MAX)
        return NULL;
    struct open_tree *tree = *oldest;
    *oldest = tree->next;
    return tree;
}

static bool is_gone(const struct trees *trees, const struct open_tree *tree)
{
    struct engine_running running;
    return engine_running_get(trees->engine, tree->running, &running) < 0;
}

/* Off the list: an unused tree whose running snapshot was removed, or NULL. */
static struct open_tree *take_gone(struct trees *trees)
{
    for (struct open_tree **at = &trees->first; *at; at = &(*at)->next) {
        struct open_tree *tree = *at;
        if (tree->users > 0 || !is_gone(trees, tree))
            continue;
        *at = tree->next;
        return tree;
    }
    return NULL;
}

void trees_forget_removed(struct trees *trees)
{
    struct open_tree *gone;
    do {
        pthread_mutex_lock(&trees->lock);
        gone = take_gone(trees);
        pthread_mutex_unlock(&trees->lock);
        if (gone)
            free_tree(gone);
    } while (gone);
}

void tree_put(struct trees *trees, struct open_tree *tree)
{
    struct open_tree *old = NULL;
    pthread_mutex_lock(&trees->lock);
    if (--tree->users == 0)
        old = is_gone(trees, tree) ? take_gone(trees) : take_oldest(trees);
    pthread_mutex_unlock(&trees->lock);
    if (old)
        free_tree(old);
}
