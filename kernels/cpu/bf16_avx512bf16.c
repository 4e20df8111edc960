/* BF16 and FP8 weights by activations that BF16 holds exactly, a pair of columns per lane: BF16
 * activations, and INT8's codes, whose sums are multiplied by the scale of each group of 128 columns. A
 * pair's products are exact and are added one after the other; lanes and the tree that folds them are
 * the same for every tile, so any number of rows gives the same bits. BF16 weights are read as they
 * lie; FP8's become BF16 by a table of 128, for many rows once per 16 weight rows. */
#include "kernels/cpu/bf16_avx512bf16.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/cpu/fold_avx512.h"
#include "kernels/cpu/integer_avx512.h"

enum {
    COLUMNS = 2 * LANES_512,
    GROUP = INT4_GROUP,
    PANEL_ROWS = PACK_BYTES / 2,
    A_OR_B_AND_C = 0xF8 /* as ternary logic */
};

/* BF16 of the E4M3 magnitudes 0 to 0x7E: exponents 120 apart, below 8 denormals. */
#define BF16_OF(c)                                                                                 \
    ((c) >= 8   ? 0x3C00 + (c)*16                                                                  \
     : (c) >= 4 ? 0x3C00 + ((c)-4) * 32                                                            \
     : (c) >= 2 ? 0x3B80 + ((c)-2) * 64                                                            \
     : (c)      ? 0x3B00                                                                           \
                : 0)
#define LOW(c)         (BF16_OF(c) & 255)
#define HIGH(c)        (BF16_OF(c) >> 8)
#define FOUR(OF, c)    OF(c), OF((c) + 1), OF((c) + 2), OF((c) + 3)
#define SIXTEEN(OF, c) FOUR(OF, c), FOUR(OF, (c) + 4), FOUR(OF, (c) + 8), FOUR(OF, (c) + 12)
#define SIXTY_FOUR(OF, c)                                                                          \
    SIXTEEN(OF, c), SIXTEEN(OF, (c) + 16), SIXTEEN(OF, (c) + 32), SIXTEEN(OF, (c) + 48)

static const _Alignas(64) uint8_t low_bytes[128] = {SIXTY_FOUR(LOW, 0), SIXTY_FOUR(LOW, 64)};
static const _Alignas(64) uint8_t high_bytes[128] = {SIXTY_FOUR(HIGH, 0), SIXTY_FOUR(HIGH, 64)};

/* 32 E4M3 codes as BF16: each byte twice, its lower half looked up in even places, its upper half in
 * odd ones (which until then hold the code), and the code's sign. */
TILE __m512i widen_e4m3(__m256i codes)
{
    const __mmask64 even = 0x5555555555555555, odd = ~even;
    __m512i words = _mm512_cvtepu8_epi16(codes);
    __m512i twice = _mm512_or_si512(words, _mm512_slli_epi16(words, 8));
    __m512i v = _mm512_mask2_permutex2var_epi8(_mm512_load_si512(low_bytes), twice, even,
                                               _mm512_load_si512(low_bytes + 64));
    v = _mm512_mask2_permutex2var_epi8(_mm512_load_si512(high_bytes), v, odd,
                                       _mm512_load_si512(high_bytes + 64));
    return _mm512_ternarylogic_epi32(v, twice, _mm512_set1_epi16((short)0x8000), A_OR_B_AND_C);
}

/* 32 weights from column c of a row on; zeros behind column k, which are not read. */
TILE __m512bh load_pairs(const void *row, size_t c, size_t k, const enum weight_format format)
{
    const uint16_t *words = (const uint16_t *)row + c;
    const uint8_t *bytes = (const uint8_t *)row + c;
    if (c + COLUMNS <= k && format == WEIGHT_BF16) return (__m512bh)_mm512_loadu_si512(words);
    if (c + COLUMNS <= k)
        return (__m512bh)widen_e4m3(_mm256_loadu_si256((const __m256i *)(const void *)bytes));
    __mmask32 there = (__mmask32)((1u << (k - c)) - 1);
    if (format == WEIGHT_BF16) return (__m512bh)_mm512_maskz_loadu_epi16(there, words);
    return (__m512bh)widen_e4m3(_mm256_maskz_loadu_epi8(there, bytes));
}

/* Rows of x: BF16, and scales of groups or NULL. */
struct pair_rows {
    const uint16_t *values;
    size_t stride;
    const float *scales;
    size_t n_groups;
};

static struct pair_rows rows_from(struct pair_rows x, size_t j)
{
    x.values += j * x.stride;
    if (x.scales) x.scales += j * x.n_groups;
    return x;
}

