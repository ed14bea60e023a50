/* Capturing a source ahead of a load, on the thread of who calls: its priority is the capture's. */
#ifndef ENGINE_CAPTURE_EAGER_H
#define ENGINE_CAPTURE_EAGER_H

#include "capture_job.h"
#include "eager_plan.h"

/*
 * Does that step for the source, and gives way (EAGER_BROKEN_OFF) when a load wants to capture it.
 * EAGER_DONE: nothing was written since, and the catalog knows the image; or nothing can be done before it is
 * changed. `kept`: the next one looks only at what changes. Blocks as long as that takes; capture_cancel ends
 * it.
 */
enum eager_result capture_eager(const struct capture_parts *parts, struct engine_source *source,
                                enum eager_step step, struct capture_control *control, bool *kept);

#endif
