#include "command_line.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "mount_words.h"

#define LISTEN_DEFAULT "127.0.0.1:7420"
#define MAX_READ "max_read="

enum { KEY_HELP, KEY_VERSION, KEY_DEBUG };

#define OPTION(text, field)                                                                                  \
    {                                                                                                        \
        text, offsetof(struct options, field), 1                                                             \
    }

static const struct fuse_opt known[] = {
    OPTION("listen=%s", listen),
    OPTION("keep=%s", keep),
    OPTION("fence=%s", fence),
    OPTION("-f", foreground),
    OPTION("nonempty", nonempty),
    OPTION("remount_stale", remount_stale),
    {"allow_other", offsetof(struct options, users), OPTION_USERS_ALL},
    {"allow_root", offsetof(struct options, users), OPTION_USERS_AND_ROOT},
    {"noallow_other", offsetof(struct options, users), OPTION_USERS_OWN},
    OPTION("nopassthrough", no_passthrough),
    OPTION("noeager", no_eager),
    OPTION("io_uring", io_uring),
    OPTION("--fsck", fsck),
    FUSE_OPT_KEY("-h", KEY_HELP),
    FUSE_OPT_KEY("--help", KEY_HELP),
    FUSE_OPT_KEY("-V", KEY_VERSION),
    FUSE_OPT_KEY("--version", KEY_VERSION),
    FUSE_OPT_KEY("-d", KEY_DEBUG),
    FUSE_OPT_KEY("debug", KEY_DEBUG),
    FUSE_OPT_END,
};

static int copy_word(const char *word, char **out)
{
    *out = strdup(word);
    return *out ? 0 : -1;
}

static int take_word(struct options *options, const char *word)
{
    switch (mount_word_kind(word)) {
    case MOUNT_WORD_IGNORED:
        return 0;
    case MOUNT_WORD_PASSED:
        if (strncmp(word, MAX_READ, strlen(MAX_READ)) == 0)
            options->max_read_bytes = (unsigned)strtoul(word + strlen(MAX_READ), NULL, 10);
        return 1;
    case MOUNT_WORD_UNKNOWN:
        break;
    }
    if (strcmp(word, "remount") == 0)
        fprintf(stderr, "bladefs: the mount is changed by the kernel alone: mount -i -o remount,...\n");
    else
        fprintf(stderr, "bladefs: unknown option %s (see --help)\n", word);
    return -1;
}

/* fuse_opt_parse(3): 0 takes it, 1 leaves it for libfuse, -1 fails. */
static int take(void *data, const char *arg, int key, struct fuse_args *args)
{
    struct options *options = data;
    (void)args;
    switch (key) {
    case KEY_HELP:
        options->help = 1;
        return 0;
    case KEY_VERSION:
        options->version = 1;
        return 0;
    case KEY_DEBUG:
        options->debug = 1;
        return 0;
    case FUSE_OPT_KEY_NONOPT:
        if (!options->store)
            return copy_word(arg, &options->store);
        if (!options->mountpoint)
            return copy_word(arg, &options->mountpoint);
        fprintf(stderr, "bladefs: one argument too many: %s (see --help)\n", arg);
        return -1;
    default:
        return take_word(options, arg);
    }
}

int listen_parse(const char *text, char **host, char **port)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text)
        return -EINVAL;
    const char *from = text;
    size_t len_bytes = (size_t)(colon - text);
    if (text[0] == '[') {
        if (colon[-1] != ']' || len_bytes < 3)
            return -EINVAL;
        from++;
        len_bytes -= 2;
    } else if (memchr(text, ':', len_bytes)) {
        return -EINVAL; /* an IPv6 address without brackets */
    }
    size_t digits = strspn(colon + 1, "0123456789");
    if (digits == 0 || digits > 5 || colon[1 + digits] || strtoul(colon + 1, NULL, 10) > 65535)
        return -EINVAL;
    OWNED char *new_host = strndup(from, len_bytes);
    OWNED char *new_port = strdup(colon + 1);
    if (!new_host || !new_port)
        return -ENOMEM;
    *host = STEAL(new_host);
    *port = STEAL(new_port);
    return 0;
}

