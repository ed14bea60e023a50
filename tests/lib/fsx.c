/*
 * Random operations on one file, checked against a model of it in memory: reads, writes, appends, mappings,
 * truncates, holes, copies, two descriptors at once. It says the seed, what was done and where it differs,
 * and ends with 1. fsx [-s SEED] [-n OPERATIONS] [-l MAX_BYTES] [-d] [-c OPERATION] FILE -d: O_DIRECT where
 * the operation is aligned. -c: changes a byte behind its own back at that operation, which must be found.
 * Ends with 2 when an operation fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ALIGN_BYTES = 4096, OP_MAX_BYTES = 65536, LOG_LINES = 512, LOG_LINE_BYTES = 96, CHECK_EVERY = 64 };

struct run {
    const char *path;
    uint64_t seed, random;
    size_t max_bytes, size_bytes;
    int fd, other_fd, append_fd, direct_fd; /* of one file; direct_fd is -1 without -d */
    uint8_t *model, *buffer;
    uint8_t *mapping; /* of max_bytes, over many operations; or NULL */
    uint64_t step;
    uint64_t refused; /* operations that the file system does not know */
    char log[LOG_LINES][LOG_LINE_BYTES];
};

struct range {
    size_t at, len_bytes;
};

static _Noreturn void tell(const struct run *run, int status, const char *what)
{
    uint64_t first = run->step > LOG_LINES ? run->step - LOG_LINES : 0;
    for (uint64_t i = first; i < run->step; i++)
        printf("%6" PRIu64 " %s\n", i + 1, run->log[i % LOG_LINES]);
    printf("fsx: %s: %s; seed %" PRIu64 ", operation %" PRIu64 ", size %zu\n", run->path, what, run->seed,
           run->step, run->size_bytes);
    fflush(stdout);
    _exit(status);
}

static _Noreturn void failed(const struct run *run, const char *call)
{
    char text[128];
    snprintf(text, sizeof(text), "%s failed: %s", call, strerror(errno));
    tell(run, 2, text);
}

__attribute__((format(printf, 2, 3))) static void note(struct run *run, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(run->log[run->step++ % LOG_LINES], LOG_LINE_BYTES, format, list);
    va_end(list);
}

/* splitmix64 */
static uint64_t pick(struct run *run, uint64_t below)
{
    uint64_t z = run->random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    z ^= z >> 31;
    return below ? z % below : z;
}

/* Somewhere below `end`; aligned now and then, because there the bugs are. */
static struct range pick_range(struct run *run, size_t end)
{
    struct range range = {.at = pick(run, end), .len_bytes = 1 + pick(run, OP_MAX_BYTES)};
    if (pick(run, 3) == 0) {
        range.at -= range.at % ALIGN_BYTES;
        range.len_bytes += ALIGN_BYTES - range.len_bytes % ALIGN_BYTES;
    }
    if (range.len_bytes > end - range.at)
        range.len_bytes = end - range.at;
    return range;
}

static bool is_aligned(struct range range)
{
    return range.at % ALIGN_BYTES == 0 && range.len_bytes % ALIGN_BYTES == 0;
}

static int fd_for(struct run *run, struct range range)
{
    if (run->direct_fd >= 0 && is_aligned(range))
        return run->direct_fd;
    return pick(run, 4) == 0 ? run->other_fd : run->fd;
}

static void compare(const struct run *run, const uint8_t *bytes, struct range range, const char *how)
{
    if (memcmp(bytes, run->model + range.at, range.len_bytes) == 0)
        return;
    size_t i = 0, wrong = 0;
    while (bytes[i] == run->model[range.at + i])
        i++;
    for (size_t k = i; k < range.len_bytes; k++)
        wrong += bytes[k] != run->model[range.at + k];
    char text[160];
    snprintf(text, sizeof(text), "%s differs at byte %zu (%#zx): 0x%02x, not 0x%02x; %zu bytes are wrong",
             how, range.at + i, range.at + i, bytes[i], run->model[range.at + i], wrong);
    tell(run, 1, text);
}

static void fill(struct run *run, struct range range)
{
    for (size_t i = 0; i < range.len_bytes; i += sizeof(uint64_t)) {
        uint64_t word = pick(run, 0);
        size_t left = range.len_bytes - i;
        memcpy(run->buffer + i, &word, left < sizeof(word) ? left : sizeof(word));
    }
}

