/* AVX2 and FMA. One accumulator of eight lanes per output, so the order of additions never depends
 * on the blocking; a tile of 4 weight rows by 3 activation rows fills twelve registers, and 8 by 1
 * keeps enough chains in flight to stream weights for a single row. Fold: halves, then quarters,
 * then the pair.
 *
 * accumulate: outputs along the lanes, terms in ascending order; a tile of 16 columns by 6 rows
 * stays in registers for all terms, single rows take 8 terms at a time over all columns so that
 * weights are read in long runs. */
#include "kernels/cpu/math.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/cpu/integer_avx2.h"
#include "kernels/cpu/math_rows.h"
#include "kernels/cpu/rows_avx2.h"

#define TILE static inline __attribute__((always_inline))

/* Eight weights from element `at`, without row scales; INT4 times its group's scale, which is exact
 * (4 bits times 8). */
TILE __m256 load_eight(const void *bytes, size_t at, const enum weight_format format,
                       const float *scale)
{
    if (format == WEIGHT_F32) return _mm256_loadu_ps((const float *)bytes + at);
    if (format == WEIGHT_BF16) {
        const uint16_t *from = (const uint16_t *)bytes + at;
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)from);
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
    }
    if (format == WEIGHT_INT4_G128) {
        int32_t eight;
        memcpy(&eight, (const uint8_t *)bytes + at / 2, sizeof eight);
        __m256i to_top = _mm256_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0);
        __m256i code = _mm256_srai_epi32(_mm256_sllv_epi32(_mm256_set1_epi32(eight), to_top), 28);
        return _mm256_mul_ps(_mm256_cvtepi32_ps(code), _mm256_broadcast_ss(scale));
    }
    const uint8_t *from = (const uint8_t *)bytes + at;
    if (format == WEIGHT_INT8_ROW) {
        __m128i codes = _mm_loadl_epi64((const __m128i *)(const void *)from);
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
    }
    long long all;
    memcpy(&all, from, sizeof all);
    const __m256i to_top =
        _mm256_setr_epi8(-1, -1, -1, 0, -1, -1, -1, 1, -1, -1, -1, 2, -1, -1, -1, 3, -1, -1, -1, 4,
                         -1, -1, -1, 5, -1, -1, -1, 6, -1, -1, -1, 7);
    __m256i top = _mm256_shuffle_epi8(_mm256_set1_epi64x(all), to_top);
    return _mm256_castsi256_ps(
        _mm256_and_si256(_mm256_srai_epi32(top, 4), _mm256_set1_epi32((int)0x87F00000)));
}

/* FP8 shifted into place is 2^-120 of its value; its factor makes up for most of that, so that sums
 * are far from where fp32 ends on either side: what is left is FP8_UNIT. */
#define FP8_FACTOR 0x1p100f

/* Scales of rows [i, i + n_w) of a panel for the group of column c. */
TILE void scales_load(float *scale, struct panel w, size_t i, size_t c, const int n_w)
{
    size_t n_groups = (w.stride + INT4_GROUP - 1) / INT4_GROUP;
    const uint16_t *from =
        w.tiled + (i / INT4_TILE * n_groups + c / INT4_GROUP) * INT4_TILE + i % INT4_TILE;
    for (int a = 0; a < n_w; a++) scale[a] = bf16_value(from[a]);
}

