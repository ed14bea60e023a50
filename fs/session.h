/* The FUSE session: mounted, served by threads, ended in order. */
#ifndef FS_SESSION_H
#define FS_SESSION_H

#include "fs.h"

struct session;

/*
 * Mounts. `args` are libfuse's own options. `mountpoint` is absolute. The signals TERM, INT and HUP must be
 * blocked in every thread already.
 */
int session_open(struct fs *fs, struct fuse_args *args, const char *mountpoint, struct session **out,
                 struct err *err) MUST_CHECK;
/*
 * Serves until somebody unmounts, or TERM, INT or HUP comes; then what waits was answered with EINTR and what
 * was written through mappings is in the store. 0, or -errno when the session itself failed.
 */
int session_serve(struct session *session) MUST_CHECK;
/* Unmounts, if that is still to do. No request comes after it, and those that wait may still be answered. */
void session_unmount(struct session *session);
void session_free(struct session *session);

/* libfuse's `init`: what the kernel is asked for. */
void session_init(void *userdata, struct fuse_conn_info *conn);

#endif
