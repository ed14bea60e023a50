#include "rig.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <zstd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/fdio.h"
#include "blob/record.h"

#define LOAD 7

struct peer {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct buf wants; /* 8 bytes each */
    size_t wants_at;
    bool wanted, ended;
    uint64_t credit;
    int result;
    struct err err;
};

static void on_send(void *arg, const struct wire_message *m)
{
    struct peer *p = arg;
    HOLD_LOCK(&p->lock);
    if (m->type == WIRE_WANT) {
        for (uint32_t i = 0; i < m->want.ranges.count; i++) {
            struct wire_range range = wire_range_at(&m->want.ranges, i);
            wire_put_range(&p->wants, &range);
        }
        p->wanted |= m->want.last;
    } else {
        p->credit += m->credit.bytes;
    }
    pthread_cond_broadcast(&p->wake);
}

static void on_ended(void *arg, int result, const struct err *err)
{
    struct peer *p = arg;
    HOLD_LOCK(&p->lock);
    p->result = result;
    p->err = *err;
    p->ended = true;
    pthread_cond_broadcast(&p->wake);
}

static void on_dropped(void *arg)
{
    (void)arg;
}

/* The next wanted chunk, when there is credit; -1: it ended. */
static int64_t next_wanted(struct peer *p, bool overdraw)
{
    HOLD_LOCK(&p->lock);
    for (;;) {
        struct wire_list list = {.at = p->wants.bytes, .count = (uint32_t)(p->wants.len_bytes / 8)};
        if (p->ended)
            return -1;
        if (p->wants_at < list.count && (overdraw || p->credit >= BLOB_CHUNK_MAX_BYTES)) {
            struct wire_range range = wire_range_at(&list, (uint32_t)p->wants_at);
            if (range.count > 0) {
                uint32_t chunk = range.first++;
                range.count--;
                le32_to(p->wants.bytes + 8 * p->wants_at, range.first);
                le32_to(p->wants.bytes + 8 * p->wants_at + 4, range.count);
                return chunk;
            }
            p->wants_at++;
            continue;
        }
        pthread_cond_wait(&p->wake, &p->lock);
    }
}

static void wait_for_end(struct peer *p)
{
    HOLD_LOCK(&p->lock);
    while (!p->ended)
        pthread_cond_wait(&p->wake, &p->lock);
}

static void send_descriptor(struct receive *r, const struct buf *packed, const struct rig_faults *f)
{
    for (size_t at = 0; at < packed->len_bytes;) {
        size_t n = packed->len_bytes - at < 1000 ? packed->len_bytes - at : 1000;
        struct wire_descriptor d = {.load = LOAD,
                                    .piece = {.at = packed->bytes + at, .len_bytes = (uint32_t)n}};
        receive_descriptor(r, &d);
        at += n;
    }
    if (f->long_descriptor)
        receive_descriptor(r, &(struct wire_descriptor){.load = LOAD, .piece = {packed->bytes, 1}});
}

static uint32_t find_chunk(const struct tree_image *t, const struct blob_id *id)
{
    for (uint32_t c = 0; c < blob_image_chunks(t->full); c++) {
        struct blob_chunk chunk;
        blob_image_chunk(t->full, c, &chunk);
        if (blob_id_compare(&chunk.id, id) == 0)
            return c;
    }
    return UINT32_MAX;
}

static void send_seeds(struct receive *r, const struct tree_image *t, uint64_t number,
                       const struct tree_image *seed, const struct rig_faults *f)
{
    OWNED_BUF struct buf list = BUF_EMPTY;
    uint32_t count = 0;
    for (uint32_t c = 0; seed && c < blob_image_chunks(t->full); c++) {
        struct blob_chunk chunk;
        blob_image_chunk(t->full, c, &chunk);
        uint32_t at = find_chunk(seed, &chunk.id);
        struct wire_seed s = {.first = c, .count = 1, .image = number, .image_first = at};
        if (at == UINT32_MAX)
            continue;
        if (f->bad_seeds)
            s.count = UINT32_MAX;
        wire_put_seed(&list, &s);
        count++;
    }
    struct wire_seeds m = {.load = LOAD, .last = false, .seeds = {.at = list.bytes, .count = count}};
    if (count > 0)
        receive_seeds(r, &m);
    receive_seeds(r, &(struct wire_seeds){.load = LOAD, .last = true});
}

