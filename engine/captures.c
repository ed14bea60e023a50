#include "captures.h"

#include <string.h>

#include "capture_job.h"

/* Two captures at once; one thread more, so that a source which is unchanged is answered meanwhile. */
#define CAPTURES_AT_ONCE 2
#define THREADS (CAPTURES_AT_ONCE + 1)

struct request {
    uint64_t number;
    captures_done done;
    void *arg;
    struct request *next;
};

enum job_state { JOB_NEW, JOB_LOOKED_AT, JOB_WAITS, JOB_CAPTURED };

struct job {
    struct job *next; /* the oldest first */
    char name[NAME_MAX_BYTES + 1];
    enum job_state state; /* LOOKED_AT and CAPTURED: a thread has it */
    struct capture_control control;
    struct request *requests;
};

struct captures {
    struct capture_parts parts;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct job *jobs;
    struct request *cancelled; /* to be told */
    unsigned at_work;          /* jobs in JOB_CAPTURED */
    uint64_t last_number;
    captures_made made; /* may be NULL */
    void *made_arg;
    unsigned telling; /* calls of it under way */
    pthread_cond_t told;
    bool stop;
    unsigned threads_count;
    pthread_t threads[THREADS];
};

static void job_free(struct job *job)
{
    capture_control_destroy(&job->control);
    free(job);
}

/* Under the lock. */
static void unlink_job(struct captures *c, const struct job *job)
{
    for (struct job **at = &c->jobs; *at; at = &(*at)->next)
        if (*at == job) {
            *at = job->next;
            return;
        }
}

static bool may_capture(const struct captures *c, const struct job *job)
{
    if (c->at_work >= CAPTURES_AT_ONCE)
        return false;
    for (const struct job *other = c->jobs; other; other = other->next)
        if (other->state == JOB_CAPTURED && strcmp(other->name, job->name) == 0)
            return false;
    return true;
}

static struct job *next_job(const struct captures *c)
{
    for (struct job *job = c->jobs; job; job = job->next)
        if (job->state == JOB_NEW || (job->state == JOB_WAITS && may_capture(c, job)))
            return job;
    return NULL;
}

/* `running` is held once, and that hold goes to the last one who is told. */
static void tell(const struct captures *c, struct request *requests, uint32_t running, const struct err *err)
{
    if (running && !requests)
        runnings_release(c->parts.runnings, running);
    while (requests) {
        struct request *request = requests;
        requests = request->next;
        /* It cannot fail while another hold is there. */
        bool held = running && (!requests || runnings_hold(c->parts.runnings, running) == 0);
        request->done(request->arg, held ? running : 0, err);
        free(request);
    }
}

/* The job is done: everybody who waits for it is told. The hold on `running` goes to them. */
static void finish_job(struct captures *c, struct job *job, uint32_t running, const struct err *err)
{
    struct request *requests = NULL;
    {
        HOLD_LOCK(&c->lock);
        if (job->state == JOB_CAPTURED)
            c->at_work--;
        unlink_job(c, job);
        requests = STEAL(job->requests);
        pthread_cond_broadcast(&c->work);
    }
    tell(c, requests, running, err);
    job_free(job);
}

/* Under the lock: whether the job that was looked at can be captured at once; else it waits its turn. */
static bool turn_to_capture(struct captures *c, struct job *job)
{
    HOLD_LOCK(&c->lock);
    if (!may_capture(c, job)) {
        job->state = JOB_WAITS;
        return false;
    }
    job->state = JOB_CAPTURED;
    c->at_work++;
    return true;
}

static void tell_made(struct captures *c, const char *name)
{
    captures_made made;
    void *arg;
    {
        HOLD_LOCK(&c->lock);
        made = c->made;
        arg = c->made_arg;
        c->telling += made != NULL;
    }
    if (!made)
        return;
    made(arg, name);
    HOLD_LOCK(&c->lock);
    if (--c->telling == 0)
        pthread_cond_broadcast(&c->told);
}

static void run_job(struct captures *c, struct job *job)
{
    uint32_t running = 0;
    struct err err = {0};
    int r = capture_unchanged(&c->parts, job->name, &running, &err);
    int made = r == 2;
    if (r == 0) {
        if (job->state != JOB_CAPTURED && !turn_to_capture(c, job))
            return;
        r = made = capture_run(&c->parts, job->name, &job->control, &running, &err);
    }
    const struct err none = {0};
    char name[NAME_MAX_BYTES + 1];
    memcpy(name, job->name, sizeof(name));
    finish_job(c, job, r < 0 ? 0 : running, r < 0 ? &err : &none);
    if (made > 0)
        tell_made(c, name);
}

