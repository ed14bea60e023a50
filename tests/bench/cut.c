/*
 * Cutting by itself, in memory, on one core: GB/s of each way that this processor has, of the worst content
 * for it, and of a chunk's id beside it. Prints a line a figure.
 *
 *   cut [FILE]   on 256 MiB of the file's bytes (again and again), or of random ones
 *   cut --short  8 MiB: only to see that it works
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "blob/cut.h"
#include "blob/id.h"
#include "cut_scan.h"

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void say(const char *what, size_t len, double began)
{
    printf("%-28s %6.2f GB/s\n", what, (double)len / (seconds() - began) / 1e9);
}

static size_t cut_all(cut_scan scan, const uint8_t *bytes, size_t len)
{
    size_t count = 0;
    for (size_t at = 0; at < len; count++)
        at += cut_with(scan, bytes + at, len - at);
    return count;
}

static void cut_each_way(const uint8_t *bytes, size_t len, const char *content)
{
    char what[64];
    cut_scan ways[] = {cut_scan_best(), cut_scan_plain};
    static const char *const names[] = {"best way", "a byte at a time"};
    (void)cut_all(ways[0], bytes, len); /* memory that was just filled is slow once */
    for (size_t i = 0; i < 2; i++) {
        double began = seconds();
        size_t count = cut_all(ways[i], bytes, len);
        snprintf(what, sizeof(what), "%s, %s", names[i], content);
        say(what, len, began);
        if (i == 0)
            printf("%-28s %6zu bytes\n", "  a chunk", len / count);
    }
}

/*
 * Four bytes, again and again, that three of four places pass the first hash with; the second one never lets
 * them be cut. No four bytes have all four places, as a search of all 2^32 showed.
 */
#define WORST_WORD 0x0c5e90ceu

static void fill_worst(uint8_t *bytes, size_t len)
{
    unsigned passes = 0;
    for (unsigned turn = 0; turn < 4; turn++) {
        uint32_t word = WORST_WORD >> 8 * turn | (turn ? WORST_WORD << (32 - 8 * turn) : 0);
        passes += word * 0x9E3779B1u + 0x80000000u < UINT32_C(1) << (32 - CUT_FIRST_BITS);
    }
    printf("worst: %u of 4 places\n", passes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(WORST_WORD >> 8 * (i % 4));
}

int main(int argc, char **argv)
{
    bool is_short = argc > 1 && strcmp(argv[1], "--short") == 0;
    size_t len = is_short ? 8u << 20 : 256u << 20, have = 0;
    OWNED uint8_t *bytes = malloc(len);
    if (!bytes)
        return 1;
    OWNED_FILE file = argc > 1 && !is_short ? fopen(argv[1], "r") : NULL;
    while (file && have < len) {
        size_t n = fread(bytes + have, 1, len - have, file);
        have += n;
        if (n == 0 && (have == 0 || fseek(file, 0, SEEK_SET) != 0))
            return 1;
    }
    uint64_t x = 1;
    for (; have < len; have++) {
        x = x * UINT64_C(6364136223846793005) + 1;
        bytes[have] = (uint8_t)(x >> 56);
    }
    cut_each_way(bytes, len, file ? "the file" : "random");

    struct blob_secret secret;
    memset(&secret, 7, sizeof(secret));
    double began = seconds();
    unsigned sum = 0;
    for (size_t at = 0; at < len; at += 128u << 10) {
        struct blob_id id = blob_id_of(&secret, bytes + at, 128u << 10);
        sum += id.bytes[0];
    }
    say(sum ? "ids of 128 KiB" : "ids of 128 KiB ", len, began);

    fill_worst(bytes, len);
    cut_each_way(bytes, len, "worst");
    return 0;
}
