/* bladed's command line. Pure but for the usage text. */
#ifndef AGENT_OPTIONS_H
#define AGENT_OPTIONS_H

#include <stdbool.h>

#include "base/err.h"

#define OPTIONS_KEEP_DEFAULT 2
#define OPTIONS_KEEP_MAX 1000

struct options {
    char host[256]; /* a name or an address, without brackets */
    char port[6];
    const char *key_file, *dir, *runtime; /* of argv; `runtime` NULL: not given */
    unsigned keep;
    const char **binds, **caps; /* owned arrays, NULL-terminated, of argv's strings */
    bool verbose;
    bool help, version; /* nothing else counts then */
};

/* -EINVAL with a sentence. Changes the order of nothing in argv. */
int options_parse(int argc, char **argv, struct options *out, struct err *err) MUST_CHECK;
void options_free(struct options *options);

/* "HOST:PORT" or "[V6]:PORT", the port a number from 1 to 65,535. */
int options_address(const char *text, char host[256], char port[6], struct err *err) MUST_CHECK;

extern const char options_usage[];

#endif
