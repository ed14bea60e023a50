/*
 * Eager capture: what is written to source snapshots is cut, compressed and stored in the background, at the
 * lowest priority, so that a load finds the work done. One thread; eager_plan.h decides when.
 */
#ifndef ENGINE_EAGER_H
#define ENGINE_EAGER_H

#include "capture_job.h"

struct eager;

/* `parts` is copied, what it names is borrowed. Also takes up what a restart finds neither captured nor
 * prepared. */
int eager_new(const struct capture_parts *parts, struct eager **out, struct err *err) MUST_CHECK;
/* Breaks off what is under way, and joins the thread. NULL: nothing happens. */
void eager_free(struct eager *eager);

/* Sources that were changed and are not captured yet. */
size_t eager_pending(struct eager *eager);

#endif
