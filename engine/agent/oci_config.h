/*
 * The config.json of an instance's bundle (OCI runtime specification, config.md and config-linux.md, 1.0).
 * The defaults are those that Docker gives a container (moby, oci/defaults.go), but for the network, which is
 * the host's, and seccomp, which is left out. Nothing of the image is covered or edited but /proc, /sys and
 * /dev (and /run for systemd): /etc/resolv.conf and /etc/hosts are the image's own. Pure.
 */
#ifndef AGENT_OCI_CONFIG_H
#define AGENT_OCI_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Where the small init is seen in the container: /dev is the container's own tmpfs, so no change of the tree.
 */
#define OCI_INIT_PATH "/dev/.blade-init"
#define OCI_NOFILE 1048576u

enum oci_cgroups {
    OCI_CGROUPS_NONE, /* nothing is mounted on /sys/fs/cgroup here */
    OCI_CGROUPS_V1,   /* or the hybrid of both */
    OCI_CGROUPS_V2,
};

struct oci_config {
    const char *root;     /* path of the root directory, in the runtime's mount namespace */
    char *const *args;    /* NULL-terminated, at least one */
    const char *init;     /* the host's static init, put before args; NULL: args[0] is pid 1 itself */
    bool systemd;         /* tmpfs on /run and /run/lock, cgroups writable, container=oci */
    const char *slot;     /* host name and BLADE_SLOT; may be "" */
    const char *snapshot; /* BLADE_SNAPSHOT */
    char *const *binds;   /* "SRC:DST", both absolute; NULL-terminated or NULL */
    char *const *caps;    /* "CAP_..." or without the CAP_, beyond the defaults; NULL-terminated or NULL */
    enum oci_cgroups cgroups; /* what the host has */
    bool of_user;             /* root of a user namespace starts it: no more than he may is asked for */
    uint64_t nofile;          /* soft and hard */
};

/* The text, owned by the caller. -EINVAL for a bind or a capability that is none, with the sentence. */
int oci_config_json(const struct oci_config *config, char **out, struct err *err) MUST_CHECK;

/* Checks "SRC:DST"; on success `dst` is a view of its second half. */
int oci_bind_parse(const char *bind, size_t *src_bytes, const char **dst, struct err *err) MUST_CHECK;

#endif
