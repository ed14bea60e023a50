#include "instance_parts.h"

#include <fcntl.h>
#include <string.h>

#include "base/container.h"
#include "instance_dirs.h"

int instance_read_current(int fd, struct instance_spec *out)
{
    OWNED_FD current = openat(fd, "current", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (current < 0)
        return -errno;
    struct instance_spec spec;
    int r = instance_spec_read(current, INSTANCE_SPEC, &spec);
    if (r < 0)
        return r == -ENOENT ? -EBADMSG : r;
    OWNED_SPEC start = {0};
    if (instance_spec_read(current, INSTANCE_START, &start) == 0) {
        spec.start = start.start;
        spec.restarts = start.restarts;
        memcpy(spec.boot_id, start.boot_id, sizeof(spec.boot_id));
        memcpy(spec.id, start.id, sizeof(spec.id));
        memcpy(spec.slot, start.slot, sizeof(spec.slot));
    }
    *out = spec;
    return 0;
}

/* ---- on the worker's thread ---- */

static int spec_of_image(const struct instance_work *w, struct instance_spec *spec, struct err *err)
{
    const struct instance *i = w->instance;
    const struct blob_image *image = NULL;
    int r = images_get(i->images, w->image, &image, err);
    if (r < 0)
        return r;
    struct blob_xattr exec = {0};
    if (blob_image_xattr_find(image, 0, "user.bladefs.exec", &exec) &&
        memchr(exec.value, '\0', exec.value_bytes))
        return err_set(err, EINVAL, "%s: its .bladefs/exec has a NUL in it", w->snapshot);

    char lowers[IMAGES_STACK_MAX][64];
    r = images_lowerdirs(i->images, w->image, lowers);
    if (r < 0)
        return err_sys(err, -r, "%s: its tree on this blade", w->snapshot);
    spec->lower_count = (unsigned)r;
    for (unsigned n = 0; n < spec->lower_count; n++)
        memcpy(spec->lowers[n], lowers[n], sizeof(lowers[n]));
    spec->image = w->image;
    memcpy(spec->snapshot, w->snapshot, sizeof(spec->snapshot));
    memcpy(spec->slot, w->slot, sizeof(spec->slot));
    spec->exec = strndup((const char *)(exec.value ? exec.value : (const uint8_t *)""), exec.value_bytes);
    spec->binds = strings_copy((const char *const *)i->binds);
    spec->caps = strings_copy((const char *const *)i->caps);
    if (!spec->exec || !spec->binds || !spec->caps)
        return err_set(err, ENOMEM, "no memory for the spec of %s", w->snapshot);
    return 0;
}

static int prepare(struct instance_work *w, struct err *err)
{
    struct instance_spec spec = {0};
    int r = spec_of_image(w, &spec, err);
    if (r == 0)
        r = instance_dirs_prepare(w->instance->agent_fd, w->instance->fd, &spec, err);
    instance_spec_free(&spec);
    return r;
}

static int read_spec(struct instance_work *w, struct err *err)
{
    int r = instance_read_current(w->instance->fd, &w->spec);
    return r < 0 && r != -ENOENT ? err_sys(err, -r, "cannot read instance/current/spec") : 0;
}

static int commit(struct instance_work *w, struct err *err)
{
    OWNED_SPEC spec = {0};
    int r = instance_read_current(w->instance->fd, &spec);
    if (r < 0)
        return err_sys(err, -r, "cannot read instance/current/spec");
    spec.committed = true;
    spec.wanted = w->wanted;
    memcpy(spec.snapshot, w->snapshot, sizeof(spec.snapshot));
    memcpy(spec.slot, w->slot, sizeof(spec.slot));
    return instance_dirs_commit(w->instance->fd, &spec, err);
}

static void run(struct worker_job *job)
{
    struct instance_work *w = CONTAINER_OF(job, struct instance_work, job);
    struct instance *i = w->instance;
    struct err *err = &w->reason;
    switch (w->work) {
    case WORK_PREPARE:
        w->result = prepare(w, err);
        break;
    case WORK_SWITCH:
        w->result = instance_dirs_switch(i->fd, err);
        if (w->result == 0)
            w->result = read_spec(w, err);
        break;
    case WORK_COMMIT:
    case WORK_WANT:
        w->result = commit(w, err);
        break;
    case WORK_ROLLBACK:
        w->result = instance_dirs_recover(i->fd, err);
        if (w->result == 0)
            w->result = read_spec(w, err);
        break;
    case WORK_REMOVE:
        w->result = instance_dirs_remove(i->fd, err);
        break;
    case WORK_KILL:
        w->result = runtime_delete(i->runtime.path, w->id, err);
        break;
    }
}

/* ---- on the loop's ---- */

static void done(struct worker_job *job)
{
    struct instance_work *w = CONTAINER_OF(job, struct instance_work, job);
    struct instance *i = w->instance;
    w->queued = false;
    if (w->spec.exec) {
        instance_spec_free(&i->spec);
        i->spec = w->spec;
        w->spec = (struct instance_spec){0};
    }
    if (w->work == WORK_REMOVE && w->result == 0)
        instance_spec_free(&i->spec);
    struct err reason = w->reason;
    struct machine_event event = {
        .kind = EVENT_WORK, .work = w->work, .result = w->result, .reason = &reason};
    instance_feed(i, &event);
}

void instance_work_put(struct instance *i, enum machine_work work)
{
    struct instance_work *w = work == WORK_KILL ? &i->kill : &i->work;
    const struct instance_state *of = work == WORK_PREPARE ? &i->machine.load : &i->machine.state;
    w->instance = i;
    w->work = work;
    w->queued = true;
    w->job.run = run;
    w->job.done = done;
    w->result = 0;
    w->reason = (struct err){0};
    w->image = of->image;
    memcpy(w->snapshot, of->snapshot, sizeof(w->snapshot));
    memcpy(w->slot, i->slot, sizeof(w->slot));
    memcpy(w->id, i->spec.id, sizeof(w->id));
    w->wanted = i->machine.wanted;
    worker_put(i->worker, &w->job);
}

static void sweep_run(struct worker_job *job)
{
    struct instance *i = CONTAINER_OF(job, struct instance, sweep);
    instance_dirs_sweep(i->fd);
}

static void sweep_done(struct worker_job *job)
{
    struct instance *i = CONTAINER_OF(job, struct instance, sweep);
    i->sweeping = false;
    if (i->sweep_again)
        instance_sweep_put(i);
}

void instance_sweep_put(struct instance *i)
{
    i->sweep_again = i->sweeping;
    if (i->sweeping)
        return;
    i->sweeping = true;
    i->sweep.run = sweep_run;
    i->sweep.done = sweep_done;
    worker_put(i->sweeper, &i->sweep);
}
