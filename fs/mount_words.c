#include "mount_words.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct row {
    const char *word; /* with a `=` at its end: whatever follows */
    enum mount_word kind;
};

static const struct row rows[] = {
    {"rw", MOUNT_WORD_PASSED},
    {"ro", MOUNT_WORD_PASSED},
    {"suid", MOUNT_WORD_PASSED},
    {"nosuid", MOUNT_WORD_PASSED},
    {"dev", MOUNT_WORD_PASSED},
    {"nodev", MOUNT_WORD_PASSED},
    {"exec", MOUNT_WORD_PASSED},
    {"noexec", MOUNT_WORD_PASSED},
    {"async", MOUNT_WORD_PASSED},
    {"sync", MOUNT_WORD_PASSED},
    {"dirsync", MOUNT_WORD_PASSED},
    {"noatime", MOUNT_WORD_PASSED},
    {"default_permissions", MOUNT_WORD_PASSED},
    {"auto_unmount", MOUNT_WORD_PASSED},
    {"fsname=", MOUNT_WORD_PASSED},
    {"subtype=", MOUNT_WORD_PASSED},
    {"max_read=", MOUNT_WORD_PASSED},
    {"context=", MOUNT_WORD_PASSED},
    {"fscontext=", MOUNT_WORD_PASSED},
    {"defcontext=", MOUNT_WORD_PASSED},
    {"rootcontext=", MOUNT_WORD_PASSED},
    /* Of /etc/fstab, for mount(8) and systemd. */
    {"_netdev", MOUNT_WORD_IGNORED},
    {"nofail", MOUNT_WORD_IGNORED},
    {"defaults", MOUNT_WORD_IGNORED},
    {"auto", MOUNT_WORD_IGNORED},
    {"noauto", MOUNT_WORD_IGNORED},
    {"user", MOUNT_WORD_IGNORED},
    {"user=", MOUNT_WORD_IGNORED},
    {"nouser", MOUNT_WORD_IGNORED},
    {"users", MOUNT_WORD_IGNORED},
    {"owner", MOUNT_WORD_IGNORED},
    {"group", MOUNT_WORD_IGNORED},
    {"comment=", MOUNT_WORD_IGNORED},
    {"uhelper=", MOUNT_WORD_IGNORED},
    {"helper=", MOUNT_WORD_IGNORED},
    /* Access times are those of the file system below; the kernel keeps none for FUSE. */
    {"atime", MOUNT_WORD_IGNORED},
    {"diratime", MOUNT_WORD_IGNORED},
    {"nodiratime", MOUNT_WORD_IGNORED},
    {"relatime", MOUNT_WORD_IGNORED},
    {"norelatime", MOUNT_WORD_IGNORED},
    {"strictatime", MOUNT_WORD_IGNORED},
    {"nostrictatime", MOUNT_WORD_IGNORED},
    {"lazytime", MOUNT_WORD_IGNORED},
    {"nolazytime", MOUNT_WORD_IGNORED},
    {"silent", MOUNT_WORD_IGNORED},
    {"loud", MOUNT_WORD_IGNORED},
    {"nomand", MOUNT_WORD_IGNORED},
    {"noiversion", MOUNT_WORD_IGNORED},
};

enum mount_word mount_word_kind(const char *word)
{
    if (strncmp(word, "x-", 2) == 0 || strncmp(word, "X-", 2) == 0)
        return MOUNT_WORD_IGNORED;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len_bytes = strlen(rows[i].word);
        bool has_value = rows[i].word[len_bytes - 1] == '=';
        if (has_value ? strncmp(word, rows[i].word, len_bytes) == 0 : strcmp(word, rows[i].word) == 0)
            return rows[i].kind;
    }
    return MOUNT_WORD_UNKNOWN;
}
