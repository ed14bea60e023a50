/*
 * What an instance is to run, and how, in two files of the same form (JSON, so that a person can read it
 * too): `spec` is what was acknowledged, and durable; `start` is of one start, written by bladed for the
 * supervisor, and loses nothing when a power loss takes it.
 */
#ifndef AGENT_INSTANCE_SPEC_H
#define AGENT_INSTANCE_SPEC_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/names.h"

#define INSTANCE_LOWERS_MAX 8
#define INSTANCE_LOWER_BYTES 64
#define INSTANCE_BOOT_ID_BYTES 40
#define INSTANCE_ID_BYTES 64

struct instance_spec {
    uint64_t image;
    char snapshot[RUNNING_NAME_MAX_BYTES + 1];
    char slot[NAME_MAX_BYTES + 1];
    bool committed; /* its load was acknowledged, or is about to be; else a restart undoes the switch */
    bool wanted;    /* it runs again after the machine's restart */
    char boot_id[INSTANCE_BOOT_ID_BYTES]; /* of the last start */
    uint64_t start;                       /* counts the starts */
    uint32_t restarts;
    char id[INSTANCE_ID_BYTES]; /* the container's, of this start */
    char *exec;                 /* the command line as the image says; owned, never NULL */
    unsigned lower_count;       /* uppermost first, relative to DIR */
    char lowers[INSTANCE_LOWERS_MAX][INSTANCE_LOWER_BYTES];
    char runtime[PATH_MAX]; /* the OCI runtime's path */
    char init[PATH_MAX];    /* the static init's on this host */
    char **binds, **caps;   /* NULL-terminated, owned; NULL: none */
};

#define INSTANCE_SPEC "spec"
#define INSTANCE_START "start"

/* dirfd: the instance's directory. -ENOENT, -EBADMSG (damaged, or of a newer version), -ENOMEM. The caller
 * frees `out`. */
int instance_spec_read(int dirfd, const char *name, struct instance_spec *out) MUST_CHECK;
/* With `durable` it survives power loss; without, a crash may leave the old one or none. */
int instance_spec_write(int dirfd, const char *name, const struct instance_spec *spec,
                        bool durable) MUST_CHECK;
void instance_spec_free(struct instance_spec *spec);
#define OWNED_SPEC __attribute__((cleanup(instance_spec_free))) struct instance_spec

/* A copy of a NULL-terminated list (NULL: an empty one), to be freed with strings_free. NULL: no memory. */
char **strings_copy(const char *const *list);
void strings_free(char **list);

#endif
