#include "options.h"

#include <ctype.h>
#include <string.h>

const char options_usage[] =
    "bladed -c HOST:PORT -k KEYFILE -d DIR [options]\n"
    "The agent of a blade: it dials the controller, takes the images that are loaded here and runs them.\n"
    "\n"
    "  -c, --controller HOST:PORT  the controller; an IPv6 address as [ADDRESS]:PORT\n"
    "  -k, --key KEYFILE           what `cat blades/SLOT/key` printed there, readable by root only\n"
    "  -d, --dir DIR               where images and the instance live; made when it is not there\n"
    "      --runtime CMD           the OCI runtime (default: the first of runc, crun that works)\n"
    "      --keep N                images kept beside the current one (default 2)\n"
    "      --bind SRC:DST          a directory of this machine that every instance sees as DST; may come "
    "again\n"
    "      --cap CAP               a capability beyond the usual ones, as CAP_NET_ADMIN; may come again\n"
    "  -v, --verbose               log more\n"
    "      --help, --version\n"
    "\n"
    "It stays in the foreground and logs to stderr. TERM or INT end it; what runs here goes on.\n";

int options_address(const char *text, char host[256], char port[6], struct err *err)
{
    const char *colon = strrchr(text, ':');
    const char *from = text, *to = colon;
    if (colon && text[0] == '[') {
        from = text + 1;
        to = colon - 1;
        if (to < from || *to != ']')
            colon = NULL;
    } else if (colon && memchr(text, ':', (size_t)(colon - text))) {
        return err_set(err, EINVAL, "-c %.200s: write an IPv6 address as [ADDRESS]:PORT", text);
    }
    if (!colon || to == from || to - from > 255)
        return err_set(err, EINVAL, "-c %.200s: that is no HOST:PORT", text);
    unsigned number = 0;
    size_t digits = strspn(colon + 1, "0123456789");
    for (size_t i = 0; i < digits && i < 6; i++)
        number = number * 10 + (unsigned)(colon[1 + i] - '0');
    if (digits == 0 || digits > 5 || colon[1 + digits] || number == 0 || number > 65535)
        return err_set(err, EINVAL, "-c %.200s: the port is a number from 1 to 65535", text);
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = '\0';
    snprintf(port, 6, "%u", number);
    return 0;
}

static int check_keep(const char *text, unsigned *out, struct err *err)
{
    unsigned n = 0;
    size_t digits = strspn(text, "0123456789");
    for (size_t i = 0; i < digits && i < 5; i++)
        n = n * 10 + (unsigned)(text[i] - '0');
    if (digits == 0 || digits > 4 || text[digits] || n > OPTIONS_KEEP_MAX)
        return err_set(err, EINVAL, "--keep %.100s: that is no number from 0 to %d", text, OPTIONS_KEEP_MAX);
    *out = n;
    return 0;
}

static int check_bind(const char *text, struct err *err)
{
    const char *colon = strchr(text, ':');
    if (text[0] != '/' || !colon || colon[1] != '/' || strchr(colon + 1, ':') || colon[2] == '\0')
        return err_set(err, EINVAL, "--bind %.200s: that is no SRC:DST of two absolute paths", text);
    return 0;
}

static int check_cap(const char *text, struct err *err)
{
    bool good = strncmp(text, "CAP_", 4) == 0 && text[4];
    for (const char *p = text; good && *p; p++)
        good = isupper((unsigned char)*p) || isdigit((unsigned char)*p) || *p == '_';
    return good ? 0 : err_set(err, EINVAL, "--cap %.100s: that is no name as CAP_NET_ADMIN", text);
}

static void append(const char **list, const char *text)
{
    while (*list)
        list++;
    *list = text;
}

enum option { CONTROLLER, KEY, DIR_, RUNTIME, KEEP, BIND, CAP, VERBOSE, HELP, VERSION };

