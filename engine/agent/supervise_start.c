#include "supervise.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "command.h"
#include "oci_config.h"
#include "overlay.h"
#include "rights.h"
#include "runtime.h"

#define RUNTIME_LOG "bundle/runtime.log"
#define RUNTIME_LOG_MAX_BYTES ((size_t)64 << 10)

void supervise_refuse(struct supervisor *s, const char *sentence)
{
    s->state.phase = SUPERVISE_REFUSED;
    snprintf(s->state.sentence, sizeof(s->state.sentence), "%s: %s", s->spec.snapshot, sentence);
    supervise_over(s);
}

static int find_program(struct supervisor *s, struct err *err)
{
    OWNED_FD root = openat(s->current_fd, "merged", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_sys(err, errno, "cannot open the instance's tree");
    return exec_find(root, s->spec.exec, s->spec.binds, &s->plan, err);
}

static int write_config(struct supervisor *s, struct err *err)
{
    struct oci_config config = {
        .root = "../merged",
        .args = s->plan.words.at,
        .init = s->plan.kind == EXEC_PROGRAM ? s->spec.init : NULL,
        .systemd = s->plan.kind == EXEC_SYSTEMD,
        .slot = s->spec.slot,
        .snapshot = s->spec.snapshot,
        .binds = s->spec.binds,
        .caps = s->spec.caps,
        .cgroups = runtime_cgroups(),
        .of_user = !rights_are_roots(),
        .nofile = runtime_nofile(),
    };
    OWNED char *json = NULL;
    int r = oci_config_json(&config, &json, err);
    if (r < 0)
        return r;
    OWNED_FD fd = openat(s->current_fd, "bundle/config.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    r = fd < 0 ? -errno : fd_write(fd, json, strlen(json));
    return r < 0 ? err_sys(err, -r, "cannot write the bundle's config.json") : 0;
}

static int forget(const struct supervisor *s, const char *name)
{
    return unlinkat(s->current_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* `runtime run --detach`: it returns when the container's first process is there. */
static int start_runtime(struct supervisor *s, struct err *err)
{
    const char *argv[] = {s->spec.runtime, "--root",     runtime_root(), "--log",    RUNTIME_LOG,
                          "--log-format",  "json",       "run",          "--bundle", "bundle",
                          "--pid-file",    "bundle/pid", "--detach",     s->spec.id, NULL};
    int ends[2];
    if (forget(s, RUNTIME_LOG) < 0 || forget(s, "bundle/pid") < 0 || fchdir(s->current_fd) < 0 ||
        pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "cannot start %s", s->spec.runtime);
    s->pipe_fd = ends[0];
    OWNED_FD write_end = ends[1];
    if (fcntl(s->pipe_fd, F_SETFL, O_NONBLOCK) < 0)
        return err_sys(err, errno, "cannot start %s", s->spec.runtime);
    int pid = command_start((char *const *)argv, write_end, write_end, err);
    if (pid < 0)
        return pid;
    s->made = true;
    s->runtime_pid = pid;
    s->stage = STAGE_RUNTIME;
    s->stage_until_ms = clock_boot_ms() + RUNTIME_TIMEOUT_MS;
    return 0;
}

/* A container that an earlier supervisor of this instance left: its id has the same beginning. */
static void delete_stale(const struct supervisor *s)
{
    char prefix[INSTANCE_ID_BYTES];
    snprintf(prefix, sizeof(prefix), "%s", s->spec.id);
    char *dash = strrchr(prefix, '-');
    if (!dash || dash == prefix)
        return;
    dash[1] = '\0';
    runtime_delete_all(s->spec.runtime, prefix);
}

void supervise_start(struct supervisor *s)
{
    struct err err = {0};
    delete_stale(s);
    int r = overlay_mount(s->agent_fd, &s->spec, &err);
    if (r == 0)
        r = find_program(s, &err);
    if (r == 0 && s->plan.kind == EXEC_NOTHING) {
        s->state.phase = SUPERVISE_NOTHING;
        supervise_over(s);
        return;
    }
    if (r == 0)
        r = write_config(s, &err);
    if (r == 0)
        r = start_runtime(s, &err);
    if (r < 0)
        supervise_refuse(s, err.message);
}

/* The last error of the runtime's own log, lines of {"level":"error","msg":"..."}. */
static void runtime_words(const struct supervisor *s, char *out, size_t out_bytes)
{
    OWNED_BUF struct buf text = BUF_EMPTY;
    if (file_read(s->current_fd, RUNTIME_LOG, RUNTIME_LOG_MAX_BYTES, &text) < 0)
        return;
    buf_put_u8(&text, 0);
    if (text.error)
        return;
    char *rest = (char *)text.bytes, *line;
    while ((line = strsep(&rest, "\n"))) {
        json_t *entry = json_loads(line, 0, NULL);
        const char *level = json_string_value(json_object_get(entry, "level"));
        const char *words = json_string_value(json_object_get(entry, "msg"));
        if (words && (!level || strcmp(level, "warning") != 0) && strcmp(level ? level : "", "debug") != 0)
            snprintf(out, out_bytes, "%s", words);
        json_decref(entry);
    }
}

static pid_t read_pid(const struct supervisor *s)
{
    OWNED_BUF struct buf text = BUF_EMPTY;
    if (file_read(s->current_fd, "bundle/pid", 32, &text) < 0)
        return -1;
    buf_put_u8(&text, 0);
    long pid = text.error ? -1 : strtol((const char *)text.bytes, NULL, 10);
    return pid > 1 && pid <= INT_MAX ? (pid_t)pid : -1;
}

void supervise_runtime_ended(struct supervisor *s, int wait_status)
{
    s->runtime_pid = 0;
    if (s->stage != STAGE_RUNTIME)
        return;
    if (wait_status != 0) {
        char words[400] = "", sentence[480];
        runtime_words(s, words, sizeof(words));
        snprintf(sentence, sizeof(sentence), "%s could not start it: %s", s->spec.runtime,
                 words[0] ? words : last_line_get(&s->last));
        supervise_refuse(s, sentence);
        return;
    }
    s->pid = read_pid(s);
    if (s->pid < 0) {
        s->pid = 0;
        supervise_refuse(s, "the runtime started it, but left no pid");
        return;
    }
    s->stage = STAGE_EXEC;
    s->stage_until_ms = clock_boot_ms();
    if (s->plan.kind != EXEC_PROGRAM) {
        s->stage = STAGE_SETTLING;
        s->stage_until_ms += SUPERVISE_SETTLE_MS;
    }
    s->started_ms = clock_boot_ms();
    s->state.since_ns = clock_wall_ns();
    if (s->stop)
        supervise_signal_stop(s);
    else
        supervise_look(s);
}

/* The program is a child of the init and is no longer the init's own file. */
static bool program_is_there(const struct supervisor *s)
{
    char path[96];
    struct stat init, program;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)s->pid, (int)s->pid);
    OWNED_FILE children = fopen(path, "re");
    if (!children)
        return errno == ENOENT && kill(s->pid, 0) == 0; /* a kernel without CONFIG_PROC_CHILDREN */
    char line[32];
    if (!fgets(line, sizeof(line), children))
        return false;
    snprintf(path, sizeof(path), "/proc/%d/exe", (int)s->pid);
    if (stat(path, &init) < 0)
        return false;
    snprintf(path, sizeof(path), "/proc/%ld/exe", strtol(line, NULL, 10));
    if (stat(path, &program) < 0) /* so it is for a zombie */
        return false;
    return program.st_ino != init.st_ino || program.st_dev != init.st_dev;
}

void supervise_look(struct supervisor *s)
{
    int64_t now_ms = clock_boot_ms();
    bool there = s->plan.kind != EXEC_PROGRAM || program_is_there(s);
    if (s->stage == STAGE_EXEC && there) {
        s->stage = STAGE_SETTLING;
        s->stage_until_ms = now_ms + SUPERVISE_SETTLE_MS;
        return;
    }
    bool long_enough = now_ms - s->started_ms >= SUPERVISE_EXEC_TIMEOUT_MS;
    if ((s->stage == STAGE_SETTLING && there) || long_enough) {
        s->stage = STAGE_RUNNING;
        s->state.phase = SUPERVISE_RUNNING;
        s->tell = true;
        return;
    }
    s->stage_until_ms = now_ms + SUPERVISE_STEP_MS;
}
