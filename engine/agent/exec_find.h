/*
 * Finds what an instance is to run in its tree, before anything is started, so that what is wrong can be told
 * in its own words. Looks up as the kernel would inside the container: every path, symlink and interpreter is
 * resolved below `root` (openat2(2), RESOLVE_IN_ROOT). Reads the tree; blocks.
 */
#ifndef AGENT_EXEC_FIND_H
#define AGENT_EXEC_FIND_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"
#include "exec_words.h"

#define EXEC_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum exec_kind {
    EXEC_NOTHING, /* no command line and no /sbin/init: there is nothing to start */
    EXEC_PROGRAM, /* under a small init as pid 1 */
    EXEC_INIT,    /* an init that wants to be pid 1 itself */
    EXEC_SYSTEMD, /* the same, and it wants more: see oci_config.h */
};

struct exec_plan {
    enum exec_kind kind;
    struct exec_words words; /* the whole command; at least one unless NOTHING */
};

/*
 * `command`: of `.bladefs/exec`, may be empty. `binds`: "SRC:DST", NULL-terminated or NULL: what lies below a
 * DST is on the host and not looked at. Errors are sentences that begin with the program's path: -ENOENT,
 * -EACCES, -ENOEXEC, -EINVAL for the command line, ... The caller frees the plan.
 */
int exec_find(int root, const char *command, char *const *binds, struct exec_plan *out,
              struct err *err) MUST_CHECK;
void exec_plan_free(struct exec_plan *plan);

#endif
