/* Where to mount: checked before anything is started, so that the reason for a refusal is clear. */
#ifndef FS_MOUNTPOINT_H
#define FS_MOUNTPOINT_H

#include <stdbool.h>

#include "base/err.h"

/* The absolute path of a directory that can be mounted on; `*out` is the caller's to free. */
int mountpoint_check(const char *path, bool may_be_full, char **out, struct err *err) MUST_CHECK;

#endif