static struct panel panel_from(struct panel w, size_t i)
{
    w.bytes = (const uint8_t *)w.bytes + i * w.stride * (w.format == WEIGHT_BF16 ? 2 : 1);
    return w;
}

/* Adds columns [from, to) of n_w by n_x rows; asks for what lies ahead of a row alone. */
TILE void pairs_add(__m512 (*sum)[6], struct panel w, struct pair_rows x, size_t from, size_t to,
                    size_t k, const int n_w, const int n_x, const enum weight_format format)
{
    const size_t bytes = format == WEIGHT_BF16 ? 2 : 1;
    const char *weights = w.bytes;
    for (size_t c = from; c < to; c += COLUMNS) {
        __m512bh v[6];
        for (size_t b = 0; b < (size_t)n_x; b++)
            v[b] = (__m512bh)_mm512_loadu_si512(x.values + b * x.stride + c);
        for (size_t a = 0; a < (size_t)n_w && n_w < QUAD; a++)
            _mm_prefetch(weights + (a * w.stride + c) * bytes + AHEAD_BYTES, _MM_HINT_T0);
        for (int a = 0; a < n_w; a++) {
            __m512bh pairs = load_pairs(weights + (size_t)a * w.stride * bytes, c, k, format);
            for (int b = 0; b < n_x; b++) sum[a][b] = _mm512_dpbf16_ps(sum[a][b], pairs, v[b]);
        }
    }
}

/* Sums of n_w by n_x rows; those of groups are multiplied by their scales, if there are some. */
TILE void pairs_sums(__m512 (*sum)[6], struct panel w, struct pair_rows x, size_t k, const int n_w,
                     const int n_x, const enum weight_format format)
{
    tile_sums part;
    if (!x.scales) pairs_add(sum, w, x, 0, k, k, n_w, n_x, format);
    for (size_t g = 0; x.scales && g < x.n_groups; g++) {
        size_t from = g * GROUP, to = k - from < GROUP ? k : from + GROUP;
        tile_clear(part, n_w, n_x);
        if (to == from + GROUP) /* once more, so that a whole group is unrolled */
            pairs_add(part, w, x, from, from + GROUP, from + GROUP, n_w, n_x, format);
        else
            pairs_add(part, w, x, from, to, k, n_w, n_x, format);
        for (size_t b = 0; b < (size_t)n_x; b++) {
            __m512 scale = _mm512_set1_ps(x.scales[b * x.n_groups + g]);
            for (int a = 0; a < n_w; a++) sum[a][b] = _mm512_fmadd_ps(part[a][b], scale, sum[a][b]);
        }
    }
}

/* n_w by n_x outputs from the first rows of w and x, n_side rows of w side by side. */
TILE void pairs_tile(float *out, size_t stride, struct panel w, struct pair_rows x, size_t k,
                     const int n_w, const int n_x, const int n_side,
                     const enum weight_format format)
{
    tile_sums sum;
    tile_clear(sum, n_w, n_x);
    for (int a = 0; a < n_w; a += n_side)
        pairs_sums(sum + a, panel_from(w, (size_t)a), x, k, n_side, n_x, format);
    tile_store(out, stride, sum, n_w, n_x);
}

/* n_w (4 or 1) weight rows by all rows of x. With scales a tile needs its registers twice. */
TILE void pairs_rows(struct rows out, struct panel w, struct pair_rows x, size_t k, const int n_w)
{
    size_t j = 0, n_x = (size_t)out.n;
    float *to = out.values;
    for (; !x.scales && j + 6 <= n_x; j += 6, to += 6 * out.stride)
        pairs_tile(to, out.stride, w, rows_from(x, j), k, n_w, 6, n_w, WEIGHT_BF16);
    for (; j + 3 <= n_x; j += 3, to += 3 * out.stride)
        pairs_tile(to, out.stride, w, rows_from(x, j), k, n_w, 3, n_w, WEIGHT_BF16);
    for (; j < n_x; j++, to += out.stride)
        pairs_tile(to, out.stride, w, rows_from(x, j), k, n_w, 1, n_w, WEIGHT_BF16);
}

/* n_w weight rows as a stream, which lie in the L1 cache when the next rows of x come. */
TILE void pairs_stream(struct rows out, struct panel w, struct pair_rows x, size_t k, const int n_w,
                       const enum weight_format format)
{
    const int side = format == WEIGHT_BF16 && n_w == QUAD ? 2 : 1;
    size_t j = 0, n_x = (size_t)out.n;
    float *to = out.values;
    for (; j + 3 <= n_x; j += 3, to += 3 * out.stride)
        pairs_tile(to, out.stride, w, rows_from(x, j), k, n_w, 3, side, format);
    if (j + 2 == n_x)
        pairs_tile(to, out.stride, w, rows_from(x, j), k, n_w, 2, side, format);
    else if (j + 1 == n_x)
        pairs_tile(to, out.stride, w, rows_from(x, j), k, n_w, 1, side, format);
}