static int make_absolute(char **path, struct err *err)
{
    if ((*path)[0] == '/')
        return 0;
    OWNED char *here = getcwd(NULL, 0);
    char *whole = NULL;
    if (!here)
        return err_sys(err, errno, "cannot tell the working directory");
    if (asprintf(&whole, "%s/%s", here, *path) < 0)
        return err_set(err, ENOMEM, "no memory");
    free(*path);
    *path = whole;
    return 0;
}

static bool parse_keep(const char *text, unsigned *out)
{
    char *end = NULL;
    if (text[0] < '1' || text[0] > '9')
        return false;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    *out = (unsigned)n;
    return errno == 0 && *end == '\0' && n <= INT_MAX;
}

static int check(struct options *options, struct err *err)
{
    const char *listen = options->listen ? options->listen : LISTEN_DEFAULT;
    if (options->fsck && (!options->store || !options->store[0] || options->mountpoint))
        return err_set(err, EINVAL, "--fsck takes a store and nothing else (see --help)");
    if (options->fsck)
        return make_absolute(&options->store, err);
    if (!options->store || !options->mountpoint)
        return err_set(err, EINVAL, "%s is missing: bladefs STORE MOUNTPOINT [-f] [-o opt,...] (see --help)",
                       options->store ? "the mount point" : "the store");
    if (!options->store[0])
        return err_set(err, EINVAL, "the store's name is empty");
    if (options->fence)
        return err_set(err, EINVAL, "the option fence comes with a later release; leave it out");
    if (options->keep && !parse_keep(options->keep, &options->keep_runnings))
        return err_set(err, EINVAL, "keep=%s: a number of running snapshots is wanted, 1 or more",
                       options->keep);
    /* Measured with 3.18.3: an interrupt does not find its request, so that ^C would not end a load; and one
     * thread answers all of a processor's requests, so that an fsync holds up every stat. */
    if (options->io_uring)
        return err_set(err, EINVAL,
                       "requests over io_uring would lose the interrupts of loads: leave io_uring out");
    int r = listen_parse(listen, &options->listen_host, &options->listen_port);
    if (r < 0)
        return err_set(err, -r, "listen=%s is not HOST:PORT", listen);
    return make_absolute(&options->store, err);
}

/* Where root mounts it is for all, as any other file system is; an ordinary user's is his own until he says
 * so, and /etc/fuse.conf lets him. */
static const char *users_option(int users)
{
    if (users == OPTION_USERS_DEFAULT)
        users = geteuid() == 0 ? OPTION_USERS_ALL : OPTION_USERS_OWN;
    switch (users) {
    case OPTION_USERS_ALL:
        return "allow_other";
    case OPTION_USERS_AND_ROOT:
        return "allow_root";
    default:
        return NULL;
    }
}

/* What the mount always has; in front, so that another fsname or subtype counts. */
static int add_mount_options(struct options *options, struct err *err)
{
    char *mount = NULL;
    OWNED char *words = NULL;
    const char *users = users_option(options->users);
    int r = fuse_opt_add_opt(&mount, "default_permissions,subtype=bladefs");
    if (r == 0 && users)
        r = fuse_opt_add_opt(&mount, users);
    OWNED char *name = NULL;
    if (r == 0 && asprintf(&name, "fsname=%s", options->store) < 0)
        name = NULL;
    if (r == 0)
        r = name ? fuse_opt_add_opt_escaped(&mount, name) : -1;
    words = mount;
    if (r == 0)
        r = fuse_opt_insert_arg(&options->args, 1, "-o");
    if (r == 0)
        r = fuse_opt_insert_arg(&options->args, 2, words);
    if (r == 0 && options->debug)
        r = fuse_opt_add_arg(&options->args, "-d");
    return r == 0 ? 0 : err_set(err, ENOMEM, "no memory");
}

