#include "supervise_state.h"

#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/fdio.h"
#include "json_bytes.h"

#define STATUS_MAX_BYTES 8192

static void ended_sentence(struct supervise_state *s, const char *snapshot, const char *last_line)
{
    char what[128];
    if (s->signal) {
        const char *name = sigabbrev_np(s->signal);
        if (name)
            snprintf(what, sizeof(what), "was killed by signal %d (SIG%s)", s->signal, name);
        else
            snprintf(what, sizeof(what), "was killed by signal %d", s->signal);
    } else {
        snprintf(what, sizeof(what), "ended with exit code %d", s->exit_code);
    }
    snprintf(s->sentence, sizeof(s->sentence), "%s %s%s%.300s", snapshot, what, last_line[0] ? ": " : "",
             last_line);
}

void supervise_state_ended(struct supervise_state *s, const char *snapshot, int wait_status,
                           bool through_init, const char *last_line)
{
    s->phase = SUPERVISE_ENDED;
    s->exit_code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0;
    s->signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
    if (through_init && s->exit_code > 128 && s->exit_code - 128 < NSIG) {
        s->signal = s->exit_code - 128;
        s->exit_code = 0;
    }
    s->sentence[0] = '\0';
    if (!supervise_ended_well(s))
        ended_sentence(s, snapshot, last_line);
}

void supervise_state_encode(const struct supervise_state *s, struct buf *out)
{
    buf_put_u8(out, SUPERVISE_STATE);
    buf_put_u64(out, s->start);
    buf_put_u8(out, (uint8_t)s->phase);
    buf_put_u8(out, s->asked);
    buf_put_u32(out, (uint32_t)s->exit_code);
    buf_put_u32(out, (uint32_t)s->signal);
    buf_put_u64(out, (uint64_t)s->since_ns);
    buf_put_str16(out, s->sentence, strlen(s->sentence));
}

int supervise_state_decode(const void *bytes, size_t len_bytes, struct supervise_state *out)
{
    struct rd r = rd_over(bytes, len_bytes);
    struct supervise_state s = {0};
    uint8_t type = rd_u8(&r);
    s.start = rd_u64(&r);
    uint8_t phase = rd_u8(&r);
    s.asked = rd_u8(&r) != 0;
    s.exit_code = (int)rd_u32(&r);
    s.signal = (int)rd_u32(&r);
    s.since_ns = (int64_t)rd_u64(&r);
    size_t sentence_bytes = 0;
    const char *sentence = rd_str16(&r, &sentence_bytes);
    if (rd_end(&r) < 0 || type != SUPERVISE_STATE || phase > SUPERVISE_ENDED ||
        sentence_bytes >= sizeof(s.sentence))
        return -EBADMSG;
    s.phase = (enum supervise_phase)phase;
    memcpy(s.sentence, sentence, sentence_bytes);
    *out = s;
    return 0;
}

int supervise_status_write(int dirfd, const struct supervise_state *s)
{
    char when[32];
    clock_format(s->since_ns, when);
    json_t *root = json_pack("{s:i, s:I, s:i, s:b, s:i, s:i, s:I, s:s, s:o}", "version", 1, "start",
                             (json_int_t)s->start, "phase", (int)s->phase, "asked", (int)s->asked,
                             "exit_code", s->exit_code, "signal", s->signal, "since_ns",
                             (json_int_t)s->since_ns, "since", when, "sentence", bytes_to_json(s->sentence));
    OWNED char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (!text)
        return -ENOMEM;
    return file_replace(dirfd, "status", 0600, text, strlen(text));
}

int supervise_status_read(int dirfd, struct supervise_state *out)
{
    OWNED_BUF struct buf text = BUF_EMPTY;
    int r = file_read(dirfd, "status", STATUS_MAX_BYTES, &text);
    if (r < 0)
        return r;
    json_t *root = json_loadb((const char *)text.bytes, text.len_bytes, 0, NULL);
    json_int_t start = 0, since_ns = 0;
    int version = 0, phase = 0, asked = 0, exit_code = 0, signal_number = 0;
    json_t *sentence = NULL; /* borrowed of root */
    r = json_unpack(root, "{s:i, s:I, s:i, s:b, s:i, s:i, s:I, s:o}", "version", &version, "start", &start,
                    "phase", &phase, "asked", &asked, "exit_code", &exit_code, "signal", &signal_number,
                    "since_ns", &since_ns, "sentence", &sentence);
    if (!root || r < 0 || version != 1 || phase < 0 || phase > (int)SUPERVISE_ENDED) {
        json_decref(root);
        return -EBADMSG;
    }
    struct supervise_state s = {.start = (uint64_t)start,
                                .phase = (enum supervise_phase)phase,
                                .asked = asked != 0,
                                .exit_code = exit_code,
                                .signal = signal_number,
                                .since_ns = since_ns};
    OWNED char *words = bytes_from_json(sentence);
    json_decref(root);
    if (!words)
        return -EBADMSG;
    snprintf(s.sentence, sizeof(s.sentence), "%s", words);
    *out = s;
    return 0;
}