/* Odd chunks raw, even ones compressed. */
static void send_chunk(struct rig *rig, struct receive *r, struct peer *p, const struct tree_image *t,
                       uint32_t chunk, const struct rig_faults *f)
{
    const struct buf *content = tree_image_chunk(t, chunk);
    static uint8_t packed[ZSTD_COMPRESSBOUND(BLOB_CHUNK_MAX_BYTES)], raw[BLOB_CHUNK_MAX_BYTES];
    struct wire_chunk m = {.load = LOAD, .chunk = chunk, .codec = BLOB_CODEC_RAW};
    memcpy(raw, content->bytes, content->len_bytes);
    if (f->bad_content && rig->sent_chunks == 0)
        raw[content->len_bytes / 2] ^= 1;
    m.payload = (struct wire_bytes){raw, (uint32_t)content->len_bytes};
    if (chunk % 2 == 0) {
        size_t n = ZSTD_compress(packed, sizeof(packed), raw, content->len_bytes, 1);
        if (!ZSTD_isError(n) && n < content->len_bytes) {
            m.codec = BLOB_CODEC_ZSTD;
            m.payload = (struct wire_bytes){packed, (uint32_t)n};
        }
    }
    if (f->wrong_load) {
        struct wire_chunk other = m;
        other.load = LOAD + 1;
        other.chunk = UINT32_MAX;
        receive_chunk(r, &other);
    }
    if (f->out_of_range)
        m.chunk = blob_image_chunks(t->full);
    receive_chunk(r, &m);
    if (f->unwanted)
        receive_chunk(r, &m);
    receive_taken(r);
    rig->sent_chunks++;
    rig->sent_bytes += m.payload.len_bytes;
    HOLD_LOCK(&p->lock);
    if (!f->overdraw)
        p->credit -= m.payload.len_bytes;
}

static void pack_descriptor(const struct tree_image *t, struct buf *out, const struct rig_faults *f)
{
    size_t room = ZSTD_compressBound(t->stripped.len_bytes);
    size_t n = ZSTD_compress(buf_room(out, room), room, t->stripped.bytes, t->stripped.len_bytes, 3);
    assert_false(ZSTD_isError(n));
    buf_grew(out, n);
    if (f->bad_descriptor)
        out->bytes[n / 2] ^= 0x55;
}

int rig_load(struct rig *rig, uint64_t number, const struct tree_image *t, uint64_t seed_number,
             const struct tree_image *seed, const struct rig_faults *faults)
{
    static const struct rig_faults none = {0};
    const struct rig_faults *f = faults ? faults : &none;
    struct peer p = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    OWNED_BUF struct buf packed = BUF_EMPTY;
    pack_descriptor(t, &packed, f);
    const struct receive_events events = {
        .send = on_send, .ended = on_ended, .dropped = on_dropped, .arg = &p};
    const struct wire_prepare prepare = {.load = LOAD,
                                         .image = number,
                                         .descriptor_raw_bytes = t->stripped.len_bytes,
                                         .descriptor_bytes = packed.len_bytes,
                                         .snapshot = wire_text("web@3")};
    struct receive *r = NULL;
    struct err err = {0};
    assert_int_equal(receive_new(rig->images, rig->path, &prepare, &events, NULL, &r, &err), 0);
    rig->sent_chunks = 0;
    rig->sent_bytes = 0;
    send_descriptor(r, &packed, f);
    send_seeds(r, t, seed_number, seed, f);
    for (int64_t chunk; (chunk = next_wanted(&p, f->overdraw)) >= 0;) {
        if (f->stop_after && rig->sent_chunks == f->stop_after) {
            receive_cancel(r);
            break;
        }
        send_chunk(rig, r, &p, t, (uint32_t)chunk, f);
    }
    wait_for_end(&p);
    receive_progress(r, &rig->done_bytes, &rig->total_bytes);
    receive_free(r);
    buf_free(&p.wants);
    rig->result = p.result;
    rig->err = p.err;
    return p.result;
}

void rig_open(struct rig *rig, const char *parent)
{
    const char *tmp = parent ? parent : getenv("TMPDIR");
    struct err err = {0};
    *rig = (struct rig){.keep = 2};
    snprintf(rig->path, sizeof(rig->path), "%s/bladed-test-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(rig->path));
    rig->dirfd = open(rig->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(rig->dirfd >= 0);
    assert_int_equal(images_open(rig->dirfd, rig->keep, &rig->images, &err), 0);
}

void rig_reopen(struct rig *rig)
{
    struct err err = {0};
    images_close(rig->images);
    assert_int_equal(images_open(rig->dirfd, rig->keep, &rig->images, &err), 0);
}

void rig_close(struct rig *rig)
{
    images_close(rig->images);
    close(rig->dirfd);
    assert_int_equal(tree_remove(AT_FDCWD, rig->path), 0);
}

static int mount_stack(const struct rig *rig, char dirs[IMAGES_STACK_MAX][64], int count)
{
    char lowers[1024] = "";
    for (int i = 0; i < count; i++)
        snprintf(lowers + strlen(lowers), sizeof(lowers) - strlen(lowers), "%s%s/%s", i ? ":" : "", rig->path,
                 dirs[i]);
    int fs = fsopen("overlay", FSOPEN_CLOEXEC);
    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", lowers, 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        fail_msg("an overlay of %s: %s", lowers, strerror(errno));
    int fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
    close(fs);
    return fd;
}

unsigned rig_depth(const struct rig *rig, uint64_t number)
{
    char dirs[IMAGES_STACK_MAX][64];
    int count = images_lowerdirs(rig->images, number, dirs);
    return count < 0 ? 0 : (unsigned)count;
}

int rig_tree(const struct rig *rig, uint64_t number)
{
    char dirs[IMAGES_STACK_MAX][64];
    int count = images_lowerdirs(rig->images, number, dirs);
    int fd = count > 1 ? mount_stack(rig, dirs, count)
                       : openat(rig->dirfd, dirs[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(count > 0);
    assert_true(fd >= 0);
    return fd;
}