TILE float fold(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

/* Asks for what comes after the eight rows at hand, in the order it lies in. */
TILE void rows_ahead(struct panel w, size_t i, size_t c, const enum weight_format format)
{
    size_t bits = format == WEIGHT_F32 ? 32 : format == WEIGHT_BF16 ? 16 : 8;
    if (format == WEIGHT_INT4_G128) bits = 4;
    const char *next = (const char *)w.bytes + ((i + 8) * w.stride + 8 * c) * bits / 8;
    for (size_t line = 0; line < 8 * bits; line += 64) _mm_prefetch(next + line, _MM_HINT_T0);
}

/* n_w by n_x outputs; both are constants where this is inlined, so the loops unroll. */
TILE void dot_tile(struct rows out, struct panel w, struct rows x, size_t k, size_t i, size_t j,
                   const int n_w, const int n_x, const enum weight_format format)
{
    __m256 sum[12];
    float scale[8] = {0};
    for (int t = 0; t < n_w * n_x; t++) sum[t] = _mm256_setzero_ps();
    const float *from = x.values + j * x.stride;
    size_t at = i * w.stride, block = format == WEIGHT_INT4_G128 ? INT4_GROUP : k;
    for (size_t first = 0; first < k; first += block) {
        size_t end = k - first < block ? k : first + block;
        if (format == WEIGHT_INT4_G128) scales_load(scale, w, i, first, n_w);
        for (size_t c = first; c < end; c += LANES) {
            __m256 v[3];
            for (int b = 0; b < n_x; b++) v[b] = _mm256_loadu_ps(from + (size_t)b * x.stride + c);
            if (n_w == 8) rows_ahead(w, i, c, format);
            for (int b = 0; b < n_x && format == WEIGHT_FP8_ROW; b++)
                v[b] = _mm256_mul_ps(v[b], _mm256_set1_ps(FP8_FACTOR));
            for (int a = 0; a < n_w; a++) {
                size_t place = at + (size_t)a * w.stride + c;
                __m256 weights = load_eight(w.bytes, place, format, scale + a);
                for (int b = 0; b < n_x; b++)
                    sum[a * n_x + b] = _mm256_fmadd_ps(weights, v[b], sum[a * n_x + b]);
            }
        }
    }
    for (int a = 0; a < n_w; a++)
        for (int b = 0; b < n_x; b++)
            out.values[(j + (size_t)b) * out.stride + i + (size_t)a] = fold(sum[a * n_x + b]);
}

TILE void dot_any(struct rows out, struct panel w, struct rows x, size_t k,
                  const enum weight_format format)
{
    size_t i = 0, n_w = (size_t)w.n_rows, n_x = (size_t)x.n;
    for (; n_x == 1 && i + 8 <= n_w; i += 8) dot_tile(out, w, x, k, i, 0, 8, 1, format);
    for (; i + 4 <= n_w; i += 4) {
        size_t j = 0;
        for (; j + 3 <= n_x; j += 3) dot_tile(out, w, x, k, i, j, 4, 3, format);
        if (j + 2 <= n_x) {
            dot_tile(out, w, x, k, i, j, 4, 2, format);
            j += 2;
        }
        if (j < n_x) dot_tile(out, w, x, k, i, j, 4, 1, format);
    }
    for (; i < n_w; i++)
        for (size_t j = 0; j < n_x; j++) dot_tile(out, w, x, k, i, j, 1, 1, format);
}

static void avx2_dot(struct rows out, struct panel w, struct rows x, size_t k)
{
    switch (w.format) {
    case WEIGHT_F32: dot_any(out, w, x, k, WEIGHT_F32); break;
    case WEIGHT_BF16: dot_any(out, w, x, k, WEIGHT_BF16); break;
    case WEIGHT_FP8_ROW: dot_any(out, w, x, k, WEIGHT_FP8_ROW); break;
    case WEIGHT_INT8_ROW: dot_any(out, w, x, k, WEIGHT_INT8_ROW); break;
    case WEIGHT_INT4_G128: dot_any(out, w, x, k, WEIGHT_INT4_G128); break;
    }
}

TILE void widen_any(float *out, struct panel w, size_t from, size_t n,
                    const enum weight_format format)
{
    float scale = 0;
    for (size_t c = 0; c < n; c += LANES) {
        if (format == WEIGHT_INT4_G128 && c % INT4_GROUP == 0)
            scales_load(&scale, w, 0, from + c, 1);
        __m256 v = load_eight(w.bytes, from + c, format, &scale);
        if (format == WEIGHT_FP8_ROW) v = _mm256_mul_ps(v, _mm256_set1_ps(FP8_FACTOR));
        _mm256_storeu_ps(out + c, v);
    }
}

static void avx2_widen(float *out, struct panel w, size_t from, size_t n)
{
    switch (w.format) {
    case WEIGHT_F32: widen_any(out, w, from, n, WEIGHT_F32); break;
    case WEIGHT_BF16: widen_any(out, w, from, n, WEIGHT_BF16); break;
    case WEIGHT_FP8_ROW: widen_any(out, w, from, n, WEIGHT_FP8_ROW); break;
    case WEIGHT_INT8_ROW: widen_any(out, w, from, n, WEIGHT_INT8_ROW); break;
    case WEIGHT_INT4_G128: widen_any(out, w, from, n, WEIGHT_INT4_G128); break;
    }
}

/* 4 weight rows by n_x rows, whose lanes wait in memory between blocks of columns. */
TILE void lanes_tile(float *lanes, const float *w, size_t stride, struct rows x, size_t k,
                     bool first, const int n_x)
{
    __m256 sum[12];
    for (int t = 0; t < 4 * n_x; t++)
        sum[t] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(lanes + t * LANES);
    for (size_t c = 0; c < k; c += LANES) {
        __m256 v[3];
        for (int b = 0; b < n_x; b++) v[b] = _mm256_loadu_ps(x.values + (size_t)b * x.stride + c);
        for (int a = 0; a < 4; a++) {
            __m256 weights = _mm256_loadu_ps(w + (size_t)a * stride + c);
            for (int b = 0; b < n_x; b++)
                sum[b * 4 + a] = _mm256_fmadd_ps(weights, v[b], sum[b * 4 + a]);
        }
    }
    for (int t = 0; t < 4 * n_x; t++) _mm256_storeu_ps(lanes + t * LANES, sum[t]);
}

static void avx2_dot_lanes(float *lanes, const float *w, size_t stride, struct rows x, size_t k,
                           bool first)
{
    int n = x.n;
    for (; n >= 3; n -= 3, lanes += 12 * LANES, x.values += 3 * x.stride)
        lanes_tile(lanes, w, stride, x, k, first, 3);
    if (n == 2) lanes_tile(lanes, w, stride, x, k, first, 2);
    if (n == 1) lanes_tile(lanes, w, stride, x, k, first, 1);
}

static void avx2_lanes_fold(struct rows out, const float *lanes, int n_w)
{
    for (int j = 0; j < out.n; j++)
        for (int a = 0; a < n_w; a++)
            out.values[(size_t)j * out.stride + (size_t)a] =
                fold(_mm256_loadu_ps(lanes + (j * 4 + a) * LANES));
}

/* 16 columns from c of n_x rows from j, over all terms. */
TILE void accumulate_tile(struct rows out, struct panel w, struct rows h, size_t c, size_t j,
                          const int n_x, const enum weight_format format)
{
    __m256 low[6], high[6];
    for (int b = 0; b < n_x; b++) {
        const float *to = out.values + (j + (size_t)b) * out.stride + c;
        low[b] = _mm256_loadu_ps(to);
        high[b] = _mm256_loadu_ps(to + LANES);
    }
    for (size_t f = 0; f < (size_t)w.n_rows; f++) {
        __m256 first = load_eight(w.bytes, f * w.stride + c, format, NULL);
        __m256 second = load_eight(w.bytes, f * w.stride + c + LANES, format, NULL);
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
                           int n_columns, const enum weight_format format)
{
    __m256 factor[8];
    for (int t = 0; t < n_f; t++) factor[t] = _mm256_broadcast_ss(h + f + (size_t)t);
    for (size_t c = 0; c < (size_t)n_columns; c += LANES) {
        __m256 sum = _mm256_loadu_ps(to + c);
        for (int t = 0; t < n_f; t++)
            sum = _mm256_fmadd_ps(
                factor[t], load_eight(w.bytes, (f + (size_t)t) * w.stride + c, format, NULL), sum);
        _mm256_storeu_ps(to + c, sum);
    }
}

TILE void accumulate_any(struct rows out, struct panel w, struct rows h, int n_columns,
                         const enum weight_format format)
{
    size_t j = 0, n_x = (size_t)h.n, f = 0, n_f = (size_t)w.n_rows;
    for (size_t c = 0; n_x >= 4 && c < (size_t)n_columns; c += 2 * LANES) {
        for (j = 0; j + 6 <= n_x; j += 6) accumulate_tile(out, w, h, c, j, 6, format);
        for (; j + 4 <= n_x; j += 4) accumulate_tile(out, w, h, c, j, 4, format);
    }
    for (; f + 8 <= n_f; f += 8)
        for (size_t b = j; b < n_x; b++)
            accumulate_terms(out.values + b * out.stride, w, h.values + b * h.stride, f, 8,
                             n_columns, format);
    for (; f < n_f; f++)
        for (size_t b = j; b < n_x; b++)
            accumulate_terms(out.values + b * out.stride, w, h.values + b * h.stride, f, 1,
                             n_columns, format);
}

static void avx2_accumulate(struct rows out, struct panel w, struct rows h, int n_columns)
{
    if (w.format == WEIGHT_BF16)
        accumulate_any(out, w, h, n_columns, WEIGHT_BF16);
    else
        accumulate_any(out, w, h, n_columns, WEIGHT_F32);
}

const struct cpu_math cpu_math_avx2 = {
    .name = "avx2",
    .lanes = LANES,
    .forms =
        {[ACTIVATION_INT8] = {[WEIGHT_INT8_ROW] = CODES_WORDS, [WEIGHT_INT4_G128] = CODES_SPLIT}},
    .dot = avx2_dot,
    .reads = {true, true, true, true, true},
    .dot_lanes = avx2_dot_lanes,
    .lanes_fold = avx2_lanes_fold,
    .accumulate = avx2_accumulate,
    .codes_few = avx2_codes_few,
    .codes_many = avx2_codes_many,
    .round = avx2_round,
    .decode = row_decode,
    .widen = avx2_widen,
    .decode_kv = row_decode_kv,
    .norm = row_norm,
    .silu_product = avx2_silu_product,
    .scale_largest = row_scale_largest,
    .exp_sum = avx2_exp_sum,
};

#endif
