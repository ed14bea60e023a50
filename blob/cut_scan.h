/*
 * Looking for a place to cut at, in two ways that find the same place: a byte at a time, and with AVX2 32 of
 * them. FORMAT.md, "Chunking", has the rule. Pure, any thread.
 *
 * A place needs little from the four bytes before it, which are multiplied, added to and compared, and much
 * from the 48 bytes before it; so the second is asked for one place in a thousand. That a rule is made for
 * vectors is from VectorCDC (Udayashankar et al., FAST 2025), that it is stricter before the normal length
 * than after it from FastCDC (Xia et al., USENIX ATC 2016); the hashes are neither's.
 */
#ifndef BLOB_CUT_SCAN_H
#define BLOB_CUT_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CUT_WINDOW_BYTES 48
#define CUT_FIRST_BITS 10 /* zero in the hash of four bytes */

/*
 * The first place from `at` to before `end` where both hashes say so, `bits` of them zero in the second one;
 * 0: there is none. There are CUT_WINDOW_BYTES before `at`, and as many bytes as `end` says.
 */
typedef size_t (*cut_scan)(const uint8_t *bytes, size_t at, size_t end, unsigned bits);

size_t cut_scan_plain(const uint8_t *bytes, size_t at, size_t end, unsigned bits);
#if defined(__x86_64__)
size_t cut_scan_avx2(const uint8_t *bytes, size_t at, size_t end,
                     unsigned bits); /* only where there is AVX2 */
#endif
/* The best that this processor has. */
cut_scan cut_scan_best(void);

size_t cut_with(cut_scan scan, const uint8_t *bytes, size_t len_bytes); /* blob_cut, in that way */

#endif
