/*
 * The OCI runtime that starts instances: runc or crun, whichever is installed and works here. Whether it
 * works is found out by starting a container with it, once for each boot and each binary; DIR/runtime
 * remembers.
 */
#ifndef AGENT_RUNTIME_H
#define AGENT_RUNTIME_H

#include <limits.h>

#include "base/err.h"
#include "oci_config.h"

/* Where the runtimes keep what they know of our containers: gone at boot, and short. */
#define RUNTIME_ROOT "/run/bladefs"
/* Where this process' is: that, or for who is not root DIR/run. */
const char *runtime_root(void);
/* Once at the start, when the agent's directory is known. */
int runtime_root_below(const char *dir, struct err *err) MUST_CHECK;
#define RUNTIME_TIMEOUT_MS 60000

struct runtime {
    char path[PATH_MAX];
    char version[96];
    char init[PATH_MAX]; /* a static tini or catatonit of this host */
};

/*
 * `dir`: the agent's directory, absolute, and its fd. `named`: --runtime, a path or a name, or NULL. -ENOENT
 * with the sentence: what was tried, and what each said. Blocks, for 0.2 s or so the first time.
 */
int runtime_find(int dirfd, const char *dir, const char *named, struct runtime *out,
                 struct err *err) MUST_CHECK;

/* Kills what is left of a container and forgets it; unknown is success. Blocks. */
int runtime_delete(const char *runtime, const char *id, struct err *err) MUST_CHECK;

/* Deletes every container of ours whose id begins with `prefix`. Blocks. */
void runtime_delete_all(const char *runtime, const char *prefix);

/* What is mounted on /sys/fs/cgroup. */
enum oci_cgroups runtime_cgroups(void);

/* OCI_NOFILE, or the hard limit of this process where that is lower. */
uint64_t runtime_nofile(void);

/* "d0b5a4b0-...": which boot of this machine it is; "" when the kernel does not say. */
void runtime_boot_id(char out[40]);

#endif
