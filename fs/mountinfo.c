#include "mountinfo.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { FIELD_MOUNTPOINT = 4 }; /* id, parent, major:minor, root, mount point */

static bool is_octal(const char *s)
{
    for (int i = 0; i < 3; i++)
        if (s[i] < '0' || s[i] > '7')
            return false;
    return true;
}

/* Whether the field, in which space, tab, newline and backslash are \ooo, is that path. */
static bool is_path(const char *field, size_t len_bytes, const char *path)
{
    size_t i = 0;
    while (i < len_bytes) {
        char c = field[i];
        if (c == '\\' && len_bytes - i >= 4 && is_octal(field + i + 1)) {
            c = (char)(((field[i + 1] - '0') << 6) | ((field[i + 2] - '0') << 3) | (field[i + 3] - '0'));
            i += 4;
        } else {
            i++;
        }
        if (*path++ != c)
            return false;
    }
    return *path == '\0';
}

int mountinfo_line(const char *line, const char *path, char *out, size_t room)
{
    const char *at = line;
    for (int i = 0; i < FIELD_MOUNTPOINT; i++) {
        at = strchr(at, ' ');
        if (!at)
            return -EINVAL;
        at++;
    }
    if (!is_path(at, strcspn(at, " \n"), path))
        return -ENOENT;
    at = strstr(at, " - "); /* optional fields end so */
    if (!at)
        return -EINVAL;
    at += 3;
    size_t len_bytes = strcspn(at, " \n");
    if (len_bytes == 0 || len_bytes >= room)
        return -EINVAL;
    memcpy(out, at, len_bytes);
    out[len_bytes] = '\0';
    return 0;
}

int mountinfo_type(const char *path, char *out, size_t room)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    OWNED char *line = NULL;
    size_t line_room = 0;
    int result = -ENOENT;
    if (!file)
        return -errno;
    while (getline(&line, &line_room, file) > 0)
        if (mountinfo_line(line, path, out, room) == 0)
            result = 0; /* the last is on top */
    (void)fclose(file);
    return result;
}