static void grow(struct run *run, size_t end)
{
    if (end > run->size_bytes)
        run->size_bytes = end;
}

static void read_range(struct run *run, int fd, struct range range, const char *how)
{
    ssize_t n = pread(fd, run->buffer, range.len_bytes, (off_t)range.at);
    if (n < 0)
        failed(run, "pread");
    size_t there = range.at < run->size_bytes ? run->size_bytes - range.at : 0;
    if ((size_t)n != (there < range.len_bytes ? there : range.len_bytes))
        tell(run, 1, "pread: not that many bytes");
    compare(run, run->buffer, (struct range){range.at, (size_t)n}, how);
}

static void do_read(struct run *run)
{
    struct range range = pick_range(run, run->max_bytes);
    int fd = fd_for(run, range);
    note(run, "read %zu+%zu%s", range.at, range.len_bytes, fd == run->direct_fd ? " direct" : "");
    read_range(run, fd, range, "read");
}

static void do_write(struct run *run)
{
    struct range range = pick_range(run, run->max_bytes);
    int fd = fd_for(run, range);
    note(run, "write %zu+%zu%s", range.at, range.len_bytes, fd == run->direct_fd ? " direct" : "");
    fill(run, range);
    if (pwrite(fd, run->buffer, range.len_bytes, (off_t)range.at) != (ssize_t)range.len_bytes)
        failed(run, "pwrite");
    memcpy(run->model + range.at, run->buffer, range.len_bytes);
    grow(run, range.at + range.len_bytes);
}

static void do_append(struct run *run)
{
    struct range range = {.at = run->size_bytes, .len_bytes = 1 + pick(run, ALIGN_BYTES * 2)};
    if (range.at + range.len_bytes > run->max_bytes)
        return;
    note(run, "append %zu+%zu", range.at, range.len_bytes);
    fill(run, range);
    if (write(run->append_fd, run->buffer, range.len_bytes) != (ssize_t)range.len_bytes)
        failed(run, "write");
    memcpy(run->model + range.at, run->buffer, range.len_bytes);
    grow(run, range.at + range.len_bytes);
}

/* The long mapping, or one for this time only, which *own says. */
static uint8_t *map(struct run *run, bool *own)
{
    *own = !run->mapping;
    if (run->mapping)
        return run->mapping;
    uint8_t *mapping = mmap(NULL, run->max_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, run->fd, 0);
    if (mapping == MAP_FAILED)
        failed(run, "mmap");
    return mapping;
}

static void do_map_read(struct run *run)
{
    bool own;
    if (!run->size_bytes)
        return;
    struct range range = pick_range(run, run->size_bytes);
    note(run, "mapped read %zu+%zu", range.at, range.len_bytes);
    uint8_t *mapping = map(run, &own);
    compare(run, mapping + range.at, range, "mapped read");
    if (own)
        munmap(mapping, run->max_bytes);
}

static void do_map_write(struct run *run)
{
    bool own;
    if (!run->size_bytes)
        return;
    struct range range = pick_range(run, run->size_bytes);
    note(run, "mapped write %zu+%zu", range.at, range.len_bytes);
    uint8_t *mapping = map(run, &own);
    fill(run, range);
    memcpy(mapping + range.at, run->buffer, range.len_bytes);
    memcpy(run->model + range.at, run->buffer, range.len_bytes);
    if (pick(run, 4) == 0 && msync(mapping, run->size_bytes, MS_SYNC) < 0)
        failed(run, "msync");
    if (own)
        munmap(mapping, run->max_bytes);
}

static void do_long_mapping(struct run *run)
{
    bool own;
    note(run, "%s mapping", run->mapping ? "end of the" : "a long");
    if (run->mapping) {
        munmap(run->mapping, run->max_bytes);
        run->mapping = NULL;
    } else {
        run->mapping = map(run, &own);
    }
}

