#include "agent.h"

#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "agent_parts.h"
#include "base/container.h"
#include "base/fdio.h"
#include "base/log.h"

#define INFO_EVERY_MS 60000
#define LOG_PIECE_BYTES (64u << 10)
#define LOG_WAITING_BYTES (256u << 10) /* of the bulk connection: beyond, output stays in its queue */

/* ---- what is told ---- */

static void send_info(struct agent *a)
{
    struct sysinfo memory;
    struct statvfs disk;
    struct utsname machine;
    struct wire_message m = {.type = WIRE_INFO,
                             .info = {.cores = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN),
                                      .restarts = instance_state(a->instance)->restarts,
                                      .runtime = wire_text(instance_runtime(a->instance))}};
    if (sysinfo(&memory) == 0) {
        m.info.memory_bytes = (uint64_t)memory.totalram * memory.mem_unit;
        m.info.memory_free_bytes = (uint64_t)(memory.freeram + memory.bufferram) * memory.mem_unit;
        m.info.uptime_s = (uint64_t)memory.uptime;
    }
    if (fstatvfs(a->dirfd, &disk) == 0) {
        m.info.disk_bytes = (uint64_t)disk.f_blocks * disk.f_frsize;
        m.info.disk_free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    }
    if (uname(&machine) == 0) {
        m.info.machine = wire_text(machine.machine);
        m.info.kernel = wire_text(machine.release);
    }
    connection_send(a->connection, &m);
}

void agent_send_holdings(struct agent *a)
{
    const uint64_t *numbers;
    struct wire_message m = {.type = WIRE_HOLDINGS};
    OWNED_BUF struct buf list = BUF_EMPTY;
    size_t count = images_list(a->images, &numbers, &m.holdings.partial);
    for (size_t i = 0; i < count; i++)
        buf_put_u64(&list, numbers[i]);
    if (list.error)
        return;
    m.holdings.images.at = list.bytes;
    m.holdings.images.count = (uint32_t)count;
    connection_send(a->connection, &m);
}

static void send_report(struct agent *a)
{
    const struct instance_state *s = instance_state(a->instance);
    struct wire_message m = {.type = WIRE_REPORT,
                             .report = {.image = images_is_foreign(a->images, s->image) ? 0 : s->image,
                                        .phase = (uint8_t)s->phase,
                                        .since_ns = s->since_ns,
                                        .snapshot = wire_text(s->snapshot),
                                        .sentence = wire_text(s->sentence)}};
    if (s->phase != WIRE_PHASE_FAILED)
        m.report.sentence = wire_text("");
    connection_send(a->connection, &m);
}

/* The Linux errors that mean something to who loads; all others are EIO. */
static uint16_t code_of(const struct err *err)
{
    switch (err->code) {
    case ENOSPC:
    case EDQUOT:
    case EROFS:
        return (uint16_t)err->code;
    default:
        return EIO;
    }
}

void agent_send_failed(struct agent *a, uint64_t load, const struct err *err)
{
    struct wire_message m = {
        .type = WIRE_FAILED,
        .failed = {.load = load, .code = code_of(err), .sentence = wire_text(err->message)}};
    connection_send(a->connection, &m);
}

static void send_output(struct agent *a)
{
    OWNED_BUF struct buf piece = BUF_EMPTY;
    while (connection_is_up(a->connection) && connection_bulk_waiting(a->connection) < LOG_WAITING_BYTES &&
           output_queue_take(&a->output, LOG_PIECE_BYTES, &piece)) {
        struct wire_message m = {.type = WIRE_LOG,
                                 .log.output = {.at = piece.bytes, .len_bytes = (uint32_t)piece.len_bytes}};
        connection_send(a->connection, &m);
    }
}

/* ---- the instance's events ---- */

static void instance_changed(void *arg)
{
    struct agent *a = arg;
    if (a->connection && !a->stopping)
        send_report(a);
}

static void instance_output(void *arg, const void *bytes, size_t len_bytes)
{
    struct agent *a = arg;
    output_queue_put(&a->output, bytes, len_bytes);
    if (a->connection && !a->stopping)
        send_output(a);
}

struct request {
    struct agent *agent;
    uint64_t number, session;
};

static void run_done(void *arg, int result, const struct err *err)
{
    struct request *request = arg;
    struct agent *a = request->agent;
    if (!a->stopping && request->session == a->session) {
        struct wire_message m = {.type = WIRE_RUN_DONE, .run_done = {.request = request->number}};
        if (result < 0) {
            m.run_done.code = (uint16_t)-result;
            m.run_done.sentence = wire_text(err ? err->message : "");
        }
        connection_send(a->connection, &m);
    }
    free(request);
}

static void run(struct agent *a, const struct wire_run *run)
{
    struct err err = {0};
    struct request *request = malloc(sizeof(*request));
    if (!request) {
        log_error("no memory for a request of the controller");
        return;
    }
    *request = (struct request){.agent = a, .number = run->request, .session = a->session};
    int r = instance_run(a->instance, (enum wire_verb)run->verb, run_done, request);
    if (r < 0) {
        err_sys(&err, -r, "this blade cannot do that now");
        run_done(request, r, &err);
    }
}

