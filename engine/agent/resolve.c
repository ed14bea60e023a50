#include "resolve.h"

#include <string.h>
#include <sys/socket.h>

#include "base/container.h"

struct resolve {
    struct loop *loop;
    struct loop_task task;
    resolve_done done;
    void *arg;
    char *host, *port;
    int result; /* getaddrinfo's */
    struct addrinfo *addresses;

    pthread_mutex_t lock;
    bool abandoned, posted;
};

static void resolve_free(struct resolve *r)
{
    pthread_mutex_destroy(&r->lock);
    free(r->host);
    free(r->port);
    free(r);
}

static void finished(struct loop_task *task)
{
    struct resolve *r = CONTAINER_OF(task, struct resolve, task);
    bool abandoned;
    {
        HOLD_LOCK(&r->lock); /* the thread has let go of it after this */
        abandoned = r->abandoned;
    }
    struct err err = {0};
    int result = 0;
    if (r->result)
        result = err_set(&err, EIO, "cannot resolve %.200s: %s", r->host, gai_strerror(r->result));
    struct addrinfo *addresses = r->addresses;
    resolve_done done = r->done;
    void *arg = r->arg;
    resolve_free(r);
    if (!abandoned)
        done(arg, result, addresses, &err);
    else if (addresses)
        freeaddrinfo(addresses);
}

static void *resolve_main(void *arg)
{
    struct resolve *r = arg;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    r->result = getaddrinfo(r->host, r->port, &hints, &r->addresses);
    pthread_mutex_lock(&r->lock);
    bool abandoned = r->abandoned;
    if (!abandoned) {
        r->posted = true;
        loop_post(r->loop, &r->task);
    }
    pthread_mutex_unlock(&r->lock);
    if (abandoned) {
        if (r->result == 0)
            freeaddrinfo(r->addresses);
        resolve_free(r);
    }
    return NULL;
}

int resolve_start(struct loop *loop, const char *host, const char *port, resolve_done done, void *arg,
                  struct resolve **out, struct err *err)
{
    struct resolve *r = calloc(1, sizeof(*r));
    if (!r)
        return err_set(err, ENOMEM, "no memory to resolve the controller's name");
    *r = (struct resolve){.loop = loop,
                          .task = {.run = finished},
                          .done = done,
                          .arg = arg,
                          .host = strdup(host),
                          .port = strdup(port)};
    pthread_mutex_init(&r->lock, NULL);
    pthread_t thread;
    int result = r->host && r->port ? -pthread_create(&thread, NULL, resolve_main, r) : -ENOMEM;
    if (result < 0) {
        resolve_free(r);
        return err_sys(err, -result, "cannot start a thread");
    }
    pthread_detach(thread);
    *out = r;
    return 0;
}

void resolve_abandon(struct resolve *resolve)
{
    HOLD_LOCK(&resolve->lock);
    resolve->abandoned = true;
}
