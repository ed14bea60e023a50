/* Runs every file of a directory through a fuzz target: what fuzzing found once is tried in every test run.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/fdio.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

#define INPUT_MAX_BYTES (16u << 20)

static int replay(int dirfd, const char *name)
{
    OWNED_BUF struct buf input = BUF_EMPTY;
    int r = file_read(dirfd, name, INPUT_MAX_BYTES, &input);
    if (r < 0) {
        fprintf(stderr, "%s: %s\n", name, strerror(-r));
        return r;
    }
    /* Memory of its exact size, so that a sanitizer sees a read of one byte too many. */
    OWNED uint8_t *exact = malloc(input.len_bytes ? input.len_bytes : 1);
    if (!exact)
        return -ENOMEM;
    if (input.len_bytes)
        memcpy(exact, input.bytes, input.len_bytes);
    return LLVMFuzzerTestOneInput(exact, input.len_bytes) == 0 ? 0 : -EIO;
}

int main(int argc, char **argv)
{
    OWNED_DIR dir = argc == 2 ? opendir(argv[1]) : NULL;
    if (!dir) {
        fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
        return 2;
    }
    unsigned count = 0;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        if (replay(dirfd(dir), entry->d_name) < 0)
            return 1;
        count++;
    }
    printf("%u inputs\n", count);
    return count > 0 ? 0 : 1;
}
