/*
 * The instance's directories on disk, and how one instance takes the place of another so that a crash at any
 * moment leaves the one or the other. Everything is a rename within DIR/instance:
 *
 *   prepare    next is made, its spec not committed
 *   switch     previous -> older, current -> previous, next -> current
 *   commit     current/spec becomes committed, older is thrown away
 *   roll back  current is thrown away, previous -> current, older -> previous
 *
 * What is thrown away becomes gone-<number> at once and is deleted by instance_dirs_sweep, which may take
 * long. All of it blocks; it is run on a worker, but for the first recovery.
 */
#ifndef AGENT_INSTANCE_DIRS_H
#define AGENT_INSTANCE_DIRS_H

#include "base/err.h"
#include "instance_spec.h"

/* `agent_fd`: DIR; `fd`: DIR/instance. Makes next of the spec, whose lowers may grow (overlay_make). */
int instance_dirs_prepare(int agent_fd, int fd, struct instance_spec *spec, struct err *err) MUST_CHECK;
int instance_dirs_switch(int fd, struct err *err) MUST_CHECK;
int instance_dirs_commit(int fd, const struct instance_spec *spec, struct err *err) MUST_CHECK;

/* Undoes a switch that was not committed, from whatever point it had reached; otherwise does nothing. */
int instance_dirs_recover(int fd, struct err *err) MUST_CHECK;
/* True when that would take `current` away: then what runs in it must be stopped first. */
bool instance_dirs_is_uncommitted(int fd);

/* Throws all of it away. */
int instance_dirs_remove(int fd, struct err *err) MUST_CHECK;
void instance_dirs_sweep(int fd);

#endif
