/*
 * What damage of the store means to people: which running snapshots and files a damaged or missing chunk
 * touches; and its repair from source snapshots that still have the content.
 */
#ifndef ENGINE_CHECK_IMAGES_H
#define ENGINE_CHECK_IMAGES_H

#include "blob/fsck.h"
#include "catalog.h"
#include "runnings.h"
#include "sources.h"

struct check_images {
    struct blob_store *store; /* all borrowed */
    struct blob_fsck *fsck;
    struct catalog *catalog;
    struct runnings *runnings;
    struct sources *sources;
    int snapshots_fd;
    const bool *cancelled; /* read atomically */
    /* A line about something, without its end. */
    void (*say)(void *arg, const char *line);
    /* Of images that are looked at, and once more each where something is to be repaired, and to be judged;
     * may be NULL. */
    void (*progress)(void *arg, uint64_t done, uint64_t all);
    void *arg;

    uint64_t repaired; /* out: chunks that were bad or missing, and are stored again */
    uint64_t lost;     /* files that are not whole, of each running snapshot */
};

/* 0, -ECANCELED, -ENOMEM, -EIO of the catalog. What was repaired is on disk; if it cannot be written, -ENOSPC
 * and the like at the end. Blocks. */
int check_images(struct check_images *check, struct err *err) MUST_CHECK;

#endif
