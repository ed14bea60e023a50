/* What a receive is made of, between receive.c (the order of things) and receive_crew.c (the work). */
#ifndef AGENT_RECEIVE_PARTS_H
#define AGENT_RECEIVE_PARTS_H

#include "base/names.h"
#include "blob/record.h"
#include "layer.h"
#include "receive.h"
#include "receive_plan.h"
#include "seed_copy.h"
#include "tree_write.h"

#define RECEIVE_CREW 2 /* threads that expand, check, copy and write */

/* A chunk from the controller that waits to be written. */
struct arrived {
    struct arrived *next;
    uint32_t chunk;
    uint32_t len_bytes;
    enum blob_codec codec;
    uint8_t payload[];
};

enum receive_phase { RECEIVE_OPENING, RECEIVE_CONTENT, RECEIVE_FINISHING, RECEIVE_CLOSING };

struct receive {
    struct images *images;
    const char *dir;
    struct receive_events events;
    struct receive *after;
    uint64_t load, number;
    uint64_t descriptor_raw_bytes, descriptor_bytes;
    char snapshot[RUNNING_NAME_MAX_BYTES + 1];
    pthread_t thread;

    /* Made by the receive's thread before the crew starts, only read after. */
    int fd, tree_fd; /* DIR/incoming/<number>, its tree */
    struct blob_image *image;
    struct tree tree;
    struct seed_source source[PLAN_SEED_IMAGES_MAX];
    unsigned sources;
    struct buf clones; /* struct seed_clone */
    bool resumed;
    bool has_base; /* the tree is a layer above this one */
    struct seed_source base;
    struct layer layer;

    pthread_mutex_t lock;  /* guards all below; never held over a wait for disk or peer */
    pthread_cond_t wake;   /* of the crew: there is work, or none any more */
    pthread_cond_t turned; /* of the receive's thread: something came, or was finished */
    bool cancelled;
    struct err failed; /* code 0: not failed */
    enum receive_phase phase;
    struct buf descriptor, seeds;
    uint64_t descriptor_got_bytes;
    bool has_seeds; /* the last of them came */
    struct plan plan;
    struct arrived *first, **end;
    unsigned waiting;      /* of the crew, for work */
    uint64_t credit_bytes; /* granted and not used */
    uint64_t owed_bytes;   /* written and not granted again */
    size_t next_clone;
    uint32_t next_local; /* the next chunk to look at for a claim or a seed */
    uint32_t next_dir;
    unsigned cloning, finishing; /* jobs under way */
};

/* With the lock held. */
bool receive_is_over(const struct receive *r);
void receive_fail(struct receive *r, const struct err *err); /* the first one stays */

/* Throws away what an earlier attempt wrote and begins anew. On the receive's thread. */
int receive_start_over(struct receive *r, struct err *err) MUST_CHECK;

/* Without. Sends these chunks' numbers as wanted. */
void receive_want(struct receive *r, const struct wire_list *ranges, bool last);

/* One of the crew: works until the phase is RECEIVE_CLOSING or the receive is over. */
void *receive_crew_main(void *arg);

#endif
