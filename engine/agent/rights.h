/*
 * Whose rights this process has: root's, or those of an ordinary user who is root of a user namespace of his
 * own (user_namespaces(7)). There overlays can be mounted and containers started, but every file is the
 * user's, trusted.* attributes are not to be had, and device nodes cannot be made.
 */
#ifndef AGENT_RIGHTS_H
#define AGENT_RIGHTS_H

#include <stdbool.h>

#include "base/err.h"

/* An ordinary user's process gets its namespace; for root nothing is done. While it has one thread. */
int rights_take(struct err *err) MUST_CHECK;
bool rights_are_roots(void);

#endif
