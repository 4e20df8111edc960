/* AVX-512 in fp32. Sixteen lanes along k per output, folded by one tree (fold_avx512.h), so the order
 * of additions never depends on the blocking. For few rows weights are a stream, one row after the
 * other (two or four where a row alone would wait for its own additions); tiles of 4 by 6 keep 24
 * chains in flight where everything is in cache.
 *
 * accumulate: outputs along the lanes, terms in ascending order; a tile of 32 columns by 12 rows stays
 * in registers for all terms, single rows take a term at a time over all columns, so that weights are a
 * stream. */
#include "kernels/cpu/math.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/cpu/bf16_avx512bf16.h"
#include "kernels/cpu/fold_avx512.h"
#include "kernels/cpu/integer_avx512.h"
#include "kernels/cpu/math_rows.h"
#include "kernels/cpu/rows_avx512.h"

/* FP8 shifted into place is 2^-120 of its value; its factor makes up for most of that, so that sums
 * are far from where fp32 ends on either side: what is left is FP8_UNIT. */
#define FP8_FACTOR 0x1p100f

/* Terms at a time for single rows, and the most columns that never are a stream. */
enum { TERMS = 2, STREAM_COLUMNS = 256 };

/* Sixteen weights from element `at`, without row scales; INT4 times its group's scale, which is exact
 * (4 bits times 8). */
TILE __m512 load_sixteen(const void *bytes, size_t at, const enum weight_format format,
                         const float *scale)
{
    if (format == WEIGHT_F32) return _mm512_loadu_ps((const float *)bytes + at);
    if (format == WEIGHT_BF16) {
        const uint16_t *from = (const uint16_t *)bytes + at;
        __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)from);
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }
    if (format == WEIGHT_INT4_G128) {
        /* A byte in each 64 bits: its nibbles to the top of the lower and of the upper half. */
        const uint8_t *from = (const uint8_t *)bytes + at / 2;
        __m512i pair = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(const void *)from));
        pair = _mm512_or_si512(pair, _mm512_slli_epi64(pair, 28));
        __m512i code = _mm512_srai_epi32(_mm512_slli_epi32(pair, 28), 28);
        return _mm512_mul_ps(_mm512_cvtepi32_ps(code), _mm512_set1_ps(*scale));
    }
    const uint8_t *from = (const uint8_t *)bytes + at;
    __m512i codes = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)from));
    if (format == WEIGHT_INT8_ROW) return _mm512_cvtepi32_ps(codes);
    codes = _mm512_slli_epi32(codes, 20);
    return _mm512_castsi512_ps(_mm512_and_si512(codes, _mm512_set1_epi32((int)0x87F00000)));
}

/* Scales of rows [i, i + n_w) of a panel for the group of column c. */
TILE void scales_load(float *scale, struct panel w, size_t i, size_t c, const int n_w)
{
    size_t n_groups = (w.stride + INT4_GROUP - 1) / INT4_GROUP;
    const uint16_t *from =
        w.tiled + (i / INT4_TILE * n_groups + c / INT4_GROUP) * INT4_TILE + i % INT4_TILE;
    for (int a = 0; a < n_w; a++) scale[a] = bf16_value(from[a]);
}

TILE size_t bits_of(const enum weight_format format)
{
    return format == WEIGHT_F32         ? 32
           : format == WEIGHT_BF16      ? 16
           : format == WEIGHT_INT4_G128 ? 4
                                        : 8;
}

/* Adds n_w rows from row i of w, by n_x rows of x; both are constants where this is inlined, so the
 * loops unroll. `asks`: for what lies ahead of each row. */
TILE void dot_add(__m512 (*sum)[6], struct panel w, struct rows x, size_t k, size_t i,
                  const int n_w, const int n_x, const enum weight_format format, const bool asks)
{
    float scale[QUAD] = {0};
    size_t bits = bits_of(format), block = format == WEIGHT_INT4_G128 ? INT4_GROUP : k;
    for (size_t first = 0; first < k; first += block) {
        size_t end = k - first < block ? k : first + block;
        if (format == WEIGHT_INT4_G128) scales_load(scale, w, i, first, n_w);
        for (size_t c = first; c < end; c += LANES_512) {
            __m512 v[6];
            for (int b = 0; b < n_x; b++)
                v[b] = _mm512_loadu_ps(x.values + (size_t)b * x.stride + c);
            for (int b = 0; b < n_x && format == WEIGHT_FP8_ROW; b++)
                v[b] = _mm512_mul_ps(v[b], _mm512_set1_ps(FP8_FACTOR));
            for (int a = 0; a < n_w; a++) {
                size_t place = (i + (size_t)a) * w.stride + c;
                if (asks)
                    _mm_prefetch((const char *)w.bytes + place * bits / 8 + AHEAD_BYTES,
                                 _MM_HINT_T0);
                __m512 weights = load_sixteen(w.bytes, place, format, scale + a);
                for (int b = 0; b < n_x; b++) sum[a][b] = _mm512_fmadd_ps(weights, v[b], sum[a][b]);
            }
        }
    }
}

