/* What is mounted where, without asking what is mounted: /proc/self/mountinfo, see proc_pid_mountinfo(5). */
#ifndef FS_MOUNTINFO_H
#define FS_MOUNTINFO_H

#include <stddef.h>

#include "base/err.h"

/* The type of what is mounted on the absolute path, on top: "ext4", "fuse.sshfs". -ENOENT: nothing is. */
int mountinfo_type(const char *path, char *out, size_t room) MUST_CHECK;
/* The same of one line: whether it is a mount on that path. */
int mountinfo_line(const char *line, const char *path, char *out, size_t room) MUST_CHECK;

#endif
