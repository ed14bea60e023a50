#include "store_text.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/fdio.h"
#include "parts.h"

static int64_t change_of(int dirfd, const char *name)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    return (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

static int count_snapshots(int snapshots_fd, uint64_t *count)
{
    OWNED_DIR dir = NULL;
    int r = dir_list(snapshots_fd, &dir);
    if (r < 0)
        return r;
    uint64_t n = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry)
            break;
        n += entry->d_name[0] != '.';
    }
    if (errno)
        return -errno;
    *count = n;
    return 0;
}

static void put_uuid(const struct catalog *catalog, struct buf *out)
{
    uint8_t uuid[16];
    catalog_uuid(catalog, uuid);
    buf_printf(out, "uuid ");
    for (size_t i = 0; i < sizeof(uuid); i++)
        buf_printf(out, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
    buf_printf(out, "\n");
}

bool store_show_mends(const struct blob_store *store, struct buf *out)
{
    const struct blob_store_mend *mends;
    size_t count = blob_store_mends(store, &mends);
    for (size_t i = 0; i < count; i++) {
        const struct blob_store_mend *m = &mends[i];
        if (m->left_out_bytes > 0)
            buf_printf(out,
                       "bad packs/%016" PRIx64 ".pack at %" PRIu32 ": %" PRIu32 " bytes between chunks\n",
                       m->pack, m->left_out_at, m->left_out_bytes);
        if (m->cut_bytes > 0)
            buf_printf(out,
                       "cut %" PRIu64 " bytes off packs/%016" PRIx64 ".pack, behind its last whole chunk\n",
                       m->cut_bytes, m->pack);
        if (m->header)
            buf_printf(out, "mended packs/%016" PRIx64 ".pack: its header\n", m->pack);
        if (m->footer)
            buf_printf(out, "mended packs/%016" PRIx64 ".pack: its footer\n", m->pack);
    }
    return count > 0;
}

int engine_show_store(struct engine *engine, struct buf *out, int64_t *changed_ns)
{
    struct blob_store_stats stats;
    uint64_t snapshots = 0;
    int r = count_snapshots(engine->snapshots_fd, &snapshots);
    if (r < 0)
        return r;
    blob_store_stats(engine->store, &stats);
    buf_printf(out, "format %d\n", ENGINE_STORE_FORMAT);
    put_uuid(engine->catalog, out);
    buf_printf(out, "snapshots %" PRIu64 "\nrunning %zu\n", snapshots, runnings_count(engine->runnings));
    buf_printf(out,
               "chunks %" PRIu64 "\npacks %" PRIu64 "\nraw_bytes %" PRIu64 "\nstored_bytes %" PRIu64 "\n",
               stats.chunks, stats.packs, stats.raw_bytes, stats.stored_bytes);
    buf_printf(out, "bad_chunks %" PRIu64 "\ncut_bytes %" PRIu64 "\n", stats.bad_chunks, stats.cut_bytes);
    buf_printf(out, "eager %s\neager_pending %zu\n", engine->eager ? "on" : "off",
               engine->eager ? eager_pending(engine->eager) : 0);
    /* Every capture, removal, making of a snapshot and collection passes by one of these. */
    int64_t catalog_ns = change_of(engine->store_fd, "catalog.db-wal");
    int64_t snapshots_ns = change_of(engine->store_fd, "snapshots");
    int64_t collected_ns = collector_ended_ns(engine->collector);
    int64_t latest_ns = catalog_ns > snapshots_ns ? catalog_ns : snapshots_ns;
    if (changed_ns)
        *changed_ns = collected_ns > latest_ns ? collected_ns : latest_ns;
    return out->error;
}
