/* Whether two trees are the same in everything that an image keeps: type, mode, owner, size, mtime, link
 * structure, targets, device numbers, xattrs, content and where the holes are. */
#ifndef TESTS_TREECMP_H
#define TESTS_TREECMP_H

#include <stdbool.h>

struct treecmp_options {
    bool root_attributes; /* compare mode and owner of the two top directories too */
    bool skip_nlink_of_dirs;
};

/* Compares everything below the directories `a` and `b`. True when they are equal; else the first difference
 * is in `why` (512 bytes) with its path. */
bool treecmp(int a, int b, const struct treecmp_options *options, char why[512]);

#endif