static const struct row {
    const char *name, *brief;
    enum option option;
    bool has_value;
} rows[] = {
    {"--controller", "-c", CONTROLLER, true},
    {"--key", "-k", KEY, true},
    {"--dir", "-d", DIR_, true},
    {"--runtime", NULL, RUNTIME, true},
    {"--keep", NULL, KEEP, true},
    {"--bind", NULL, BIND, true},
    {"--cap", NULL, CAP, true},
    {"--verbose", "-v", VERBOSE, false},
    {"--help", "-h", HELP, false},
    {"--version", "-V", VERSION, false},
};

/* Finds the option of `argv[*at]` and its value: behind '=', behind the letter, or the next word. */
static const struct row *next_option(int argc, char **argv, int *at, const char **value, struct err *err)
{
    const char *word = argv[(*at)++];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        size_t len = strlen(row->name);
        *value = NULL;
        if (strncmp(word, row->name, len) == 0 && (word[len] == '\0' || word[len] == '='))
            *value = word[len] == '=' ? word + len + 1 : NULL;
        else if (row->brief && strncmp(word, row->brief, 2) == 0 && (row->has_value || word[2] == '\0'))
            *value = word[2] ? word + 2 : NULL;
        else
            continue;
        if (!row->has_value && *value) {
            err_set(err, EINVAL, "%s takes no value", row->name);
            return NULL;
        }
        if (row->has_value && !*value && *at < argc)
            *value = argv[(*at)++];
        if (row->has_value && (!*value || !**value)) {
            err_set(err, EINVAL, "%.100s needs a value; try --help", row->name);
            return NULL;
        }
        return row;
    }
    err_set(err, EINVAL, "unknown option %.100s; try --help", word);
    return NULL;
}

static int take(struct options *o, const struct row *row, const char *value, struct err *err)
{
    int r = 0;
    switch (row->option) {
    case CONTROLLER:
        return options_address(value, o->host, o->port, err);
    case KEY:
        o->key_file = value;
        return 0;
    case DIR_:
        o->dir = value;
        return 0;
    case RUNTIME:
        o->runtime = value;
        return 0;
    case KEEP:
        return check_keep(value, &o->keep, err);
    case BIND:
        r = check_bind(value, err);
        if (r == 0)
            append(o->binds, value);
        return r;
    case CAP:
        r = check_cap(value, err);
        if (r == 0)
            append(o->caps, value);
        return r;
    case VERBOSE:
        o->verbose = true;
        return 0;
    case HELP:
        o->help = true;
        return 0;
    case VERSION:
        o->version = true;
        return 0;
    }
    return err_set(err, EINVAL, "unknown option; try --help");
}

static int check_all(const struct options *o, struct err *err)
{
    if (o->help || o->version)
        return 0;
    if (!o->host[0])
        return err_set(err, EINVAL, "-c HOST:PORT of the controller is missing; try --help");
    if (!o->key_file)
        return err_set(err, EINVAL, "-k KEYFILE is missing; try --help");
    if (!o->dir)
        return err_set(err, EINVAL, "-d DIR is missing; try --help");
    return 0;
}

int options_parse(int argc, char **argv, struct options *out, struct err *err)
{
    size_t words = argc > 0 ? (size_t)argc : 1;
    struct options o = {.keep = OPTIONS_KEEP_DEFAULT};
    o.binds = calloc(words + 1, sizeof(*o.binds));
    o.caps = calloc(words + 1, sizeof(*o.caps));
    int r = 0;
    if (!o.binds || !o.caps) {
        err_set(err, ENOMEM, "no memory for the options");
        r = -ENOMEM;
    }
    for (int at = 1; r == 0 && at < argc;) {
        const char *value = NULL;
        const struct row *row = next_option(argc, argv, &at, &value, err);
        r = row ? take(&o, row, value ? value : "", err) : -EINVAL;
    }
    if (r == 0)
        r = check_all(&o, err);
    if (r < 0) {
        options_free(&o);
        return r;
    }
    *out = o;
    return 0;
}

void options_free(struct options *options)
{
    free(options->binds);
    free(options->caps);
    *options = (struct options){0};
}