/* What lies above a new, smaller size must be zero when the file grows again. */
static void do_truncate(struct run *run)
{
    size_t size_bytes = pick(run, run->max_bytes + 1);
    bool by_path = pick(run, 2) == 0;
    note(run, "%s %zu", by_path ? "truncate" : "ftruncate", size_bytes);
    if ((by_path ? truncate(run->path, (off_t)size_bytes) : ftruncate(run->fd, (off_t)size_bytes)) < 0)
        failed(run, "truncate");
    if (size_bytes < run->size_bytes)
        memset(run->model + size_bytes, 0, run->size_bytes - size_bytes);
    run->size_bytes = size_bytes;
}

static void allocate(struct run *run, const char *name, int mode, bool zeroes)
{
    struct range range = pick_range(run, run->max_bytes);
    note(run, "%s %zu+%zu", name, range.at, range.len_bytes);
    if (fallocate(run->fd, mode, (off_t)range.at, (off_t)range.len_bytes) < 0) {
        if (errno != EOPNOTSUPP)
            failed(run, name);
        run->refused++;
        return;
    }
    if (zeroes)
        memset(run->model + range.at, 0, range.len_bytes);
    if (!(mode & FALLOC_FL_KEEP_SIZE))
        grow(run, range.at + range.len_bytes);
}

