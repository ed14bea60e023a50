/* The folders behind images.h: what is found at start, the trash, and the little files beside a tree. */
#ifndef AGENT_IMAGES_DISK_H
#define AGENT_IMAGES_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* A decimal number from 1 without leading zeros, as the folders are named; 0 when it is none. Pure. */
uint64_t images_number_parse(const char *text);

/* What one folder below DIR/images or DIR/incoming is. */
struct images_found {
    uint64_t number;
    uint64_t base;
    int64_t used_ns; /* wall clock */
    bool foreign;
};

/* Called for each numbered folder of `dirfd`; a negative return ends the walk and is its result. */
typedef int (*images_visit)(void *arg, int dirfd, const struct images_found *found);
int images_disk_walk(int dirfd, const char *name, images_visit visit, void *arg) MUST_CHECK;

/* What <folder>/base says; 0: there is none, or it names no image. */
uint64_t images_disk_base(int dirfd, const char *folder);

/* Moves DIR/<from>/<number> into DIR/trash under a name that is free there; absent is success. */
int images_disk_discard(int dirfd, const char *from, uint64_t number) MUST_CHECK;

/* Deletes what is in DIR/trash until it is empty or `*stop`. Returns 0 or -errno of the last failure. */
int images_disk_empty_trash(int dirfd, const bool *stop) MUST_CHECK;

uint64_t images_disk_free_bytes(int dirfd);

/* openat2(2) of a relative path that must stay below `dirfd` and have no symlink in it. */
int open_beneath(int dirfd, const char *path, int flags, mode_t mode) MUST_CHECK;

#endif
