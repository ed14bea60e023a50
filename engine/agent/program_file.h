/*
 * A program's file as the kernel would judge it at execve(2): an ELF file (elf(5)) or a script, and which
 * loader or interpreter it names. Reads the file; everything in it is hostile.
 */
#ifndef AGENT_PROGRAM_FILE_H
#define AGENT_PROGRAM_FILE_H

#include <limits.h>

#include "base/err.h"

enum program_kind {
    PROGRAM_UNKNOWN, /* neither: ENOEXEC, unless binfmt_misc knows it */
    PROGRAM_FOREIGN, /* an ELF file of another machine */
    PROGRAM_ELF,
    PROGRAM_SCRIPT,
};

struct program_file {
    enum program_kind kind;
    char interpreter[PATH_MAX]; /* what it needs beside itself; "" for a static program */
};

/* Blocks. 0 or -errno. */
int program_file_read(int fd, struct program_file *out) MUST_CHECK;

#endif
