/* `bladefs --fsck STORE`: the check of a store that no controller uses, as a command. */
#ifndef FS_FSCK_H
#define FS_FSCK_H

/* What was found goes to stdout, how far it is to stderr if that is a terminal. Returns the exit code, as
 * fsck(8) has them: 0 nothing is wrong, 1 what was wrong was repaired, 4 something is lost, 8 it could not be
 * checked. */
int fsck_command(const char *store);

#endif
