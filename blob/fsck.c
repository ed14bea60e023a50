#include "blob/fsck.h"

#include <string.h>

#include "base/fdio.h"
#include "fsck_parts.h"

static int cancelled(const struct blob_fsck *f, struct err *err)
{
    const bool *flag = f->options->cancelled;
    if (flag && __atomic_load_n(flag, __ATOMIC_RELAXED))
        return err_set(err, ECANCELED, "the check was cancelled");
    return 0;
}

void fsck_tell(struct blob_fsck *f, const struct blob_fsck_event *event)
{
    if (event->fault != BLOB_FSCK_CHUNK && event->fault != BLOB_FSCK_RECOVERED)
        f->result.other_faults++;
    f->options->event(f->options->arg, event);
}

int fsck_bad_chunk(struct blob_fsck *f, const struct blob_id *id, uint32_t pack, uint32_t offset_bytes,
                   struct err *err)
{
    if (id_set_add(&f->bad, id) < 0)
        return err_sys(err, ENOMEM, "the damaged chunks cannot be noted");
    f->result.bad_chunks++;
    fsck_tell(f, &(struct blob_fsck_event){
                     .fault = BLOB_FSCK_CHUNK, .pack = pack, .offset_bytes = offset_bytes, .id = *id});
    return 0;
}

/* ---- what is good ---- */

