/* Where to mount: checked before anything is started, so that the reason for a refusal is clear. */
#ifndef FS_MOUNTPOINT_H
#define FS_MOUNTPOINT_H

#include <stdbool.h>

#include "base/err.h"

struct mountpoint_wish {
    bool may_be_full; /* -o nonempty */
    bool takes_stale; /* -o remount_stale */
};

/*
 * The absolute path of a directory that can be mounted on; `*path` is the caller's to free. `*stale`: a
 * bladefs that died is still mounted there, and that is to be taken over.
 */
int mountpoint_check(const char *given, const struct mountpoint_wish *wish, char **path, bool *stale,
                     struct err *err) MUST_CHECK;
/* Takes the stale mount away. To be called with the store locked: then no other controller mounts there. */
int mountpoint_take_over(const char *path, const struct mountpoint_wish *wish, struct err *err) MUST_CHECK;

#endif
