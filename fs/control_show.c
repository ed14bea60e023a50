/* What the control files of slots, and of the whole, read as. */
#include "control.h"
#include "passthrough.h"

int show_load(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns)
{
    return engine_show(fs->engine, (uint32_t)owner, ENGINE_TEXT_LOAD, out, changed_ns);
}

int show_state(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns)
{
    return engine_show(fs->engine, (uint32_t)owner, ENGINE_TEXT_STATE, out, changed_ns);
}

int show_progress(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns)
{
    return engine_show(fs->engine, (uint32_t)owner, ENGINE_TEXT_PROGRESS, out, changed_ns);
}

int show_error(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns)
{
    return engine_show(fs->engine, (uint32_t)owner, ENGINE_TEXT_ERROR, out, changed_ns);
}

int show_key(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns)
{
    return engine_show(fs->engine, (uint32_t)owner, ENGINE_TEXT_KEY, out, changed_ns);
}

int show_info(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns)
{
    return engine_show(fs->engine, (uint32_t)owner, ENGINE_TEXT_INFO, out, changed_ns);
}

int show_status(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns)
{
    (void)owner;
    return engine_show_status(fs->engine, out, changed_ns);
}

static const char *on_off(bool on)
{
    return on ? "on" : "off";
}

int show_store_stats(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns)
{
    const struct features *features = &fs->features;
    (void)owner;
    int r = engine_show_store(fs->engine, out, changed_ns);
    if (r < 0)
        return r;
    buf_printf(out, "passthrough %s\nsplice %s\nwriteback %s\nio_uring %s\n",
               on_off(passthrough_is_on(fs->passthrough)), on_off(features->splice),
               on_off(features->writeback), on_off(features->io_uring));
    return out->error;
}

int show_collected(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns)
{
    (void)owner;
    return engine_show_collected(fs->engine, out, changed_ns);
}

int show_checked(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns)
{
    (void)owner;
    return engine_show_checked(fs->engine, out, changed_ns);
}

int size_log(struct fs *fs, uint64_t owner, uint64_t *size_bytes, int64_t *changed_ns)
{
    return engine_log_stat(fs->engine, (uint32_t)owner, size_bytes, changed_ns);
}

ssize_t read_log(struct fs *fs, uint64_t owner, void *out, size_t len_bytes, uint64_t offset)
{
    return engine_log_read(fs->engine, (uint32_t)owner, out, len_bytes, offset);
}
