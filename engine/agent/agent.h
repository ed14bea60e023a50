/* The agent: what comes over the connection is done to the images and the instance, and what becomes of them
 * is told. On the loop's thread. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "base/err.h"
#include "base/loop.h"
#include "options.h"
#include "wire/key.h"

struct agent;

/* `dirfd`, `dir`: the agent's directory, locked by the caller, and its absolute path. All are borrowed.
 * Blocks. */
int agent_new(struct loop *loop, const struct options *options, const struct wire_key *key, int dirfd,
              const char *dir, struct agent **out, struct err *err) MUST_CHECK;
/* After loop_run, before loop_free: ends what is under way; the instance goes on. Blocks shortly. */
void agent_stop(struct agent *agent);
void agent_free(struct agent *agent); /* after loop_free */

#endif