static void do_punch(struct run *run)
{
    allocate(run, "punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, true);
}

static void do_zero(struct run *run)
{
    if (pick(run, 2) == 0)
        allocate(run, "zero", FALLOC_FL_ZERO_RANGE, true);
    else
        allocate(run, "zero, keep size", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, true);
}

static void do_allocate(struct run *run)
{
    if (pick(run, 2) == 0)
        allocate(run, "allocate", 0, false);
    else
        allocate(run, "allocate, keep size", FALLOC_FL_KEEP_SIZE, false);
}

static void do_copy(struct run *run)
{
    if (!run->size_bytes)
        return;
    struct range range = pick_range(run, run->size_bytes);
    size_t to = pick(run, run->max_bytes - range.len_bytes + 1);
    if (to < range.at + range.len_bytes && range.at < to + range.len_bytes)
        return;
    note(run, "copy %zu+%zu to %zu", range.at, range.len_bytes, to);
    for (size_t done = 0; done < range.len_bytes;) {
        off_t in = (off_t)(range.at + done), out = (off_t)(to + done);
        ssize_t n = copy_file_range(run->other_fd, &in, run->fd, &out, range.len_bytes - done, 0);
        if (n <= 0)
            failed(run, "copy_file_range");
        memcpy(run->model + to + done, run->model + range.at + done, (size_t)n);
        done += (size_t)n;
        grow(run, to + done);
    }
}

/* A hole may be told as data, never the other way round. */
static void do_seek(struct run *run)
{
    if (!run->size_bytes)
        return;
    size_t from = pick(run, run->size_bytes);
    note(run, "seek from %zu", from);
    off_t data = lseek(run->fd, (off_t)from, SEEK_DATA);
    if (data < 0 && errno != ENXIO)
        failed(run, "lseek");
    size_t end = data < 0 ? run->size_bytes : (size_t)data;
    if (end < from || end > run->size_bytes)
        tell(run, 1, "SEEK_DATA: out of the file");
    for (size_t i = from; i < end; i++)
        if (run->model[i])
            tell(run, 1, "SEEK_DATA calls data a hole");
    off_t hole = lseek(run->fd, (off_t)from, SEEK_HOLE);
    if (hole < (off_t)from || (size_t)hole > run->size_bytes)
        tell(run, 1, "SEEK_HOLE: out of the file");
}

static void close_all(struct run *run)
{
    if (close(run->fd) < 0 || close(run->other_fd) < 0 || close(run->append_fd) < 0 ||
        (run->direct_fd >= 0 && close(run->direct_fd) < 0))
        failed(run, "close");
}

static void open_all(struct run *run, bool direct)
{
    run->fd = open(run->path, O_RDWR | O_CLOEXEC);
    run->other_fd = open(run->path, O_RDWR | O_CLOEXEC);
    run->append_fd = open(run->path, O_WRONLY | O_APPEND | O_CLOEXEC);
    run->direct_fd = direct ? open(run->path, O_RDWR | O_DIRECT | O_CLOEXEC) : -1;
    if (run->fd < 0 || run->other_fd < 0 || run->append_fd < 0 || (direct && run->direct_fd < 0))
        failed(run, "open");
}

static void do_reopen(struct run *run)
{
    bool direct = run->direct_fd >= 0;
    note(run, "close and open");
    close_all(run);
    open_all(run, direct);
}

/* What is in the cache goes to the disk and is read again. */
static void do_drop(struct run *run)
{
    note(run, "fsync and drop");
    if (fsync(run->fd) < 0)
        failed(run, "fsync");
    (void)posix_fadvise(run->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void check_size(const struct run *run)
{
    struct stat st, by_path;
    if (fstat(run->fd, &st) < 0 || stat(run->path, &by_path) < 0)
        failed(run, "stat");
    if ((size_t)st.st_size != run->size_bytes || st.st_size != by_path.st_size)
        tell(run, 1, "stat: another size");
}

static void check_all(struct run *run)
{
    for (size_t at = 0; at < run->size_bytes; at += OP_MAX_BYTES)
        read_range(run, run->fd, (struct range){at, OP_MAX_BYTES}, "the whole file");
}

static void corrupt(struct run *run)
{
    uint8_t byte;
    if (!run->size_bytes && ftruncate(run->fd, (off_t)(run->size_bytes = 1)) < 0)
        failed(run, "ftruncate");
    size_t at = pick(run, run->size_bytes);
    byte = run->model[at] ^ 1;
    if (pwrite(run->other_fd, &byte, 1, (off_t)at) != 1)
        failed(run, "pwrite");
    check_all(run);
}

static void step(struct run *run)
{
    static void (*const ops[])(struct run *) = {
        do_read,      do_read,      do_read,     do_read,         do_write,    do_write,
        do_write,     do_write,     do_append,   do_append,       do_map_read, do_map_read,
        do_map_write, do_map_write, do_truncate, do_punch,        do_zero,     do_allocate,
        do_copy,      do_seek,      do_reopen,   do_long_mapping, do_drop,
    };
    ops[pick(run, sizeof(ops) / sizeof(ops[0]))](run);
    check_size(run);
}

static void play(struct run *run, uint64_t operations, uint64_t corrupt_at, bool direct)
{
    int fd = open(run->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || close(fd) < 0)
        failed(run, "open");
    open_all(run, direct);
    for (uint64_t i = 1; i <= operations; i++) {
        step(run);
        if (i == corrupt_at)
            corrupt(run);
        if (i % CHECK_EVERY == 0)
            check_all(run);
    }
    if (run->mapping)
        munmap(run->mapping, run->max_bytes);
    do_reopen(run);
    check_all(run);
    do_drop(run);
    check_all(run);
    close_all(run);
}

int main(int argc, char **argv)
{
    static struct run run;
    uint64_t operations = 10000, corrupt_at = 0;
    bool direct = false;
    int option;
    run.seed = (uint64_t)time(NULL) << 16 ^ (uint64_t)getpid();
    run.max_bytes = 1 << 20;
    while ((option = getopt(argc, argv, "s:n:l:c:d")) != -1) {
        switch (option) {
        case 's':
            run.seed = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            operations = strtoull(optarg, NULL, 10);
            break;
        case 'l':
            run.max_bytes = strtoull(optarg, NULL, 10);
            break;
        case 'c':
            corrupt_at = strtoull(optarg, NULL, 10);
            break;
        case 'd':
            direct = true;
            break;
        default:
            return 2;
        }
    }
    if (optind + 1 != argc || run.max_bytes <= OP_MAX_BYTES) {
        fputs("usage: fsx [-s SEED] [-n OPERATIONS] [-l MAX_BYTES] [-d] [-c OPERATION] FILE\n", stderr);
        return 2;
    }
    run.path = argv[optind];
    run.random = run.seed;
    run.model = calloc(1, run.max_bytes + OP_MAX_BYTES);
    run.buffer = aligned_alloc(ALIGN_BYTES, OP_MAX_BYTES + ALIGN_BYTES);
    if (!run.model || !run.buffer)
        return 2;
    play(&run, operations, corrupt_at, direct);
    printf("fsx: %s: good; seed %" PRIu64 ", %" PRIu64 " operations, %" PRIu64 " not known here\n", run.path,
           run.seed, run.step, run.refused);
    free(run.buffer);
    free(run.model);
    return 0;
}
