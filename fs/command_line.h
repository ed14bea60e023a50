/* The command line of bladefs. */
#ifndef FS_COMMAND_LINE_H
#define FS_COMMAND_LINE_H

#include <stdbool.h>

#include "base/err.h"
#include "fuse_api.h"

enum { OPTION_USERS_DEFAULT, OPTION_USERS_ALL, OPTION_USERS_AND_ROOT, OPTION_USERS_OWN };

struct options {
    char *store;      /* absolute; owned, as are the others */
    char *mountpoint; /* as given */
    char *listen_host, *listen_port;
    int foreground, debug, nonempty, remount_stale, no_eager, no_passthrough, io_uring, fsck, help, version;
    int users;               /* who may use the mount: one of OPTION_USERS_..., the last one that was said */
    bool fake;               /* mount -f: nothing is done */
    unsigned max_read_bytes; /* 0: libfuse's own */
    unsigned keep_runnings;  /* of a name; 0: all */
    struct fuse_args args;   /* what is libfuse's */

    /* As they stand on the command line. */
    char *listen, *keep, *fence;
};

/* -EINVAL with the sentence. Pure but for the working directory. */
int options_parse(int argc, char **argv, struct options *out, struct err *err) MUST_CHECK;
void options_free(struct options *options);
void options_usage(FILE *to);

/*
 * Splits "HOST:PORT" ("[ADDRESS]:PORT" for IPv6) into two new strings. -EINVAL: neither, or no port of 0 to
 * 65535.
 */
int listen_parse(const char *text, char **host, char **port) MUST_CHECK;

#endif
