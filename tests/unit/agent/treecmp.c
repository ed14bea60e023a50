#include "treecmp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"

#define PIECE_BYTES (1u << 16)

struct pair {
    ino_t a, b;
};

struct compare {
    const struct treecmp_options *options;
    char *why;
    struct pair *links; /* of files with several names */
    size_t link_count, link_cap;
};

PRINTF_LIKE(2, 0) static void write_words(char words[256], const char *fmt, va_list args)
{
    vsnprintf(words, 256, fmt, args);
}

PRINTF_LIKE(3, 4) static bool differ(struct compare *c, const char *path, const char *fmt, ...)
{
    char words[256];
    va_list args;
    va_start(args, fmt);
    write_words(words, fmt, args);
    va_end(args);
    snprintf(c->why, 512, "%.200s: %s", path, words);
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

/* The names in `fd`, sorted; (size_t)-1 on failure. */
static size_t list(int fd, char ***out)
{
    size_t count = 0, cap = 16;
    char **names = malloc(cap * sizeof(*names));
    DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir || !names) {
        free(names);
        return (size_t)-1;
    }
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (count == cap) {
            cap *= 2;
            char **more = realloc(names, cap * sizeof(*names));
            if (!more)
                break;
            names = more;
        }
        names[count++] = strdup(e->d_name);
    }
    closedir(dir);
    qsort(names, count, sizeof(*names), by_name);
    *out = names;
    return count;
}

static bool same_stat(struct compare *c, const char *path, const struct stat *a, const struct stat *b,
                      bool is_root)
{
    bool attributes = !is_root || c->options->root_attributes;
    if (attributes && a->st_mode != b->st_mode)
        return differ(c, path, "mode %o and %o", a->st_mode, b->st_mode);
    if (attributes && (a->st_uid != b->st_uid || a->st_gid != b->st_gid))
        return differ(c, path, "owner %u:%u and %u:%u", a->st_uid, a->st_gid, b->st_uid, b->st_gid);
    if (a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec)
        return differ(c, path, "mtime %lld.%09ld and %lld.%09ld", (long long)a->st_mtim.tv_sec,
                      a->st_mtim.tv_nsec, (long long)b->st_mtim.tv_sec, b->st_mtim.tv_nsec);
    if (!S_ISDIR(a->st_mode) && a->st_size != b->st_size)
        return differ(c, path, "size %lld and %lld", (long long)a->st_size, (long long)b->st_size);
    bool nlink = !S_ISDIR(a->st_mode) || !c->options->skip_nlink_of_dirs;
    if (nlink && a->st_nlink != b->st_nlink)
        return differ(c, path, "links %lu and %lu", (unsigned long)a->st_nlink, (unsigned long)b->st_nlink);
    if ((S_ISCHR(a->st_mode) || S_ISBLK(a->st_mode)) && a->st_rdev != b->st_rdev)
        return differ(c, path, "device %lx and %lx", (unsigned long)a->st_rdev, (unsigned long)b->st_rdev);
    return true;
}

static bool same_links(struct compare *c, const char *path, const struct stat *a, const struct stat *b)
{
    if (S_ISDIR(a->st_mode) || a->st_nlink < 2)
        return true;
    for (size_t i = 0; i < c->link_count; i++)
        if (c->links[i].a == a->st_ino || c->links[i].b == b->st_ino)
            return (c->links[i].a == a->st_ino && c->links[i].b == b->st_ino) ||
                   differ(c, path, "it is linked to another file");
    if (c->link_count == c->link_cap) {
        c->link_cap = c->link_cap ? 2 * c->link_cap : 16;
        struct pair *links = realloc(c->links, c->link_cap * sizeof(*links));
        if (!links)
            return differ(c, path, "no memory");
        c->links = links;
    }
    c->links[c->link_count++] = (struct pair){a->st_ino, b->st_ino};
    return true;
}

static bool xattrs_within(struct compare *c, const char *path, const char *a, const char *b)
{
    char names[8192], va[65536], vb[65536];
    ssize_t len = llistxattr(a, names, sizeof(names));
    if (len < 0)
        return errno == ENOTSUP || differ(c, path, "listing xattrs: %s", strerror(errno));
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
        ssize_t na = lgetxattr(a, names + at, va, sizeof(va));
        ssize_t nb = lgetxattr(b, names + at, vb, sizeof(vb));
        if (nb < 0)
            return differ(c, path, "xattr %s: only one has it", names + at);
        if (na != nb || memcmp(va, vb, (size_t)na) != 0)
            return differ(c, path, "xattr %s has other values", names + at);
    }
    return true;
}

