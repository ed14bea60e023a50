/*
 * Whether an arriving image is written as a layer above a held one, and on which (layer.h, images.h): the one
 * with the most equal inodes, where the file system cannot share blocks between trees and takes an overlay's
 * marks. What stays below is not read, only looked at: a type, owner, mode, size or mtime that is not the
 * image's, and it is written into the layer instead.
 */
#ifndef AGENT_RECEIVE_LAYER_H
#define AGENT_RECEIVE_LAYER_H

#include "receive_parts.h"

/* On the receive's thread, when DIR/incoming/<number> is open and before anything is written to its tree.
 * Sets r->tree.flags for a layer. What an interrupted attempt began is gone on with, or begun anew when that
 * cannot be. Blocks. */
int receive_layer_choose(struct receive *r, struct err *err) MUST_CHECK;
/* After tree_skeleton: a character device 0:0 for each name of the base that is gone. */
int receive_layer_whiteouts(struct receive *r, struct err *err) MUST_CHECK;
void receive_layer_free(struct receive *r);

#endif
