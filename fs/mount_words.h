/* The words of -o that are neither bladefs' own nor passed over: for whom they are. */
#ifndef FS_MOUNT_WORDS_H
#define FS_MOUNT_WORDS_H

enum mount_word {
    MOUNT_WORD_UNKNOWN,
    MOUNT_WORD_PASSED,  /* libfuse knows it */
    MOUNT_WORD_IGNORED, /* of mount(8), fstab or systemd; or what is so here anyway */
};

enum mount_word mount_word_kind(const char *word);

#endif
