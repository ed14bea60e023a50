#include "pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

int ring_find(void *arg, const char *id, struct wire_key keys[2])
{
    struct keyring *ring = arg;
    ring->lookups++;
    if (ring->count == 0 || strcmp(id, ring->current.id) != 0)
        return -ENOENT;
    keys[0] = ring->current;
    keys[1] = ring->before;
    return ring->count;
}

void pair_open(struct pair *pair, const struct wire_key *key, const struct wire_key *current,
               const struct wire_key *before)
{
    struct err err = {0};
    *pair = (struct pair){0};
    if (current) {
        pair->ring.current = *current;
        pair->ring.count = 1;
    }
    if (before) {
        pair->ring.before = *before;
        pair->ring.count = 2;
    }
    assert_int_equal(wire_link_new_agent(key, &pair->agent, &err), 0);
    assert_int_equal(wire_link_new_controller(ring_find, &pair->ring, &pair->controller, &err), 0);
}

void pair_close(struct pair *pair)
{
    wire_link_free(pair->agent);
    wire_link_free(pair->controller);
}

int carry(struct wire_link *from, struct wire_link *to, size_t piece_bytes, struct err *err)
{
    const uint8_t *bytes = NULL;
    size_t left = 0;
    int rc = 0;
    while (rc >= 0 && (left = wire_link_output(from, &bytes)) > 0) {
        size_t n = piece_bytes && piece_bytes < left ? piece_bytes : left;
        rc = wire_link_feed(to, bytes, n, err);
        wire_link_sent(from, n);
    }
    return rc;
}

int settle(struct pair *pair, size_t piece_bytes, struct err *err)
{
    const uint8_t *bytes = NULL;
    struct err ignored = {0};
    int first = 0;
    while (wire_link_output(pair->agent, &bytes) || wire_link_output(pair->controller, &bytes)) {
        int rc = carry(pair->agent, pair->controller, piece_bytes, first ? &ignored : err);
        first = first ? first : rc;
        rc = carry(pair->controller, pair->agent, piece_bytes, first ? &ignored : err);
        first = first ? first : rc;
    }
    return first;
}
