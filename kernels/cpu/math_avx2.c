/* AVX2 and FMA. One accumulator of eight lanes per output, so the order of additions never depends
 * on the blocking; a tile of 4 weight rows by 3 activation rows fills twelve registers, and 8 by 1
 * keeps enough chains in flight to stream weights for a single row. Fold: halves, then quarters,
 * then the pair.
 *
 * accumulate: outputs along the lanes, terms in ascending order; a tile of 16 columns by 4 rows
 * stays in registers for all terms, single rows take 8 terms at a time over all columns so that
 * weights are read in long runs. */
#include "kernels/cpu/math.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/cpu/math_rows.h"

#define TILE static inline __attribute__((always_inline))

TILE __m256 load_eight(const void *bytes, size_t at, bool is_bf16)
{
    if (!is_bf16) return _mm256_loadu_ps((const float *)bytes + at);
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)((const uint16_t *)bytes + at));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

TILE float fold(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

/* n_w by n_x outputs; both are constants where this is inlined, so the loops unroll. */
TILE void dot_tile(struct rows out, struct panel w, struct rows x, size_t k, size_t i, size_t j,
                   const int n_w, const int n_x, const bool is_bf16)
{
    __m256 sum[12];
    for (int t = 0; t < n_w * n_x; t++) sum[t] = _mm256_setzero_ps();
    const float *from = x.values + j * x.stride;
    size_t at = i * w.stride;
    for (size_t c = 0; c < k; c += LANES) {
        __m256 v[3];
        for (int b = 0; b < n_x; b++) v[b] = _mm256_loadu_ps(from + (size_t)b * x.stride + c);
        for (int a = 0; a < n_w; a++) {
            __m256 weights = load_eight(w.bytes, at + (size_t)a * w.stride + c, is_bf16);
            for (int b = 0; b < n_x; b++)
                sum[a * n_x + b] = _mm256_fmadd_ps(weights, v[b], sum[a * n_x + b]);
        }
    }
    for (int a = 0; a < n_w; a++)
        for (int b = 0; b < n_x; b++)
            out.values[(j + (size_t)b) * out.stride + i + (size_t)a] = fold(sum[a * n_x + b]);
}

TILE void dot_any(struct rows out, struct panel w, struct rows x, size_t k, const bool is_bf16)
{
    size_t i = 0, n_w = (size_t)w.n_rows, n_x = (size_t)x.n;
    for (; n_x == 1 && i + 8 <= n_w; i += 8) dot_tile(out, w, x, k, i, 0, 8, 1, is_bf16);
    for (; i + 4 <= n_w; i += 4) {
        size_t j = 0;
        for (; j + 3 <= n_x; j += 3) dot_tile(out, w, x, k, i, j, 4, 3, is_bf16);
        if (j + 2 <= n_x) {
            dot_tile(out, w, x, k, i, j, 4, 2, is_bf16);
            j += 2;
        }
        if (j < n_x) dot_tile(out, w, x, k, i, j, 4, 1, is_bf16);
    }
    for (; i < n_w; i++)
        for (size_t j = 0; j < n_x; j++) dot_tile(out, w, x, k, i, j, 1, 1, is_bf16);
}

static void avx2_dot(struct rows out, struct panel w, struct rows x, size_t k)
{
    if (w.is_bf16)
        dot_any(out, w, x, k, true);
    else
        dot_any(out, w, x, k, false);
}

/* 16 columns from c of n_x rows from j, over all terms. */
TILE void accumulate_tile(struct rows out, struct panel w, struct rows h, size_t c, size_t j,
                          const int n_x, const bool is_bf16)
{
    __m256 low[4], high[4];
    for (int b = 0; b < n_x; b++) {
        const float *to = out.values + (j + (size_t)b) * out.stride + c;
        low[b] = _mm256_loadu_ps(to);
        high[b] = _mm256_loadu_ps(to + LANES);
    }
    for (size_t f = 0; f < (size_t)w.n_rows; f++) {
        __m256 first = load_eight(w.bytes, f * w.stride + c, is_bf16);
        __m256 second = load_eight(w.bytes, f * w.stride + c + LANES, is_bf16);
        for (int b = 0; b < n_x; b++) {
            __m256 factor = _mm256_broadcast_ss(h.values + (j + (size_t)b) * h.stride + f);
            low[b] = _mm256_fmadd_ps(factor, first, low[b]);
            high[b] = _mm256_fmadd_ps(factor, second, high[b]);
        }
    }
    for (int b = 0; b < n_x; b++) {
        float *to = out.values + (j + (size_t)b) * out.stride + c;
        _mm256_storeu_ps(to, low[b]);
        _mm256_storeu_ps(to + LANES, high[b]);
    }
}

/* n_f terms from f for one row over all columns. */
TILE void accumulate_terms(float *to, struct panel w, const float *h, size_t f, const int n_f,
                           int n_columns, const bool is_bf16)
{
    __m256 factor[8];
    for (int t = 0; t < n_f; t++) factor[t] = _mm256_broadcast_ss(h + f + (size_t)t);
    for (size_t c = 0; c < (size_t)n_columns; c += LANES) {
        __m256 sum = _mm256_loadu_ps(to + c);
        for (int t = 0; t < n_f; t++)
            sum = _mm256_fmadd_ps(
                factor[t], load_eight(w.bytes, (f + (size_t)t) * w.stride + c, is_bf16), sum);
        _mm256_storeu_ps(to + c, sum);
    }
}

TILE void accumulate_any(struct rows out, struct panel w, struct rows h, int n_columns,
                         const bool is_bf16)
{
    size_t j = 0, n_x = (size_t)h.n, f = 0, n_f = (size_t)w.n_rows;
    if (n_x >= 4)
        for (size_t c = 0; c < (size_t)n_columns; c += 2 * LANES)
            for (j = 0; j + 4 <= n_x; j += 4) accumulate_tile(out, w, h, c, j, 4, is_bf16);
    for (; f + 8 <= n_f; f += 8)
        for (size_t b = j; b < n_x; b++)
            accumulate_terms(out.values + b * out.stride, w, h.values + b * h.stride, f, 8,
                             n_columns, is_bf16);
    for (; f < n_f; f++)
        for (size_t b = j; b < n_x; b++)
            accumulate_terms(out.values + b * out.stride, w, h.values + b * h.stride, f, 1,
                             n_columns, is_bf16);
}

static void avx2_accumulate(struct rows out, struct panel w, struct rows h, int n_columns)
{
    if (w.is_bf16)
        accumulate_any(out, w, h, n_columns, true);
    else
        accumulate_any(out, w, h, n_columns, false);
}

const struct cpu_math cpu_math_avx2 = {
    .name = "avx2",
    .dot = avx2_dot,
    .accumulate = avx2_accumulate,
    .reads_bf16 = true,
    .decode = row_decode,
    .decode_kv = row_decode_kv,
    .norm = row_norm,
    .silu_product = row_silu_product,
    .exp_sum = row_exp_sum,
};

#endif