/* n_w by n_x outputs, n_side rows of w side by side. */
TILE void dot_tile(float *out, size_t stride, struct panel w, struct rows x, size_t k, size_t i,
                   const int n_w, const int n_x, const int n_side, const enum weight_format format)
{
    tile_sums sum;
    tile_clear(sum, n_w, n_x);
    for (int a = 0; a < n_w; a += n_side)
        dot_add(sum + a, w, x, k, i + (size_t)a, n_side, n_x, format, n_side < QUAD);
    tile_store(out, stride, sum, n_w, n_x);
}

static struct rows rows_from(struct rows x, size_t j)
{
    return (struct rows){x.values + j * x.stride, x.stride, x.n - (int)j};
}

/* Four weight rows (or one) by all rows of x. */
TILE void dot_rows(struct rows out, struct panel w, struct rows x, size_t k, size_t i,
                   const int n_w, const enum weight_format format)
{
    size_t j = 0, n_x = (size_t)x.n;
    float *to = out.values + i;
    for (; j + 6 <= n_x; j += 6)
        dot_tile(to + j * out.stride, out.stride, w, rows_from(x, j), k, i, n_w, 6, n_w, format);
    for (; j + 3 <= n_x; j += 3)
        dot_tile(to + j * out.stride, out.stride, w, rows_from(x, j), k, i, n_w, 3, n_w, format);
    for (; j < n_x; j++)
        dot_tile(to + j * out.stride, out.stride, w, rows_from(x, j), k, i, n_w, 1, n_w, format);
}

/* Four weight rows as a stream by up to four rows of x. */
TILE void dot_stream(struct rows out, struct panel w, struct rows x, size_t k, size_t i,
                     const enum weight_format format)
{
    const int side = format == WEIGHT_F32 || format == WEIGHT_BF16 ? 1 : 2;
    float *to = out.values + i;
    switch (x.n) {
    case 1: dot_tile(to, out.stride, w, x, k, i, QUAD, 1, side, format); break;
    case 2: dot_tile(to, out.stride, w, x, k, i, QUAD, 2, side, format); break;
    case 3: dot_tile(to, out.stride, w, x, k, i, QUAD, 3, side, format); break;
    default: dot_tile(to, out.stride, w, x, k, i, QUAD, 4, side, format); break;
    }
}

TILE void dot_any(struct rows out, struct panel w, struct rows x, size_t k,
                  const enum weight_format format)
{
    size_t i = 0, n_w = (size_t)w.n_rows;
    for (; x.n <= 4 && i + QUAD <= n_w; i += QUAD) dot_stream(out, w, x, k, i, format);
    for (; i + QUAD <= n_w; i += QUAD) dot_rows(out, w, x, k, i, QUAD, format);
    for (; i < n_w; i++) dot_rows(out, w, x, k, i, 1, format);
}

static void avx512_dot(struct rows out, struct panel w, struct rows x, size_t k)
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
    for (size_t c = 0; c < n; c += LANES_512) {
        if (format == WEIGHT_INT4_G128 && c % INT4_GROUP == 0)
            scales_load(&scale, w, 0, from + c, 1);
        __m512 v = load_sixteen(w.bytes, from + c, format, &scale);
        if (format == WEIGHT_FP8_ROW) v = _mm512_mul_ps(v, _mm512_set1_ps(FP8_FACTOR));
        _mm512_storeu_ps(out + c, v);
    }
}

