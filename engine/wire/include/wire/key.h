/* The key file of a slot: one line, the slot's permanent id, a space, 32 bytes of secret in hex. Pure. */
#ifndef WIRE_KEY_H
#define WIRE_KEY_H

#include "base/err.h"

#define WIRE_KEY_ID_BYTES 24 /* at most; [a-z0-9-], without the NUL */
#define WIRE_KEY_SECRET_BYTES 32
#define WIRE_KEY_LINE_BYTES (WIRE_KEY_ID_BYTES + 1 + 2 * WIRE_KEY_SECRET_BYTES + 1)

struct wire_key {
    char id[WIRE_KEY_ID_BYTES + 1];
    unsigned char secret[WIRE_KEY_SECRET_BYTES];
};

/* Makes a key with the system's random numbers. `id` NULL: a new id too. */
int wire_key_make(const char *id, struct wire_key *out, struct err *err) MUST_CHECK;
/* With the newline and a NUL. */
void wire_key_format(const struct wire_key *key, char out[WIRE_KEY_LINE_BYTES + 1]);
/* With or without a newline at the end. -EINVAL: it is no key line; the sentence never shows the secret. */
int wire_key_parse(const char *line, size_t len_bytes, struct wire_key *out, struct err *err) MUST_CHECK;

#endif
