/*
 * The tree of an instance: an overlay (Documentation/filesystems/overlayfs.rst) of an image's pristine tree
 * and what the instance wrote.
 *
 *   current/upper, work     what it wrote, and the kernel's own
 *   current/skeleton        the lowest layer: the directories that mounts need and the image has not (/proc,
 *                           /sys, /dev, --bind's), so that making them is no change of the tree
 *   current/merged          where the supervisor mounts it, in a mount namespace of its own
 */
#ifndef AGENT_OVERLAY_H
#define AGENT_OVERLAY_H

#include "base/err.h"
#include "instance_spec.h"

/*
 * Makes the directories below `instance_fd` (empty). The upper's root takes the mtime and xattrs of the
 * image's, and is root 0755. The skeleton is added to spec->lowers, as "instance/current/skeleton", if it is
 * needed. `agent_fd`: DIR. Blocks shortly.
 */
int overlay_make(int agent_fd, int instance_fd, struct instance_spec *spec, struct err *err) MUST_CHECK;

/*
 * Mounts DIR/instance/current/merged in the caller's mount namespace. Changes the working directory to DIR.
 * Waits up to 2 s for an overlay of the same upper that is still being taken down.
 *
 * The options: index=on, so that hard links stay links when one is written; redirect_dir=on, so that a
 * directory of the image can be renamed (off: EXDEV); metacopy=off, so that an upper file is whole;
 * xino=auto, for st_ino that stay should the layers be on two file systems.
 */
int overlay_mount(int agent_fd, const struct instance_spec *spec, struct err *err) MUST_CHECK;

#endif
