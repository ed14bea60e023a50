/* Runs every file of the directories given through the fuzz target that it is linked with. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "base/fdio.h"
#include "fuzz.h"

#define INPUT_MAX_BYTES (64u << 20)

static int replay_file(int dirfd, const char *name)
{
    OWNED_BUF struct buf input = BUF_EMPTY;
    int r = file_read(dirfd, name, INPUT_MAX_BYTES, &input);
    if (r < 0)
        return r;
    /* A copy of its exact length, so that a sanitizer sees a byte read behind it. */
    OWNED uint8_t *bytes = malloc(input.len_bytes ? input.len_bytes : 1);
    if (!bytes)
        return -ENOMEM;
    if (input.len_bytes)
        memcpy(bytes, input.bytes, input.len_bytes);
    LLVMFuzzerTestOneInput(bytes, input.len_bytes);
    return 0;
}

static int replay_directory(const char *path)
{
    OWNED_DIR dir = opendir(path);
    if (!dir)
        return -errno;
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        int r = replay_file(dirfd(dir), entry->d_name);
        if (r < 0) {
            fprintf(stderr, "%s/%s: %s\n", path, entry->d_name, strerror(-r));
            return r;
        }
        count++;
    }
    return count;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int count = replay_directory(argv[i]);
        if (count < 0) {
            fprintf(stderr, "%s: %s\n", argv[i], strerror(-count));
            return 1;
        }
        total += count;
    }
    printf("%d inputs\n", total);
    return total > 0 ? 0 : 1; /* a corpus that is not there is a fault */
}
