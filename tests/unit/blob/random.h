/* Bytes that look random and are the same everywhere: splitmix64. */
#ifndef TEST_BLOB_RANDOM_H
#define TEST_BLOB_RANDOM_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline void random_fill(uint64_t seed, uint8_t *bytes, size_t len_bytes)
{
    uint64_t word = 0;
    for (size_t i = 0; i < len_bytes; i++) {
        if (i % 8 == 0)
            word = random_next(&seed);
        bytes[i] = (uint8_t)(word >> (8 * (i % 8)));
    }
}

#endif
