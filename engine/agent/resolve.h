/* getaddrinfo(3) on a thread of its own: it can take minutes, and the loop cannot wait. */
#ifndef AGENT_RESOLVE_H
#define AGENT_RESOLVE_H

#include <netdb.h>

#include "base/err.h"
#include "base/loop.h"

struct resolve;

/* Called once on the loop's thread, unless abandoned: 0 and the addresses (the callee's, freeaddrinfo), or
 * -EIO and the sentence. The resolve is freed by then. */
typedef void (*resolve_done)(void *arg, int result, struct addrinfo *addresses, const struct err *err);

int resolve_start(struct loop *loop, const char *host, const char *port, resolve_done done, void *arg,
                  struct resolve **out, struct err *err) MUST_CHECK;
/* Before `done` was called, on the loop's thread: it will not be. What hangs ends by itself some day. */
void resolve_abandon(struct resolve *resolve);

#endif
