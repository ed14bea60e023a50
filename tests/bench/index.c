/*
 * The index of chunks by itself, and a store's start from the footers of its packs. Prints a line a figure.
 *
 *   index [CHUNKS]   10,000,000 by default; the packs (footers, holes for records) go below TMPDIR or
 * /dev/shm index --short    50,000: only to see that it works
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fdio.h"
#include "blob/store.h"
#include "index.h"
#include "pack.h"
#include "pack_dir.h"

#define STORED_BYTES 8000u /* of a chunk, so that a pack holds as many as one of real content does */
#define RAW_BYTES 16000u
#define AT_ONCE 1000u /* puts that are timed together: a look at the clock costs as much as one */
#define CHUNKS_A_PACK                                                                                        \
    ((PACK_RECORDS_MAX_BYTES - PACK_HEADER_BYTES) / (BLOB_RECORD_HEADER_BYTES + STORED_BYTES))

static void fail(const char *what)
{
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
}

static void need(bool holds, const char *what)
{
    if (!holds)
        fail(what);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t resident_bytes(void)
{
    unsigned long size = 0;
    unsigned long resident = 0;
    OWNED_FILE f = fopen("/proc/self/statm", "r");
    need(f && fscanf(f, "%lu %lu", &size, &resident) == 2, "/proc/self/statm");
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* splitmix64's finish: a permutation of the 64-bit numbers. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static struct blob_id id_of(uint64_t k)
{
    struct blob_id id;
    le64_to(id.bytes, mix(k));
    le64_to(id.bytes + 8, mix(~k));
    return id;
}

static struct index_place place_of(uint64_t k)
{
    return (struct index_place){
        .pack = 1 + (uint32_t)(k / CHUNKS_A_PACK),
        .offset_bytes =
            PACK_HEADER_BYTES + (uint32_t)(k % CHUNKS_A_PACK) * (BLOB_RECORD_HEADER_BYTES + STORED_BYTES),
        .stored_bytes = STORED_BYTES,
        .raw_bytes = RAW_BYTES,
    };
}

static uint64_t count_of(const struct index *index)
{
    struct index_totals totals;
    index_totals(index, &totals);
    return totals.count;
}

static void put(struct index *index, uint64_t k)
{
    struct blob_id id = id_of(k);
    struct index_place place = place_of(k);
    need(index_reserve(index, &id) == 0, "index_reserve");
    index_put(index, &id, &place);
}

/* Look-ups of ids in random order: of `count` known ones from `first` on, or of ones never put. */
static double look_up(const struct index *index, uint64_t first, uint64_t count, bool known)
{
    uint64_t looks = count < 5000000 ? count : 5000000;
    uint64_t found = 0;
    double start = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (uint64_t i = 0; i < looks; i++) {
        uint64_t k = first + mix(i) % count;
        struct blob_id id = id_of(known ? k : k + (UINT64_C(1) << 40));
        struct index_place place;
        found += index_find(index, &id, &place) && place.pack == 1 + k / CHUNKS_A_PACK;
    }
    double took = seconds(CLOCK_THREAD_CPUTIME_ID) - start;
    need(found == (known ? looks : 0), "a look-up");
    return (double)looks / took / 1e6;
}

static void in_memory(uint64_t count)
{
    struct index index = {0};
    uint64_t before = resident_bytes();
    double most = 0; /* bytes an entry, whenever it was looked at */
    double longest = 0;
    double took = 0;
    for (uint64_t k = 0; k < count;) {
        double start = seconds(CLOCK_THREAD_CPUTIME_ID);
        for (unsigned i = 0; i < AT_ONCE && k < count; i++)
            put(&index, k++);
        double these = seconds(CLOCK_THREAD_CPUTIME_ID) - start;
        took += these;
        longest = these > longest ? these : longest;
        if (k >= count / 4 && k % (64 * AT_ONCE) == 0) {
            double each = (double)(resident_bytes() - before) / (double)k;
            most = each > most ? each : most;
        }
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    need(count_of(&index) == count, "the count");
    printf("memory: %.1f bytes a chunk at %" PRIu64
           " chunks, at most %.1f from a quarter of that on; peak %.1f\n",
           (double)(resident_bytes() - before) / (double)count, count, most,
           ((double)usage.ru_maxrss * 1024 - (double)before) / (double)count);
    printf("put: %.2f M/s, the longest %u took %.2f ms\n", (double)count / took / 1e6, AT_ONCE,
           longest * 1e3);
    printf("look-up: %.2f M/s of known ids, %.2f M/s of unknown ones\n", look_up(&index, 0, count, true),
           look_up(&index, 0, count, false));

    double start = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (uint64_t k = 0; k < count / 2; k++) {
        struct blob_id id = id_of(k);
        struct index_place place = place_of(k);
        need(index_remove(&index, &id, place.pack, place.offset_bytes), "a removal");
    }
    took = seconds(CLOCK_THREAD_CPUTIME_ID) - start;
    need(count_of(&index) == count - count / 2, "the count after removals");
    printf("remove: %.2f M/s; look-up after it: %.2f M/s\n", (double)(count / 2) / took / 1e6,
           look_up(&index, count / 2, count - count / 2, true));
    index_free(&index);
}

/* Packs as a capture leaves them, sealed, but with holes for records. Returns the bytes written. */
static uint64_t make_packs(int dirfd, uint64_t count)
{
    struct pack_io io;
    struct err err = {0};
    OWNED_FD packs_fd = pack_dir_open(dirfd, &err);
    need(packs_fd >= 0 && pack_dir_new(packs_fd, &io, &err) == 0, err.message);
    uint64_t written = 0;
    uint32_t number = 0;
    for (uint64_t first = 0; first < count; first += CHUNKS_A_PACK) {
        OWNED_BUF struct buf footer = BUF_EMPTY;
        uint64_t end = first + CHUNKS_A_PACK < count ? first + CHUNKS_A_PACK : count;
        for (uint64_t k = first; k < end; k++) {
            struct index_place place = place_of(k);
            pack_footer_add(&footer, &(struct pack_entry){.id = id_of(k),
                                                          .offset_bytes = place.offset_bytes,
                                                          .stored_bytes = place.stored_bytes,
                                                          .raw_bytes = place.raw_bytes});
        }
        uint32_t records_end =
            PACK_HEADER_BYTES + (uint32_t)(end - first) * (BLOB_RECORD_HEADER_BYTES + STORED_BYTES);
        pack_footer_close(&footer, ++number, records_end);
        uint8_t header[PACK_HEADER_BYTES];
        pack_header_encode(number, header);
        struct pack_grower *file = NULL;
        need(footer.error == 0 && io.ops->grow(io.packs, number, true, &file) == 0 &&
                 io.ops->write(file, header, sizeof(header), 0) == 0 &&
                 io.ops->write(file, footer.bytes, footer.len_bytes, records_end) == 0,
             "a pack's writing");
        io.ops->close_grower(file);
        written += footer.len_bytes;
    }
    pack_io_close(&io);
    return written;
}

static void at_start(uint64_t count)
{
    const char *tmp = getenv("TMPDIR");
    char path[256];
    snprintf(path, sizeof(path), "%s/bladefs-bench-index.XXXXXX", tmp ? tmp : "/dev/shm");
    need(mkdtemp(path) != NULL, "a temporary directory");
    OWNED_FD dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    need(dirfd >= 0, path);
    struct blob_secret secret = {{1}};
    need(file_replace(dirfd, "secret", 0600, secret.bytes, sizeof(secret.bytes)) == 0, "the secret");
    uint64_t written = make_packs(dirfd, count);

    uint64_t before = resident_bytes();
    double wall = seconds(CLOCK_MONOTONIC);
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    struct blob_store *store = NULL;
    struct err err = {0};
    if (blob_store_open(dirfd, 1, &store, &err) < 0)
        fail(err.message);
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    uint64_t index_bytes = resident_bytes() - before;
    struct blob_store_stats stats;
    blob_store_stats(store, &stats);
    need(stats.chunks == count && stats.bad_chunks == 0, "the store's chunks");
    for (uint64_t k = 0; k < count; k += 1 + count / 1000) {
        struct blob_id id = id_of(k);
        struct index_place is = place_of(k);
        struct blob_place place;
        need(blob_store_locate(store, &id, &place) == 0 && place.pack == is.pack &&
                 place.offset_bytes == is.offset_bytes,
             "a chunk's place");
    }
    printf("start: %.2f s (%.2f s of processor) for %" PRIu64 " packs; %.1f bytes a chunk resident\n", wall,
           cpu, stats.packs, (double)index_bytes / (double)count);
    printf("written for the index: %.1f bytes a chunk, %.2f x its size in memory\n",
           (double)written / (double)count, (double)written / (double)index_bytes);
    blob_store_close(store);
    need(tree_remove(AT_FDCWD, path) == 0, "the temporary directory's removal");
}

int main(int argc, char **argv)
{
    uint64_t count = 10000000;
    if (argc > 1)
        count = strcmp(argv[1], "--short") == 0 ? 50000 : strtoull(argv[1], NULL, 10);
    need(count >= 1000, "a number of chunks from 1000 on");
    in_memory(count);
    at_start(count);
    return 0;
}
