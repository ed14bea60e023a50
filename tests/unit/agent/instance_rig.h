/* What the tests of real instances share: an agent's directory in /tmp with images of a busybox tree, a loop,
 * and what the instance told. */
#ifndef TESTS_INSTANCE_RIG_H
#define TESTS_INSTANCE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>

#include "base/buf.h"
#include "instance.h"

struct rig {
    char dir[PATH_MAX];
    int dirfd;
    struct loop *loop;
    struct images *images;
    struct instance *instance;
    struct instance_options options;
    struct buf output;
    unsigned changes;
    bool done;
    int result;
    struct err err;
    struct loop_op tick;
};

/* NULL-terminated reason why such tests cannot run here, or NULL. */
const char *rig_cannot(void);

int rig_setup(void **state);
int rig_teardown(void **state);

/* An image of a tree with /bin/busybox, `sh` and the usual links, and this command line. */
void rig_image(struct rig *rig, uint64_t number, const char *exec);
/* The path of a file in the pristine tree of an image. */
void rig_tree_path(struct rig *rig, uint64_t number, const char *name, char out[PATH_MAX]);
void rig_put(struct rig *rig, uint64_t number, const char *name, const char *text, mode_t mode);

void rig_open(struct rig *rig);  /* images and instance */
void rig_close(struct rig *rig); /* as when bladed is killed: what runs goes on */

/* Turns the loop until `is` says so; false after 10 s. */
bool rig_wait(struct rig *rig, bool (*is)(struct rig *rig));
bool rig_sees(struct rig *rig, const char *text); /* waits for it in the output */
bool rig_reaches(struct rig *rig, enum wire_phase phase);

int rig_load(struct rig *rig, uint64_t image, const char *snapshot);
int rig_run(struct rig *rig, enum wire_verb verb);
enum wire_phase rig_phase(const struct rig *rig);

/* The pid of the supervisor of this rig's instance, 0: none; and how many containers of it there are. */
pid_t rig_supervisor(const struct rig *rig);
unsigned rig_containers(const struct rig *rig);

#endif
