/* That the chunks of a capture are in the store still: they were stored, or found there, while it read, and a
 * collection may have removed since what no image named yet. */
#include "capture_parts.h"

enum { UNKNOWN, KEPT, MISSING };

/* Whether the chunk is there; then it stays. */
static bool keep(const struct blob_capture *c, uint8_t *states, uint32_t chunk)
{
    if (states[chunk] == UNKNOWN)
        states[chunk] = blob_store_touch(c->store, &c->chunks.list[chunk].id) ? KEPT : MISSING;
    return states[chunk] == KEPT;
}

static bool keep_file(const struct blob_capture *c, const struct capture_node *n, uint8_t *states)
{
    bool all = true;
    if (n->whole)
        return keep(c, states, n->has.chunk);
    for (uint32_t i = 0; i < n->count; i++)
        all = keep(c, states, n->has.extents[i].chunk) && all;
    return all;
}

void blob_capture_touch(const struct blob_capture *c)
{
    for (uint32_t i = 0; i < c->n_nodes; i++) {
        const struct capture_node *n = &c->nodes[i];
        if (!n->live || !S_ISREG(n->mode))
            continue;
        if (n->whole)
            (void)blob_store_touch(c->store, &c->chunks.list[n->has.chunk].id);
        for (uint32_t k = 0; !n->whole && k < n->count; k++)
            (void)blob_store_touch(c->store, &c->chunks.list[n->has.extents[k].chunk].id);
    }
}

int capture_keep_chunks(struct blob_capture *c, struct err *err)
{
    OWNED uint8_t *states = calloc((size_t)c->chunks.count + 1, sizeof(*states));
    if (!states)
        return capture_no_memory(err);
    uint32_t missing = 0;
    for (uint32_t i = 0; i < c->n_nodes; i++) {
        const struct capture_node *n = &c->nodes[i];
        if (!n->live || n->refs == 0 || !S_ISREG(n->mode) || keep_file(c, n, states))
            continue;
        missing++;
        if (capture_pend(c, n->key) < 0)
            return capture_no_memory(err);
    }
    return missing == 0 ? 0
                        : err_set(err, ESTALE, "the content of %u files was removed from the store meanwhile",
                                  missing);
}
