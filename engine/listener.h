/* The listening socket: accepts connections on the loop and gives them to its owner. The loop's thread. */
#ifndef ENGINE_LISTENER_H
#define ENGINE_LISTENER_H

#include "base/loop.h"

struct listener;

/* `fd`: a connected socket in blocking mode, the receiver's; `address`: "host:port" for people. */
typedef void (*listener_accepted)(void *arg, int fd, const char *address);

/* Binds and listens; accepts nothing before listener_start. `host` NULL: every address. A port in use gives a
 * sentence that says so. Blocks on looking the name up. */
int listener_new(struct loop *loop, const char *host, const char *port, listener_accepted accepted, void *arg,
                 struct listener **out, struct err *err) MUST_CHECK;
void listener_start(struct listener *listener);
/* Once a tick: takes up again what a lack of fds had stopped. */
void listener_tick(struct listener *listener);
/* Stops accepting; `stopped` says when nothing is under way any more. */
void listener_stop(struct listener *listener);
bool listener_stopped(const struct listener *listener);
void listener_free(struct listener *listener); /* after it has stopped; NULL is allowed */
/* The port that it got, for tests that ask for port 0. */
int listener_port(const struct listener *listener);

#endif