/* ---- the connection's events ---- */

static void up(void *arg, const struct wire_welcome *welcome)
{
    struct agent *a = arg;
    struct err err = {0};
    char slot[NAME_MAX_BYTES + 1];
    a->session++;
    wire_text_copy(&welcome->slot, slot, sizeof(slot));
    instance_set_slot(a->instance, slot);
    if (images_set_store(a->images, welcome->store_uuid, &err) < 0) {
        connection_fail(a->connection, err.message);
        return;
    }
    send_info(a);
    agent_send_holdings(a);
    send_report(a);
    send_output(a);
}

static void down(void *arg)
{
    struct agent *a = arg;
    a->session++;
    agent_loads_down(a);
}

static void bulk_message(struct agent *a, const struct wire_message *m)
{
    if (!a->receive || a->load.state != LOAD_RECEIVING)
        return; /* of a load that was given up meanwhile */
    switch (m->type) {
    case WIRE_DESCRIPTOR:
        receive_descriptor(a->receive, &m->descriptor);
        break;
    case WIRE_SEEDS:
        receive_seeds(a->receive, &m->seeds);
        break;
    case WIRE_CHUNK:
        receive_chunk(a->receive, &m->chunk);
        break;
    default:
        connection_fail(a->connection, "it sent a message that an agent does not take");
    }
}

static void control_message(struct agent *a, const struct wire_message *m)
{
    switch (m->type) {
    case WIRE_PREPARE:
        agent_prepare(a, &m->prepare);
        break;
    case WIRE_START:
        agent_start(a, m->load.load);
        break;
    case WIRE_CANCEL:
        agent_cancel(a, m->load.load);
        break;
    case WIRE_RUN:
        run(a, &m->run);
        break;
    case WIRE_DROP:
        images_drop(a->images, m->drop.image);
        agent_send_holdings(a);
        break;
    default:
        connection_fail(a->connection, "it sent a message that an agent does not take");
    }
}

static void message(void *arg, enum wire_role role, const struct wire_message *m)
{
    struct agent *a = arg;
    if (role == WIRE_ROLE_CONTROL)
        control_message(a, m);
    else
        bulk_message(a, m);
}

static void taken(void *arg)
{
    struct agent *a = arg;
    if (a->receive)
        receive_taken(a->receive);
}

static void drained(void *arg)
{
    send_output(arg);
}

static void info_done(struct loop_op *op, int result)
{
    struct agent *a = CONTAINER_OF(op, struct agent, info_timer);
    (void)result;
    if (a->stopping)
        return;
    send_info(a);
    loop_timer(a->loop, &a->info_timer, INFO_EVERY_MS);
}

/* ---- the whole ---- */

static int open_parts(struct agent *a, const struct wire_key *key, struct err *err)
{
    const struct instance_options instance = {
        .dir = a->dir, .runtime = a->options->runtime, .binds = a->options->binds, .caps = a->options->caps};
    const struct instance_events of_instance = {
        .changed = instance_changed, .output = instance_output, .arg = a};
    const struct connection_options connection = {
        .host = a->options->host, .port = a->options->port, .key = key};
    const struct connection_events of_connection = {
        .up = up, .down = down, .message = message, .taken = taken, .drained = drained, .arg = a};

    int r = images_open(a->dirfd, a->options->keep, &a->images, err);
    if (r == 0)
        r = instance_open(a->loop, a->images, &instance, &of_instance, &a->instance, err);
    if (r == 0)
        images_trim(a->images); /* what the instance uses is held by now */
    if (r == 0)
        r = connection_new(a->loop, &connection, &of_connection, &a->connection, err);
    return r;
}

int agent_new(struct loop *loop, const struct options *options, const struct wire_key *key, int dirfd,
              const char *dir, struct agent **out, struct err *err)
{
    struct agent *a = calloc(1, sizeof(*a));
    if (!a)
        return err_set(err, ENOMEM, "no memory for the agent");
    a->loop = loop;
    a->options = options;
    a->dirfd = dirfd;
    a->dir = dir;
    a->info_timer.done = info_done;
    a->progress_timer.done = agent_progress_done;
    a->notes_task.run = agent_notes_run;
    a->notes_end = &a->notes;
    pthread_mutex_init(&a->notes_lock, NULL);
    int r = open_parts(a, key, err);
    if (r < 0) {
        agent_stop(a);
        agent_free(a);
        return r;
    }
    loop_timer(loop, &a->info_timer, INFO_EVERY_MS);
    connection_start(a->connection);
    *out = a;
    return 0;
}

void agent_stop(struct agent *agent)
{
    agent->stopping = true;
    if (agent->connection)
        connection_stop(agent->connection);
    receive_free(STEAL(agent->receive));
    if (agent->instance)
        instance_close(STEAL(agent->instance));
}

void agent_free(struct agent *agent)
{
    if (!agent)
        return;
    connection_free(agent->connection);
    images_close(agent->images);
    agent_notes_free(agent);
    output_queue_free(&agent->output);
    pthread_mutex_destroy(&agent->notes_lock);
    free(agent);
}
