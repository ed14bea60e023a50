#include "status_text.h"

#include <string.h>

#include "base/fdio.h"

void text_bytes(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        snprintf(out, 32, "%uB", (unsigned)bytes);
        return;
    }
    double value = (double)bytes / 1024;
    size_t unit = 0;
    while (value >= 1023.95 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    snprintf(out, 32, "%.1f%s", value, units[unit]);
}

void text_duration(uint64_t s, char out[32])
{
    unsigned long long v = s;
    if (v < 60)
        snprintf(out, 32, "%llus", v);
    else if (v < 3600)
        snprintf(out, 32, "%llum%02llus", v / 60, v % 60);
    else if (v < 86400)
        snprintf(out, 32, "%lluh%02llum", v / 3600, v / 60 % 60);
    else
        snprintf(out, 32, "%llud%lluh", v / 86400, v / 3600 % 24);
}

static unsigned percent(const struct progress *p)
{
    if (p->done)
        return 100;
    if (p->total_bytes == 0)
        return 0;
    unsigned value = (unsigned)((double)p->done_bytes * 100 / (double)p->total_bytes);
    return value > 99 ? 99 : value; /* 100 says that it runs */
}

void text_progress(const struct progress *p, int64_t now_ms, struct buf *out)
{
    if (!p->any)
        return;
    uint64_t done = p->done_bytes < p->total_bytes ? p->done_bytes : p->total_bytes;
    int64_t took_ms = (p->ended_ms ? p->ended_ms : now_ms) - p->began_ms;
    uint64_t rate = (uint64_t)((double)done * 1000 / (double)(took_ms > 0 ? took_ms : 1));
    uint64_t eta_s = 0;
    if (!p->done && rate > 0)
        eta_s = (p->total_bytes - done + rate - 1) / rate;

    char at[32], total[32], sent[32], speed[32], eta[32];
    text_bytes(done, at);
    text_bytes(p->total_bytes, total);
    text_bytes(p->sent_bytes, sent);
    text_bytes(rate, speed);
    text_duration(eta_s, eta);
    if (!p->done && (rate == 0 || p->ended_ms))
        snprintf(eta, sizeof eta, "-");
    buf_printf(out, "%u%% %s/%s sent %s %s/s eta %s\n", percent(p), at, total, sent, speed, eta);
}

static void line_text(struct buf *out, const char *key, const char *value)
{
    if (value[0])
        buf_printf(out, "%s %s\n", key, value);
}

static void line_number(struct buf *out, const char *key, uint64_t value)
{
    buf_printf(out, "%s %llu\n", key, (unsigned long long)value);
}

void text_info(const struct blade_info *info, const char *key_id, int64_t seen_ns, struct buf *out)
{
    if (info->known) {
        line_text(out, "version", info->version);
        line_text(out, "address", info->address);
        line_number(out, "cores", info->cores);
        line_number(out, "memory", info->memory_bytes);
        line_number(out, "memory_free", info->memory_free_bytes);
        line_number(out, "disk", info->disk_bytes);
        line_number(out, "disk_free", info->disk_free_bytes);
        line_number(out, "uptime", info->uptime_s);
    }
    if (seen_ns) {
        char when[32];
        clock_format(seen_ns, when);
        line_text(out, "last_seen", when);
    }
    if (info->known) {
        line_number(out, "restarts", info->restarts);
        line_text(out, "kernel", info->kernel);
        line_text(out, "machine", info->machine);
        line_text(out, "runtime", info->runtime);
    }
    line_text(out, "key_id", key_id);
}

static void widen(size_t *width, const char *text)
{
    size_t n = strlen(text);
    if (n > *width)
        *width = n;
}

static const char *shown(const char *text)
{
    return text[0] ? text : "-";
}

/* A column, and two spaces. Ten thousand lines want something cheaper than a format. */
static void put_column(struct buf *out, const char *text, size_t width)
{
    size_t len_bytes = strlen(text);
    size_t pad = (width > len_bytes ? width - len_bytes : 0) + 2;
    buf_put(out, text, len_bytes);
    uint8_t *spaces = buf_room(out, pad);
    if (!spaces)
        return;
    memset(spaces, ' ', pad);
    buf_grew(out, pad);
}

static void put_row(struct buf *out, const struct status_row *row, const char *since, size_t slot,
                    size_t state, size_t image)
{
    const char *info = shown(row->info);
    put_column(out, row->slot, slot);
    put_column(out, row->state, state);
    put_column(out, shown(row->image), image);
    put_column(out, since, 20);
    buf_put(out, info, strlen(info));
    buf_put(out, "\n", 1);
}

void text_status(const struct status_row *rows, size_t count, struct buf *out)
{
    size_t slot = strlen("SLOT"), state = strlen("STATE"), image = strlen("IMAGE");
    for (size_t i = 0; i < count; i++) {
        widen(&slot, rows[i].slot);
        widen(&state, rows[i].state);
        widen(&image, rows[i].image);
    }
    const struct status_row head = {.slot = "SLOT", .state = "STATE", .image = "IMAGE", .info = "INFO"};
    put_row(out, &head, "SINCE", slot, state, image);
    for (size_t i = 0; i < count; i++) {
        char since[32];
        clock_format(rows[i].since_ns, since);
        put_row(out, &rows[i], since, slot, state, image);
    }
}
