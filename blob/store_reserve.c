/*
 * STORE/packs/reserve: room on the disk that nothing else gets, so that on a full one there is enough to make
 * room: a pack is emptied by copying what lives in it. It is given up in steps, for whoever else writes takes
 * what he finds.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "store_parts.h"

#define RESERVE_BYTES (32u << 20) /* a pack, and what a sync and a catalog need beside it */
#define STEP_BYTES (4u << 20)

/* As much again must stay for others. */
static bool there_is_room(int dirfd, uint64_t needed_bytes)
{
    struct statvfs fs;
    return fstatvfs(dirfd, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize >= needed_bytes + RESERVE_BYTES;
}

static void remove_it(struct blob_store *store)
{
    if (store->reserve_fd >= 0)
        close(store->reserve_fd);
    store->reserve_fd = -1;
    store->reserve_bytes = 0;
    if (unlinkat(store->packs_fd, "reserve", 0) < 0 && errno != ENOENT)
        log_warn("packs/reserve in the store cannot be removed (errno %d)", errno);
}

void store_reserve_take(struct blob_store *store)
{
    HOLD_LOCK(&store->reserve_lock);
    if (store->reserve_fd < 0)
        store->reserve_fd =
            openat(store->packs_fd, "reserve", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat st;
    if (store->reserve_fd < 0 || fstat(store->reserve_fd, &st) < 0)
        return;
    uint64_t has_bytes = (uint64_t)st.st_blocks * 512; /* a copy of the store may have made it sparse */
    if (has_bytes >= RESERVE_BYTES && st.st_size >= RESERVE_BYTES) {
        store->reserve_bytes = RESERVE_BYTES;
        return;
    }
    uint64_t missing_bytes = has_bytes < RESERVE_BYTES ? RESERVE_BYTES - has_bytes : 0;
    if (there_is_room(store->packs_fd, missing_bytes) &&
        fallocate(store->reserve_fd, 0, 0, RESERVE_BYTES) == 0)
        store->reserve_bytes = RESERVE_BYTES;
    else if (has_bytes < STEP_BYTES || st.st_size < STEP_BYTES)
        remove_it(store);
    else
        store->reserve_bytes = (uint64_t)st.st_size;
}

bool blob_store_give_room(struct blob_store *store)
{
    HOLD_LOCK(&store->reserve_lock);
    if (store->reserve_fd < 0)
        return false;
    if (store->reserve_bytes <= STEP_BYTES) {
        remove_it(store);
        return true;
    }
    if (ftruncate(store->reserve_fd, (off_t)(store->reserve_bytes - STEP_BYTES)) < 0) {
        remove_it(store);
        return true;
    }
    store->reserve_bytes -= STEP_BYTES;
    return true;
}

void store_reserve_close(struct blob_store *store)
{
    if (store->reserve_fd >= 0)
        close(store->reserve_fd);
    store->reserve_fd = -1;
}