/*
 * As mount.bladefs it is called by mount(8): STORE MOUNTPOINT [-sfnv] [-N namespace] [-o options] [-t type].
 * There -f means that nothing is to be mounted.
 */
static int as_helper(struct options *options, struct err *err)
{
    const char *slash = strrchr(options->args.argv[0], '/');
    const char *name = slash ? slash + 1 : options->args.argv[0];
    if (strncmp(name, "mount.", 6) != 0)
        return 0;
    struct fuse_args rest = {0};
    int argc = options->args.argc;
    char *const *argv = options->args.argv;
    int r = fuse_opt_add_arg(&rest, argv[0]);
    for (int i = 1; r == 0 && i < argc; i++) {
        size_t letters = argv[i][0] == '-' ? strspn(argv[i] + 1, "sfnv") : 0;
        if (letters && !argv[i][1 + letters])
            options->fake |= strchr(argv[i], 'f') != NULL;
        else if (strcmp(argv[i], "-t") == 0 && i + 1 < argc)
            i++;
        else
            r = fuse_opt_add_arg(&rest, argv[i]);
    }
    if (r < 0) {
        fuse_opt_free_args(&rest);
        return err_set(err, ENOMEM, "no memory");
    }
    options->args = rest;
    return 0;
}

int options_parse(int argc, char **argv, struct options *out, struct err *err)
{
    struct options options = {.args = FUSE_ARGS_INIT(argc, argv)};
    int r = as_helper(&options, err);
    if (r < 0)
        return r;
    if (fuse_opt_parse(&options.args, &options, known, take) != 0) {
        options_free(&options);
        return err_set(err, EINVAL, "%s", ""); /* the sentence is out already */
    }
    if (!options.help && !options.version) {
        r = check(&options, err);
        if (r == 0)
            r = add_mount_options(&options, err);
    }
    if (r < 0) {
        options_free(&options);
        return r;
    }
    *out = options;
    return 0;
}

void options_free(struct options *options)
{
    free(options->store);
    free(options->mountpoint);
    free(options->listen_host);
    free(options->listen_port);
    free(options->listen);
    free(options->keep);
    free(options->fence);
    fuse_opt_free_args(&options->args);
    *options = (struct options){0};
}

void options_usage(FILE *to)
{
    fputs(
        "Usage: bladefs STORE MOUNTPOINT [-f] [-d] [-o OPTION,...]\n"
        "The controller of a rack of blades, used through the filesystem that it mounts on MOUNTPOINT.\n"
        "\n"
        "  STORE                 directory of snapshots, chunks and catalog; made when it is not there\n"
        "  -f                    stay in the foreground; else the daemon's log is STORE.log beside the "
        "store\n"
        "  -d                    debug: every request on stderr; implies -f\n"
        "  -o listen=HOST:PORT   where agents dial in (" LISTEN_DEFAULT ")\n"
        "  -o keep=N             of a snapshot's running snapshots, the newest N stay (and what is in use); "
        "else all do\n"
        "  -o nonempty           mount over a directory that is not empty\n"
        "  -o remount_stale      take over a mount point whose bladefs died; else that is refused\n"
        "  -o noallow_other      for the user alone who mounts; the default where that is not root\n"
        "  -o allow_other        for every user, as modes and ACLs say; root's default\n"
        "  -o nopassthrough      reads and writes of snapshots go through this process, not around it\n"
        "  -o noeager            capture snapshots when they are loaded, not in the background before\n"
        "  -o suid,dev           let setuid bits and device nodes below the mount work on this machine\n"
        "  -o ...                ro, noexec, noatime, sync, allow_root, fsname=, subtype=, max_read=, ...: "
        "as elsewhere\n"
        "  --fsck STORE          check and repair a store that is not mounted; exit code: 0 whole, 1 "
        "repaired,\n"
        "                        4 something is lost, 8 it could not be checked\n"
        "  -h, --help            this text\n"
        "  -V, --version         the version\n",
        to);
}