static void *work(void *arg)
{
    struct captures *c = arg;
    for (;;) {
        struct job *job = NULL;
        struct request *cancelled = NULL;
        {
            HOLD_LOCK(&c->lock);
            while (!c->stop && !c->cancelled && !(job = next_job(c)))
                pthread_cond_wait(&c->work, &c->lock);
            if (c->stop)
                return NULL;
            cancelled = STEAL(c->cancelled);
            if (job && job->state == JOB_WAITS) {
                job->state = JOB_CAPTURED;
                c->at_work++;
            } else if (job) {
                job->state = JOB_LOOKED_AT;
            }
        }
        const struct err err = {.code = ECANCELED, .message = "cancelled"};
        tell(c, cancelled, 0, &err);
        if (job)
            run_job(c, job);
    }
}

int captures_new(struct blob_store *store, struct catalog *catalog, struct runnings *runnings,
                 struct sources *sources, int snapshots_fd, int level, struct captures **out, struct err *err)
{
    struct captures *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(err, ENOMEM, "no memory for captures");
    c->parts = (struct capture_parts){.store = store,
                                      .catalog = catalog,
                                      .runnings = runnings,
                                      .sources = sources,
                                      .snapshots_fd = snapshots_fd,
                                      .level = level};
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->work, NULL);
    pthread_cond_init(&c->told, NULL);
    for (; c->threads_count < THREADS; c->threads_count++) {
        int r = pthread_create(&c->threads[c->threads_count], NULL, work, c);
        if (r != 0) {
            captures_free(c);
            return err_sys(err, r, "cannot start a thread for captures");
        }
    }
    *out = c;
    return 0;
}

void captures_free(struct captures *c)
{
    if (!c)
        return;
    {
        HOLD_LOCK(&c->lock);
        c->stop = true;
        for (struct job *job = c->jobs; job; job = job->next)
            capture_cancel(&job->control);
        pthread_cond_broadcast(&c->work);
    }
    for (unsigned i = 0; i < c->threads_count; i++)
        pthread_join(c->threads[i], NULL);
    const struct err err = {.code = ECANCELED, .message = "the controller stops"};
    tell(c, STEAL(c->cancelled), 0, &err);
    while (c->jobs)
        finish_job(c, c->jobs, 0, &err);
    pthread_cond_destroy(&c->work);
    pthread_cond_destroy(&c->told);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void captures_watch(struct captures *c, captures_made made, void *arg)
{
    HOLD_LOCK(&c->lock);
    c->made = made;
    c->made_arg = arg;
    while (!made && c->telling > 0)
        pthread_cond_wait(&c->told, &c->lock);
}

/* Under the lock: the job of that name that a request can still join, or a new one. */
static struct job *job_for(struct captures *c, const char *wanted)
{
    /* What is no name stays empty, and fails as that; cut short it could be another's name. */
    char name[NAME_MAX_BYTES + 1] = "";
    if (name_is_valid(wanted, strlen(wanted)))
        snprintf(name, sizeof(name), "%s", wanted);
    struct job **end = &c->jobs;
    for (; *end; end = &(*end)->next) {
        const struct job *job = *end;
        if (strcmp(job->name, name) == 0 && !capture_is_late(&job->control) && job->requests)
            return *end;
    }
    struct job *job = calloc(1, sizeof(*job));
    if (!job)
        return NULL;
    capture_control_init(&job->control);
    memcpy(job->name, name, sizeof(name));
    *end = job;
    return job;
}

uint64_t captures_request(struct captures *c, const char *name, captures_done done, void *arg)
{
    struct request *request = calloc(1, sizeof(*request));
    if (!request)
        return 0;
    HOLD_LOCK(&c->lock);
    struct job *job = job_for(c, name);
    if (!job) {
        free(request);
        return 0;
    }
    *request = (struct request){.number = ++c->last_number, .done = done, .arg = arg, .next = job->requests};
    job->requests = request;
    pthread_cond_signal(&c->work);
    return request->number;
}

/* Under the lock: takes the request out of its job. */
static struct request *take_request(struct captures *c, uint64_t number, struct job **of)
{
    for (struct job *job = c->jobs; job; job = job->next)
        for (struct request **at = &job->requests; *at; at = &(*at)->next)
            if ((*at)->number == number) {
                struct request *request = *at;
                *at = request->next;
                *of = job;
                return request;
            }
    return NULL;
}

void captures_cancel(struct captures *c, uint64_t number)
{
    HOLD_LOCK(&c->lock);
    struct job *job = NULL;
    struct request *request = take_request(c, number, &job);
    if (!request)
        return;
    request->next = c->cancelled;
    c->cancelled = request;
    if (!job->requests) {
        if (job->state == JOB_NEW || job->state == JOB_WAITS) {
            unlink_job(c, job);
            job_free(job);
        } else {
            capture_cancel(&job->control);
        }
    }
    pthread_cond_signal(&c->work);
}