static int compare_packs(const void *a, const void *b)
{
    const struct fsck_pack *x = a;
    const struct fsck_pack *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static int compare_offsets(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

bool fsck_is_good(const struct blob_fsck *f, uint32_t pack, uint32_t offset_bytes)
{
    const struct fsck_pack key = {.number = pack};
    const struct fsck_pack *found =
        f->packs ? bsearch(&key, f->packs, f->pack_count, sizeof(*f->packs), compare_packs) : NULL;
    return found && found->offsets &&
           bsearch(&offset_bytes, found->offsets, found->count, sizeof(*found->offsets), compare_offsets);
}

static bool find(const struct blob_fsck *f, const struct blob_id *id, struct index_place *place)
{
    HOLD_LOCK(&f->store->index_lock);
    return index_find(&f->store->index, id, place);
}

bool blob_fsck_has(struct blob_fsck *f, const struct blob_id *id)
{
    struct index_place place;
    if (!find(f, id, &place))
        return false;
    if (place.pack > f->last_number || fsck_is_good(f, place.pack, place.offset_bytes))
        return true;
    blob_store_set_aside(f->store, id); /* if it cannot be read */
    return find(f, id, &place);
}

/* ---- the packs ---- */

static int list_packs(struct blob_fsck *f, struct err *err)
{
    OWNED uint32_t *numbers = NULL;
    size_t count = 0;
    int r = f->store->io.ops->list(f->store->io.packs, &numbers, &count, err);
    if (r < 0)
        return r;
    f->packs = calloc(count + 1, sizeof(*f->packs));
    if (!f->packs)
        return err_sys(err, ENOMEM, "the store's packs cannot be listed");
    for (size_t i = 0; i < count; i++) {
        int64_t size = fsck_pack_size(f, numbers[i]);
        f->packs[i] = (struct fsck_pack){.number = numbers[i]};
        f->all_bytes += size > 0 ? (uint64_t)size : 0;
    }
    f->pack_count = count;
    HOLD_LOCK(&f->store->append_lock);
    f->last_number = f->store->last_number;
    return 0;
}

static int check_packs(struct blob_fsck *f, struct err *err)
{
    for (size_t i = 0; i < f->pack_count; i++) {
        int r = cancelled(f, err);
        if (r == 0)
            r = fsck_check_pack(f, &f->packs[i], err);
        if (r < 0)
            return r;
        /* One that grows has grown, one that was collected is not there. */
        bool last = i + 1 == f->pack_count || f->result.bytes > f->all_bytes;
        if (f->options->progress)
            f->options->progress(f->options->arg, last ? f->all_bytes : f->result.bytes, f->all_bytes);
    }
    return 0;
}

/* ---- chunks that lie where nothing good was found ---- */

struct suspects {
    const struct blob_fsck *f;
    struct buf ids;
};

static int suspect(void *arg, const struct blob_id *id, const struct index_place *place)
{
    struct suspects *s = arg;
    if (place->pack <= s->f->last_number && !fsck_is_good(s->f, place->pack, place->offset_bytes))
        buf_put(&s->ids, id->bytes, BLOB_ID_BYTES);
    return s->ids.error;
}

static int list_suspects(const struct blob_fsck *f, unsigned part, struct suspects *out)
{
    HOLD_LOCK(&f->store->index_lock);
    return index_each(&f->store->index, part, suspect, out);
}

/* Those of a pack that is gone, is shorter than it was, or says nothing of what was in a damaged place. Most
 * others were put since their pack was read. */
static int check_index(struct blob_fsck *f, struct err *err)
{
    for (unsigned part = 0; part < INDEX_PARTS; part++) {
        struct suspects s = {.f = f, .ids = BUF_EMPTY};
        int r = cancelled(f, err);
        if (r == 0 && list_suspects(f, part, &s) < 0)
            r = err_sys(err, ENOMEM, "the chunks of the store cannot be checked");
        for (size_t at = 0; r == 0 && at < s.ids.len_bytes; at += BLOB_ID_BYTES) {
            struct blob_id id;
            struct index_place place;
            memcpy(id.bytes, s.ids.bytes + at, BLOB_ID_BYTES);
            if (store_set_aside_if_bad(f->store, &id, &place))
                r = fsck_bad_chunk(f, &id, place.pack, place.offset_bytes, err);
        }
        buf_free(&s.ids);
        if (r < 0)
            return r;
    }
    return 0;
}

static int take_missing(void *arg, const struct blob_id *id)
{
    struct blob_fsck *f = arg;
    return blob_store_has(f->store, id) ? 0 : id_set_add(&f->bad, id);
}

/* Another copy of a chunk that was set aside, now or earlier, is stored again: kills and collections leave
 * some, and a disk may give again what it did not. */
static int recover(struct blob_fsck *f, struct err *err)
{
    int r = store_bad_each(f->store, take_missing, f, err);
    if (r < 0)
        return r;
    for (size_t i = 0; f->bad.count > 0 && i < f->pack_count; i++) {
        OWNED_BUF struct buf entries = BUF_EMPTY;
        r = cancelled(f, err);
        int64_t count = r < 0 ? r : fsck_read_entries(f, &f->packs[i], &entries, err);
        if (count < 0)
            return (int)count;
        for (uint32_t k = 0; k < (uint32_t)count; k++) {
            struct pack_entry e;
            pack_footer_entry(entries.bytes, k, &e);
            if (!id_set_has(&f->bad, &e.id) || !fsck_is_good(f, f->packs[i].number, e.offset_bytes))
                continue;
            r = fsck_recover(f, f->packs[i].number, &e, err);
            if (r == -ENOSPC)
                return 0; /* they stay bad: what that means is the more to be said */
            if (r < 0)
                return r;
        }
    }
    r = f->result.recovered > 0 ? blob_store_sync(f->store, err) : 0;
    return r == -ENOSPC ? 0 : r; /* they are in memory, for the next sync */
}

int blob_fsck_run(struct blob_store *store, const struct blob_fsck_options *options, struct blob_fsck **out,
                  struct err *err)
{
    struct blob_fsck *f = calloc(1, sizeof(*f));
    if (!f)
        return err_sys(err, ENOMEM, "the store cannot be checked");
    f->store = store;
    f->options = options;
    f->room = malloc(BLOB_CHUNK_MAX_BYTES);
    int r = f->room ? list_packs(f, err) : err_sys(err, ENOMEM, "the store cannot be checked");
    if (r == 0)
        r = check_packs(f, err);
    if (r == 0)
        r = check_index(f, err);
    if (r == 0)
        r = recover(f, err);
    f->options = NULL;
    if (r < 0) {
        blob_fsck_free(f);
        return r;
    }
    *out = f;
    return 0;
}

void blob_fsck_free(struct blob_fsck *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->pack_count; i++)
        free(f->packs[i].offsets);
    free(f->packs);
    free(f->room);
    id_set_free(&f->bad);
    free(f);
}

void blob_fsck_result(const struct blob_fsck *f, struct blob_fsck_result *out)
{
    *out = f->result;
}