/* Few rows of x: weights as they lie. */
TILE void pairs_few(struct rows out, struct panel w, struct pair_rows x, size_t k,
                    const enum weight_format format)
{
    size_t i = 0, n_w = (size_t)w.n_rows;
    for (; i + QUAD <= n_w; i += QUAD, out.values += QUAD)
        pairs_stream(out, panel_from(w, i), x, k, QUAD, format);
    for (; i < n_w; i++, out.values++) pairs_stream(out, panel_from(w, i), x, k, 1, format);
}

/* Many rows of x, some at a time over all weight rows: they are what the L1 cache keeps. */
static void pairs_many(struct rows out, struct panel w, struct pair_rows x, size_t k)
{
    int step = x.scales ? 3 : 6;
    for (int j = 0; j < out.n; j += step) {
        size_t i = 0, n_w = (size_t)w.n_rows;
        struct rows to = {out.values + (size_t)j * out.stride, out.stride,
                          out.n - j < step ? out.n - j : step};
        for (; i + QUAD <= n_w; i += QUAD, to.values += QUAD)
            pairs_rows(to, panel_from(w, i), rows_from(x, (size_t)j), k, QUAD);
        for (; i < n_w; i++, to.values++)
            pairs_rows(to, panel_from(w, i), rows_from(x, (size_t)j), k, 1);
    }
}

/* PANEL_ROWS weight rows at a time as BF16 in `pack`. */
static void pairs_widened(struct rows out, struct panel w, struct pair_rows x, size_t k, void *pack)
{
    size_t padded = (k + COLUMNS - 1) / COLUMNS * COLUMNS;
    for (size_t i = 0; i < (size_t)w.n_rows; i += PANEL_ROWS) {
        size_t left = (size_t)w.n_rows - i, n = left < PANEL_ROWS ? left : PANEL_ROWS;
        for (size_t r = 0; r < n; r++)
            for (size_t c = 0; c < k; c += COLUMNS)
                _mm512_store_si512(
                    (uint16_t *)pack + r * padded + c,
                    (__m512i)load_pairs((const uint8_t *)w.bytes + (i + r) * w.stride, c, k,
                                        WEIGHT_FP8_ROW));
        struct panel part = {
            .bytes = pack, .format = WEIGHT_BF16, .stride = padded, .n_rows = (int)n};
        pairs_many((struct rows){out.values + i, out.stride, out.n}, part, x, k);
    }
}

static struct pair_rows pairs_of(struct codes x, bool scaled)
{
    return (struct pair_rows){(const uint16_t *)(const void *)x.bytes, x.stride,
                              scaled ? x.scales : NULL, x.n_groups};
}

static void rows_scale(struct rows out, const float *scales, int n_w)
{
    for (int j = 0; j < out.n; j++)
        for (int i = 0; i < n_w; i++) out.values[(size_t)j * out.stride + (size_t)i] *= scales[i];
}

void avx512bf16_codes_few(struct rows out, struct panel w, const float *row_scales, struct codes x,
                          size_t k)
{
    struct pair_rows pairs = pairs_of(x, x.form == CODES_BF16_SCALED);
    out.n = x.n;
    if (x.form < CODES_BF16)
        avx512_codes_few(out, w, row_scales, x, k);
    else if (w.format == WEIGHT_FP8_ROW)
        pairs_few(out, w, pairs, k, WEIGHT_FP8_ROW);
    else
        pairs_few(out, w, pairs, k, WEIGHT_BF16);
    if (w.format == WEIGHT_FP8_ROW) rows_scale(out, row_scales, w.n_rows);
}

void avx512bf16_codes_many(struct rows out, struct panel w, const float *row_scales, struct codes x,
                           size_t k, void *pack)
{
    struct pair_rows pairs = pairs_of(x, x.form == CODES_BF16_SCALED);
    out.n = x.n;
    if (x.form < CODES_BF16)
        avx512_codes_many(out, w, row_scales, x, k, pack);
    else if (w.format == WEIGHT_FP8_ROW)
        pairs_widened(out, w, pairs, k, pack);
    else
        pairs_many(out, w, pairs, k);
    if (w.format == WEIGHT_FP8_ROW) rows_scale(out, row_scales, w.n_rows);
}

#endif
