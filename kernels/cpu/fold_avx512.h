/* The tree by which sixteen lanes along k become one sum, four sums at a time. Included by the files
 * of the AVX-512 tables only. */
#ifndef KERNELS_CPU_FOLD_AVX512_H
#define KERNELS_CPU_FOLD_AVX512_H

#include <immintrin.h>
#include <stddef.h>

#define TILE static inline __attribute__((always_inline))

enum { LANES_512 = 16, QUAD = 4 };

/* Lane i of the result is the sum of v[i]'s lanes: within each quarter (0 + 2) + (1 + 3), then
 * quarters likewise. */
TILE __m128 fold_four(const __m512 *v)
{
    __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    __m512 c = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE));
    __m256 d = _mm256_add_ps(_mm512_castps512_ps256(c), _mm512_extractf32x8_ps(c, 1));
    return _mm_add_ps(_mm256_castps256_ps128(d), _mm256_extractf128_ps(d, 1));
}

/* Weights that no cache holds arrive fastest as one stream, a row after the other, asked for so many
 * bytes ahead (34 GB/s per thread where eight rows side by side gave 26; large pages 40). */
enum { AHEAD_BYTES = 8192 };

/* Sums of a tile, by rows of w and of x. Loops over it must nest: compilers unroll one of at most 16
 * rounds, and what is not unrolled lies in memory. */
typedef __m512 tile_sums[QUAD][6];

TILE void tile_clear(tile_sums sum, const int n_w, const int n_x)
{
    for (int a = 0; a < n_w; a++)
        for (int b = 0; b < n_x; b++) sum[a][b] = _mm512_setzero_ps();
}

/* The n_w by n_x sums to out; n_w is 1 or 4. */
TILE void tile_store(float *out, size_t stride, tile_sums sum, const int n_w, const int n_x)
{
    for (int b = 0; b < n_x; b++) {
        __m512 four[QUAD];
        for (int a = 0; a < QUAD; a++) four[a] = sum[n_w == 1 ? 0 : a][b];
        __m128 folded = fold_four(four);
        if (n_w == 1)
            _mm_store_ss(out + (size_t)b * stride, folded);
        else
            _mm_storeu_ps(out + (size_t)b * stride, folded);
    }
}

/* Asks for `n_bytes` at `from`, line by line. */
TILE void lines_ask(const char *from, size_t n_bytes)
{
    for (size_t line = 0; line < n_bytes; line += 64) _mm_prefetch(from + line, _MM_HINT_T0);
}

#endif