static bool same_bytes(struct compare *c, const char *path, int a, int b, off_t from, off_t to)
{
    static char pa[PIECE_BYTES], pb[PIECE_BYTES];
    while (from < to) {
        size_t want = to - from < (off_t)PIECE_BYTES ? (size_t)(to - from) : PIECE_BYTES;
        ssize_t na = pread(a, pa, want, from), nb = pread(b, pb, want, from);
        if (na <= 0 || na != nb || memcmp(pa, pb, (size_t)na) != 0)
            return differ(c, path, "content differs behind byte %lld", (long long)from);
        from += na;
    }
    return true;
}

/* The same pieces of data with the same bytes; what is a hole in both need not be read. */
static bool same_content(struct compare *c, const char *path, int a, int b)
{
    for (off_t at = 0;;) {
        off_t x = lseek(a, at, SEEK_DATA), y = lseek(b, at, SEEK_DATA);
        if (x != y)
            return differ(c, path, "data begins at %lld and %lld", (long long)x, (long long)y);
        if (x < 0)
            return errno == ENXIO || differ(c, path, "SEEK_DATA: %s", strerror(errno));
        off_t end = lseek(a, x, SEEK_HOLE), other = lseek(b, x, SEEK_HOLE);
        if (end != other)
            return differ(c, path, "a hole begins at %lld and %lld", (long long)end, (long long)other);
        if (end <= x || !same_bytes(c, path, a, b, x, end))
            return end > x ? false : differ(c, path, "SEEK_HOLE: %s", strerror(errno));
        at = end;
    }
}

static bool compare_dirs(struct compare *c, const char *path, int a, int b);

static bool compare_entry(struct compare *c, const char *path, int a, int b, const char *name, bool is_root)
{
    struct stat sa, sb;
    if (fstatat(a, name, &sa, AT_SYMLINK_NOFOLLOW) < 0 || fstatat(b, name, &sb, AT_SYMLINK_NOFOLLOW) < 0)
        return differ(c, path, "stat: %s", strerror(errno));
    char xa[512], xb[512];
    snprintf(xa, sizeof(xa), "/proc/self/fd/%d/%s", a, name);
    snprintf(xb, sizeof(xb), "/proc/self/fd/%d/%s", b, name);
    if (!same_stat(c, path, &sa, &sb, is_root) || !same_links(c, path, &sa, &sb) ||
        !xattrs_within(c, path, xa, xb) || !xattrs_within(c, path, xb, xa))
        return false;
    if (S_ISLNK(sa.st_mode)) {
        char ta[4096], tb[4096];
        ssize_t na = readlinkat(a, name, ta, sizeof(ta)), nb = readlinkat(b, name, tb, sizeof(tb));
        if (na < 0 || na != nb || memcmp(ta, tb, (size_t)na) != 0)
            return differ(c, path, "other targets");
    }
    if (!S_ISREG(sa.st_mode) && !S_ISDIR(sa.st_mode))
        return true;
    OWNED_FD fa = openat(a, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
    OWNED_FD fb = openat(b, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
    if (fa < 0 || fb < 0)
        return differ(c, path, "open: %s", strerror(errno));
    if (S_ISREG(sa.st_mode))
        return same_content(c, path, fa, fb);
    return is_root || compare_dirs(c, path, fa, fb);
}

static bool compare_below(struct compare *c, const char *path, int a, int b, const char *name)
{
    size_t len = strlen(path) + strlen(name) + 2;
    char *below = malloc(len);
    if (!below)
        return differ(c, path, "no memory");
    snprintf(below, len, "%s/%s", path, name);
    bool same = compare_entry(c, below, a, b, name, false);
    free(below);
    return same;
}

static bool compare_dirs(struct compare *c, const char *path, int a, int b)
{
    char **na = NULL, **nb = NULL;
    size_t ca = list(a, &na), cb = list(b, &nb);
    bool same = ca != (size_t)-1 && cb != (size_t)-1;
    if (!same)
        differ(c, path, "cannot be listed");
    for (size_t i = 0; same && (i < ca || i < cb); i++) {
        int order = i >= ca ? 1 : i >= cb ? -1 : strcmp(na[i], nb[i]);
        if (order != 0) {
            same = differ(c, path, "only %s has %.200s", order < 0 ? "the first" : "the second",
                          order < 0 ? na[i] : nb[i]);
            break;
        }
        same = compare_below(c, path, a, b, na[i]);
    }
    if (ca != (size_t)-1)
        free_names(na, ca);
    if (cb != (size_t)-1)
        free_names(nb, cb);
    return same;
}

bool treecmp(int a, int b, const struct treecmp_options *options, char why[512])
{
    static const struct treecmp_options usual = {0};
    struct compare c = {.options = options ? options : &usual, .why = why};
    why[0] = '\0';
    bool same = compare_entry(&c, "", a, b, ".", true) && compare_dirs(&c, "", a, b);
    free(c.links);
    return same;
}
