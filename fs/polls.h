/* Who polls which control file: woken when the engine says that something changed. */
#ifndef FS_POLLS_H
#define FS_POLLS_H

#include "control.h"

struct polls;

int polls_new(struct polls **out) MUST_CHECK;
void polls_free(struct polls *polls);

/* Takes `handle` over; it takes the place of an older one of that file. */
void polls_add(struct polls *polls, struct control_file *file, struct fuse_pollhandle *handle);
void polls_remove(struct polls *polls, struct control_file *file);
/* Wakes, once, everybody who polls a file of that topic; of one slot for ENGINE_SLOT. Any thread. */
void polls_wake(struct polls *polls, enum engine_topic topic, uint32_t slot);

#endif
