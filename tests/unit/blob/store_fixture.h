/* A store in a temporary directory, and ways to damage its packs. */
#ifndef TEST_BLOB_STORE_FIXTURE_H
#define TEST_BLOB_STORE_FIXTURE_H

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/fdio.h"
#include "base/log.h"
#include "blob/store.h"
#include "pack.h"
#include "random.h"

struct fixture {
    char path[256];
    int dirfd;
    struct blob_store *store; /* NULL while it is closed */
};

static inline void fixture_open(struct fixture *f)
{
    struct err err = {0};
    if (blob_store_open(f->dirfd, 1, &f->store, &err) != 0)
        fail_msg("open: %s", err.message);
}

static inline void fixture_close(struct fixture *f)
{
    blob_store_close(f->store);
    f->store = NULL;
}

static inline void fixture_reopen(struct fixture *f)
{
    fixture_close(f);
    fixture_open(f);
}

static inline int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f)
        return -1;
    const char *tmp = getenv("TMPDIR");
    snprintf(f->path, sizeof(f->path), "%s/bladefs-store-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(f->path))
        return -1;
    f->dirfd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    log_set_level(LOG_LEVEL_ERROR);
    fixture_open(f);
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    close(f->dirfd);
    int r = tree_remove(AT_FDCWD, f->path);
    free(f);
    return r;
}

/* Random content of its own for each seed; it does not compress. */
static inline uint8_t *content_of(uint64_t seed, uint32_t len_bytes)
{
    uint8_t *bytes = malloc(len_bytes);
    assert_non_null(bytes);
    random_fill(seed, bytes, len_bytes);
    return bytes;
}

static inline int put_seed(struct blob_store *store, uint64_t seed, uint32_t len_bytes, struct blob_id *id)
{
    OWNED uint8_t *bytes = content_of(seed, len_bytes);
    return blob_store_put(store, NULL, bytes, len_bytes, id, NULL);
}

static inline int get_seed(struct blob_store *store, uint64_t seed, uint32_t len_bytes,
                           const struct blob_id *id)
{
    OWNED uint8_t *expected = content_of(seed, len_bytes);
    OWNED uint8_t *got = malloc(len_bytes);
    assert_non_null(got);
    int r = blob_store_get(store, id, got, len_bytes, NULL);
    if (r == 0)
        assert_memory_equal(got, expected, len_bytes);
    return r;
}

static inline int open_pack_file(const struct fixture *f, unsigned number)
{
    char name[64];
    snprintf(name, sizeof(name), "packs/%016x.pack", number);
    int fd = openat(f->dirfd, name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static inline uint64_t pack_file_bytes(const struct fixture *f, unsigned number)
{
    OWNED_FD fd = open_pack_file(f, number);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_size;
}

static inline void flip(const struct fixture *f, unsigned number, uint64_t at)
{
    OWNED_FD fd = open_pack_file(f, number);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
}

static inline struct blob_store_stats stats_of(const struct fixture *f)
{
    struct blob_store_stats stats;
    blob_store_stats(f->store, &stats);
    return stats;
}

#endif