static void avx512_widen(float *out, struct panel w, size_t from, size_t n)
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
    __m512 sum[6][QUAD];
    for (int b = 0; b < n_x; b++)
        for (int a = 0; a < QUAD; a++)
            sum[b][a] =
                first ? _mm512_setzero_ps() : _mm512_loadu_ps(lanes + (b * QUAD + a) * LANES_512);
    for (size_t c = 0; c < k; c += LANES_512) {
        __m512 v[6];
        for (int b = 0; b < n_x; b++) v[b] = _mm512_loadu_ps(x.values + (size_t)b * x.stride + c);
        for (int a = 0; a < QUAD; a++) {
            __m512 weights = _mm512_loadu_ps(w + (size_t)a * stride + c);
            for (int b = 0; b < n_x; b++) sum[b][a] = _mm512_fmadd_ps(weights, v[b], sum[b][a]);
        }
    }
    for (int b = 0; b < n_x; b++)
        for (int a = 0; a < QUAD; a++)
            _mm512_storeu_ps(lanes + (b * QUAD + a) * LANES_512, sum[b][a]);
}

static void avx512_dot_lanes(float *lanes, const float *w, size_t stride, struct rows x, size_t k,
                             bool first)
{
    int n = x.n;
    for (; n >= 6; n -= 6, lanes += 24 * LANES_512, x.values += 6 * x.stride)
        lanes_tile(lanes, w, stride, x, k, first, 6);
    for (; n >= 2; n -= 2, lanes += 8 * LANES_512, x.values += 2 * x.stride)
        lanes_tile(lanes, w, stride, x, k, first, 2);
    if (n == 1) lanes_tile(lanes, w, stride, x, k, first, 1);
}

static void avx512_lanes_fold(struct rows out, const float *lanes, int n_w)
{
    __mmask8 there = (__mmask8)((1u << n_w) - 1);
    for (size_t j = 0; j < (size_t)out.n; j++, lanes += QUAD * LANES_512) {
        __m512 four[QUAD];
        for (int a = 0; a < QUAD; a++) four[a] = _mm512_loadu_ps(lanes + a * LANES_512);
        _mm_mask_storeu_ps(out.values + j * out.stride, there, fold_four(four));
    }
}

/* n_v times 16 columns from c of n_x rows from j, over all terms. */
TILE void accumulate_tile(struct rows out, struct panel w, struct rows h, size_t c, size_t j,
                          const int n_v, const int n_x, const enum weight_format format)
{
    __m512 sum[12][2];
    float *to = out.values + j * out.stride + c;
    const float *factors = h.values + j * h.stride;
    for (size_t b = 0; b < (size_t)n_x; b++)
        for (size_t v = 0; v < (size_t)n_v; v++)
            sum[b][v] = _mm512_loadu_ps(to + b * out.stride + v * LANES_512);
    for (size_t f = 0; f < (size_t)w.n_rows; f++) {
        __m512 terms[2];
        for (size_t v = 0; v < (size_t)n_v; v++)
            terms[v] = load_sixteen(w.bytes, f * w.stride + c + v * LANES_512, format, NULL);
        for (int b = 0; b < n_x; b++) {
            __m512 factor = _mm512_set1_ps(factors[(size_t)b * h.stride + f]);
            for (int v = 0; v < n_v; v++) sum[b][v] = _mm512_fmadd_ps(factor, terms[v], sum[b][v]);
        }
    }
    for (size_t b = 0; b < (size_t)n_x; b++)
        for (size_t v = 0; v < (size_t)n_v; v++)
            _mm512_storeu_ps(to + b * out.stride + v * LANES_512, sum[b][v]);
}

/* Rows from 0 on that share one pass over the terms of n columns in all; returns the first that is
 * left, which is none where columns are so few that terms lie in a cache. */
TILE size_t accumulate_columns(struct rows out, struct panel w, struct rows h, size_t c, size_t n,
                               const int n_v, const enum weight_format format)
{
    size_t j = 0, n_x = (size_t)h.n;
    for (; j + 12 <= n_x; j += 12) accumulate_tile(out, w, h, c, j, n_v, 12, format);
    if (j + 8 <= n_x) {
        accumulate_tile(out, w, h, c, j, n_v, 8, format);
        j += 8;
    }
    if (j + 6 <= n_x) {
        accumulate_tile(out, w, h, c, j, n_v, 6, format);
        j += 6;
    }
    if (j + 4 <= n_x) {
        accumulate_tile(out, w, h, c, j, n_v, 4, format);
        j += 4;
    }
    if (n > STREAM_COLUMNS) return j;
    if (j + 3 <= n_x) {
        accumulate_tile(out, w, h, c, j, n_v, 3, format);
        j += 3;
    }
    for (; j < n_x; j++) accumulate_tile(out, w, h, c, j, n_v, 1, format);
    return j;
}

