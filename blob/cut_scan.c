#include "cut_scan.h"

#include <string.h>

/* Within the loop, not a call: content made to pass the first hash nearly everywhere asks for it so often. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* The golden ratio's bits, odd: the top bits of the product depend on all of the four bytes. */
#define FACTOR 0x9E3779B1u
/* So that no run of equal bytes, zeros above all, is a run of places for the second hash to look at. */
#define SUMMAND 0x80000000u
#define FIRST_LIMIT (UINT32_C(1) << (32 - CUT_FIRST_BITS))

/* One load, not a call: a byte costs little more than that. */
static inline uint32_t word_before(const uint8_t *place)
{
    uint32_t word;
    memcpy(&word, place - sizeof(word), sizeof(word));
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? word : __builtin_bswap32(word);
}

static inline bool first_says(const uint8_t *place)
{
    return word_before(place) * FACTOR + SUMMAND < FIRST_LIMIT;
}

static inline bool second_says(const uint8_t *place, unsigned bits)
{
    return XXH3_64bits(place - CUT_WINDOW_BYTES, CUT_WINDOW_BYTES) >> (64 - bits) == 0;
}

size_t cut_scan_plain(const uint8_t *bytes, size_t at, size_t end, unsigned bits)
{
    for (; at < end; at++)
        if (first_says(bytes + at) && second_says(bytes + at, bits))
            return at;
    return 0;
}

#if defined(__x86_64__)
#define STEP_BYTES 32

/* The hashes of eight places, four bytes apart. */
__attribute__((target("avx2"))) static inline __m256i firsts(const uint8_t *at)
{
    __m256i words = _mm256_loadu_si256((const __m256i *)(const void *)at);
    return _mm256_add_epi32(_mm256_mullo_epi32(words, _mm256_set1_epi32((int)FACTOR)),
                            _mm256_set1_epi32((int)SUMMAND));
}

__attribute__((target("avx2"))) size_t cut_scan_avx2(const uint8_t *bytes, size_t at, size_t end,
                                                     unsigned bits)
{
    const __m256i most = _mm256_set1_epi32((int)FIRST_LIMIT - 1);
    for (; at + STEP_BYTES <= end; at += STEP_BYTES) {
        const uint8_t *from = bytes + at - 4;
        __m256i least = _mm256_min_epu32(_mm256_min_epu32(firsts(from), firsts(from + 1)),
                                         _mm256_min_epu32(firsts(from + 2), firsts(from + 3)));
        if (_mm256_testz_si256(_mm256_cmpeq_epi32(_mm256_min_epu32(least, most), least),
                               _mm256_set1_epi32(-1)))
            continue;
        size_t found = cut_scan_plain(bytes, at, at + STEP_BYTES, bits);
        if (found)
            return found;
    }
    return cut_scan_plain(bytes, at, end, bits);
}
#endif

cut_scan cut_scan_best(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return cut_scan_avx2;
#endif
    return cut_scan_plain;
}
