/*
 * A stand-in for blob's capture, which takes flat directories of small text files, and tells the test when it
 * is where. It reads what is there when it is told to, as the real one does.
 */
#ifndef TEST_FAKE_CAPTURE_H
#define TEST_FAKE_CAPTURE_H

#include "blob/capture.h"

enum fake_at { FAKE_SCAN, FAKE_RESCAN, FAKE_FINISH };

struct fake {
    void (*hook)(void *arg, enum fake_at at); /* before it reads; may be NULL */
    void *arg;
    unsigned scans, rescans, cancels; /* atomic */
    char image[512];                  /* of the last finish: "name=text;..." sorted */
};

/* What the next captures use; set while none runs. */
void fake_use(struct fake *fake);

#endif
