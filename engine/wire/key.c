/* The key line of a slot. */
#include "wire/key.h"

#include <stdbool.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#define HINT "copy the slot's key file (blades/<slot>/key) again, whole"
#define ID_RANDOM_BYTES 8

static const char digits[] = "0123456789abcdef";

static void hex_put(const unsigned char *raw, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[raw[i] >> 4];
        out[2 * i + 1] = digits[raw[i] & 15];
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_get(const char *hex, size_t n, unsigned char *out)
{
    int bad = 0;
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
        bad |= high | low; /* negative when one is no digit */
        out[i] = (unsigned char)((unsigned)high << 4 | (unsigned)low);
    }
    return bad >= 0;
}

static bool id_ok(const char *id, size_t len)
{
    if (len == 0 || len > WIRE_KEY_ID_BYTES)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = id[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-')
            return false;
    }
    return true;
}

int wire_key_make(const char *id, struct wire_key *out, struct err *err)
{
    struct wire_key key = {0};
    if (id) {
        if (!id_ok(id, strnlen(id, WIRE_KEY_ID_BYTES + 1)))
            return err_set(err, EINVAL, "a slot's id has 1 to %d of the letters a-z, 0-9 and '-'",
                           WIRE_KEY_ID_BYTES);
        memcpy(key.id, id, strlen(id));
    } else {
        unsigned char raw[ID_RANDOM_BYTES];
        if (RAND_bytes(raw, sizeof(raw)) != 1)
            return err_set(err, EIO, "the system gives no random numbers, so no key can be made");
        memcpy(key.id, "b-", 2);
        hex_put(raw, sizeof(raw), key.id + 2);
    }
    if (RAND_priv_bytes(key.secret, sizeof(key.secret)) != 1)
        return err_set(err, EIO, "the system gives no random numbers, so no key can be made");
    *out = key;
    OPENSSL_cleanse(&key, sizeof(key));
    return 0;
}

void wire_key_format(const struct wire_key *key, char out[WIRE_KEY_LINE_BYTES + 1])
{
    size_t id_len = strnlen(key->id, WIRE_KEY_ID_BYTES);
    memset(out, 0, WIRE_KEY_LINE_BYTES + 1);
    memcpy(out, key->id, id_len);
    out[id_len] = ' ';
    hex_put(key->secret, sizeof(key->secret), out + id_len + 1);
    out[id_len + 1 + 2 * sizeof(key->secret)] = '\n';
}

int wire_key_parse(const char *line, size_t len_bytes, struct wire_key *out, struct err *err)
{
    if (len_bytes > 0 && line[len_bytes - 1] == '\n')
        len_bytes--;
    const char *space = len_bytes ? memchr(line, ' ', len_bytes) : NULL;
    size_t id_len = space ? (size_t)(space - line) : 0;
    if (!space || !id_ok(line, id_len))
        return err_set(err, EINVAL,
                       "this is no key line: it does not begin with a slot's id and a space; " HINT);
    size_t hex_len = len_bytes - id_len - 1;
    if (hex_len != 2 * (size_t)WIRE_KEY_SECRET_BYTES)
        return err_set(err, EINVAL, "the key of slot id %.*s has %zu digits, not %d; " HINT, (int)id_len,
                       line, hex_len, 2 * WIRE_KEY_SECRET_BYTES);
    struct wire_key key = {0};
    memcpy(key.id, line, id_len);
    bool good = hex_get(space + 1, sizeof(key.secret), key.secret);
    if (good)
        *out = key;
    OPENSSL_cleanse(&key, sizeof(key));
    return good ? 0
                : err_set(err, EINVAL,
                          "the key of slot id %.*s has something else than 0-9 and a-f in it; " HINT,
                          (int)id_len, line);
}