/* n_f terms from f for one row over all columns; `asks` where columns are whole rows. */
TILE void accumulate_terms(float *to, struct panel w, const float *h, size_t f, const int n_f,
                           int n_columns, const enum weight_format format)
{
    size_t bytes = bits_of(format) / 8;
    bool asks = (size_t)n_columns == w.stride;
    for (size_t c = 0; c < (size_t)n_columns; c += LANES_512) {
        __m512 sum = _mm512_loadu_ps(to + c);
        for (size_t t = 0; t < (size_t)n_f; t++) {
            size_t place = (f + t) * w.stride + c;
            if (asks)
                _mm_prefetch((const char *)w.bytes + place * bytes + AHEAD_BYTES, _MM_HINT_T0);
            sum = _mm512_fmadd_ps(_mm512_set1_ps(h[f + t]),
                                  load_sixteen(w.bytes, place, format, NULL), sum);
        }
        _mm512_storeu_ps(to + c, sum);
    }
}

TILE void accumulate_any(struct rows out, struct panel w, struct rows h, int n_columns,
                         const enum weight_format format)
{
    size_t j = 0, n_x = (size_t)h.n, f = 0, n_f = (size_t)w.n_rows, c = 0, n = (size_t)n_columns;
    bool tiles = n_x >= 4 || n <= STREAM_COLUMNS;
    for (; tiles && c + 2 * LANES_512 <= n; c += 2 * LANES_512)
        j = accumulate_columns(out, w, h, c, n, 2, format);
    if (tiles && c < n) j = accumulate_columns(out, w, h, c, n, 1, format);
    for (; f + TERMS <= n_f; f += TERMS)
        for (size_t b = j; b < n_x; b++)
            accumulate_terms(out.values + b * out.stride, w, h.values + b * h.stride, f, TERMS,
                             n_columns, format);
    for (; f < n_f; f++)
        for (size_t b = j; b < n_x; b++)
            accumulate_terms(out.values + b * out.stride, w, h.values + b * h.stride, f, 1,
                             n_columns, format);
}

static void avx512_accumulate(struct rows out, struct panel w, struct rows h, int n_columns)
{
    if (w.format == WEIGHT_BF16)
        accumulate_any(out, w, h, n_columns, WEIGHT_BF16);
    else
        accumulate_any(out, w, h, n_columns, WEIGHT_F32);
}

#define COMMON                                                                                     \
    .lanes = LANES_512, .dot = avx512_dot, .reads = {true, true, true, true, true},                \
    .dot_lanes = avx512_dot_lanes, .lanes_fold = avx512_lanes_fold,                                \
    .accumulate = avx512_accumulate, .round = avx512_round, .decode = row_decode,                  \
    .widen = avx512_widen, .decode_kv = row_decode_kv, .norm = row_norm,                           \
    .silu_product = avx512_silu_product, .scale_largest = avx512_scale_largest,                    \
    .exp_sum = avx512_exp_sum

const struct cpu_math cpu_math_avx512 = {
    .name = "avx512",
    .forms =
        {[ACTIVATION_INT8] = {[WEIGHT_INT8_ROW] = CODES_BYTES, [WEIGHT_INT4_G128] = CODES_SPLIT}},
    .codes_few = avx512_codes_few,
    .codes_many = avx512_codes_many,
    COMMON,
};

/* Products of rounded activations with BF16 and FP8 weights in pairs; else as cpu_math_avx512. */
const struct cpu_math cpu_math_avx512bf16 = {
    .name = "avx512bf16",
    .forms = {[ACTIVATION_BF16] = {[WEIGHT_BF16] = CODES_BF16, [WEIGHT_FP8_ROW] = CODES_BF16},
              [ACTIVATION_INT8] = {[WEIGHT_INT8_ROW] = CODES_BYTES,
                                   [WEIGHT_INT4_G128] = CODES_SPLIT,
                                   [WEIGHT_FP8_ROW] = CODES_BF16_SCALED}},
    .codes_few = avx512bf16_codes_few,
    .codes_many = avx512bf16_codes_many,
    COMMON,
};

#endif
