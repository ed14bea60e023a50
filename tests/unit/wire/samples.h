/* Messages for the tests: one of every type as in ordinary work, and the smallest and the largest of each. */
#ifndef TEST_WIRE_SAMPLES_H
#define TEST_WIRE_SAMPLES_H

#include "wire/message.h"

#define SAMPLES 24

/* Message number `i` below SAMPLES, as tests/golden/wire/frames-v1.txt has it. What it views is constant. */
struct wire_message sample(unsigned i);

/* The message of that type with every field at its least or at its most; views are of `store`, the caller's.
 */
struct wire_message sample_extreme(enum wire_type type, bool most, struct buf *store);

#endif
