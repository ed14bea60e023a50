/* engine.h's readers: what people see, formatted under the mutex. */
#include <string.h>

#include "base/fdio.h"
#include "fleet_parts.h"
#include "parts.h"
#include "slot_log.h"
#include "status_text.h"

#define NS_PER_S INT64_C(1000000000)

static void describe(const struct slot *slot, struct engine_slot *out)
{
    *out = (struct engine_slot){.id = slot->id,
                                .attr = slot->attr,
                                .state = slot->blade.state,
                                .state_ns = slot->blade.state_ns,
                                .running = slot->running};
    memcpy(out->name, slot->name, sizeof out->name);
    memcpy(out->image, slot->image, sizeof out->image);
}

int engine_slot_find(struct engine *engine, const char *name, uint32_t *id)
{
    HOLD_LOCK(&engine->fleet->lock);
    const struct slot *slot = slots_by_name(&engine->fleet->slots, name);
    if (!slot)
        return -ENOENT;
    *id = slot->id;
    return 0;
}

int engine_slot_get(struct engine *engine, uint32_t id, struct engine_slot *out)
{
    HOLD_LOCK(&engine->fleet->lock);
    const struct slot *slot = slots_by_id(&engine->fleet->slots, id);
    if (!slot)
        return -ENOENT;
    describe(slot, out);
    return 0;
}

size_t engine_slot_list(struct engine *engine, uint32_t after, struct engine_slot *out, size_t max)
{
    HOLD_LOCK(&engine->fleet->lock);
    const struct slots *slots = &engine->fleet->slots;
    size_t count = 0;
    size_t from = after == UINT32_MAX ? slots->count : slots_place_of_id(slots, after + 1);
    for (size_t i = from; i < slots->count && count < max; i++)
        describe(slots->by_id[i], &out[count++]);
    return count;
}

size_t engine_slot_count(struct engine *engine)
{
    HOLD_LOCK(&engine->fleet->lock);
    return engine->fleet->slots.count;
}

/* ---- the control files ---- */

static void line(struct buf *out, const char *text)
{
    buf_printf(out, "%s\n", text);
}

static void line_if_any(struct buf *out, const char *text)
{
    if (text[0])
        line(out, text);
}

static int show_any(const struct fleet *fleet, enum engine_text what, struct buf *out, int64_t *changed_ns)
{
    switch (what) {
    case ENGINE_TEXT_LOAD:
        line(out, fleet->any_choice);
        *changed_ns = fleet->any_choice_ns;
        return 0;
    case ENGINE_TEXT_ERROR:
        line_if_any(out, fleet->any_error);
        *changed_ns = fleet->any_error_ns;
        return 0;
    default:
        return -ENOENT;
    }
}

/* A blade that is in is heard every second: it was seen now. */
static int64_t show_info(const struct slot *slot, struct buf *out)
{
    int64_t seen_ns = slot->blade.in ? clock_wall_ns() / NS_PER_S * NS_PER_S : slot->seen_ns;
    text_info(&slot->info, slot->key.id, seen_ns, out);
    return seen_ns > slot->info_ns ? seen_ns : slot->info_ns;
}

static int show_slot(const struct slot *slot, enum engine_text what, struct buf *out, int64_t *changed_ns)
{
    char key[WIRE_KEY_LINE_BYTES + 1];
    switch (what) {
    case ENGINE_TEXT_LOAD:
        line(out, slot->image);
        *changed_ns = slot->loaded_ns;
        return 0;
    case ENGINE_TEXT_STATE:
        line(out, engine_state_name(slot->blade.state));
        *changed_ns = slot->blade.state_ns;
        return 0;
    case ENGINE_TEXT_PROGRESS:
        text_progress(&slot->progress, clock_boot_ms(), out);
        *changed_ns = slot->progress_ns;
        return 0;
    case ENGINE_TEXT_ERROR:
        line_if_any(out, slot->error);
        *changed_ns = slot->error_ns;
        return 0;
    case ENGINE_TEXT_KEY:
        wire_key_format(&slot->key, key);
        buf_put(out, key, strlen(key));
        explicit_bzero(key, sizeof key);
        *changed_ns = slot->key_ns;
        return 0;
    case ENGINE_TEXT_INFO:
        *changed_ns = show_info(slot, out);
        return 0;
    }
    return -EINVAL;
}

int engine_show(struct engine *engine, uint32_t id, enum engine_text what, struct buf *out,
                int64_t *changed_ns)
{
    struct fleet *fleet = engine->fleet;
    int64_t changed = 0;
    int rc;
    HOLD_LOCK(&fleet->lock);
    if (id == ENGINE_ANY) {
        rc = show_any(fleet, what, out, &changed);
    } else {
        const struct slot *slot = slots_by_id(&fleet->slots, id);
        rc = slot ? show_slot(slot, what, out, &changed) : -ENOENT;
    }
    if (rc == 0 && out->error)
        rc = out->error;
    if (rc == 0 && changed_ns)
        *changed_ns = changed;
    return rc;
}

/* ---- the table ---- */

/* `text` keeps what is made up for the row. */
static void status_row(const struct slot *slot, int64_t now_ms, struct buf *text, struct status_row *row)
{
    *row = (struct status_row){.slot = slot->name,
                               .state = engine_state_name(slot->blade.state),
                               .image = slot->image,
                               .since_ns = slot->blade.state_ns,
                               .info = slot->error};
    if (!slot->taken || !slot->progress.any || slot->progress.ended_ms)
        return;
    text_progress(&slot->progress, now_ms, text);
    if (text->error || text->len_bytes == 0)
        return;
    text->bytes[text->len_bytes - 1] = '\0'; /* instead of the newline */
    row->info = (const char *)text->bytes;
}

int engine_show_status(struct engine *engine, struct buf *out, int64_t *changed_ns)
{
    struct fleet *fleet = engine->fleet;
    HOLD_LOCK(&fleet->lock);
    size_t count = fleet->slots.count;
    OWNED struct status_row *rows = calloc(count + 1, sizeof *rows);
    OWNED struct buf *texts = calloc(count + 1, sizeof *texts);
    if (!rows || !texts)
        return -ENOMEM;
    int64_t now_ms = clock_boot_ms();
    for (size_t i = 0; i < count; i++)
        status_row(fleet->slots.at[i], now_ms, &texts[i], &rows[i]);
    text_status(rows, count, out);
    for (size_t i = 0; i < count; i++)
        buf_free(&texts[i]);
    if (changed_ns)
        *changed_ns = fleet->status_ns;
    return out->error;
}

/* ---- the log ---- */

static int check_slot(struct fleet *fleet, uint32_t id)
{
    HOLD_LOCK(&fleet->lock);
    return slots_by_id(&fleet->slots, id) ? 0 : -ENOENT;
}

int engine_log_stat(struct engine *engine, uint32_t slot, uint64_t *size_bytes, int64_t *changed_ns)
{
    int rc = check_slot(engine->fleet, slot);
    return rc < 0 ? rc : slot_log_stat(engine->fleet->logs_fd, slot, size_bytes, changed_ns);
}

ssize_t engine_log_read(struct engine *engine, uint32_t slot, void *out, size_t len_bytes, uint64_t offset)
{
    int rc = check_slot(engine->fleet, slot);
    return rc < 0 ? rc : slot_log_read(engine->fleet->logs_fd, slot, out, len_bytes, offset);
}
