/*
 * What it costs to read all files of a tree and do nothing else: prints the processor time in ms, user and
 * system. read_tree DIR
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define PIECE_BYTES (256u << 10)

static char *piece;

static int read_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)at;
    if (type != FTW_F || !S_ISREG(st->st_mode))
        return 0;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n;
    while ((n = read(fd, piece, PIECE_BYTES)) == (ssize_t)PIECE_BYTES)
        ;
    close(fd);
    return n < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
    piece = malloc(PIECE_BYTES);
    if (argc != 2 || !piece || nftw(argv[1], read_file, 64, FTW_PHYS) != 0) {
        perror("read_tree DIR");
        return 1;
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%ld\n", (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
                        (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000);
    return 0;
}
