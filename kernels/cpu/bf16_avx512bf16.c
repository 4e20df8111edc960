/* BF16 weights by BF16 activations, a pair of columns per lane. A pair's products are exact and are
 * added one after the other; lanes and the tree that folds them are the same for every tile, so any
 * number of rows gives the same bits. Weights are read as they lie, never packed: tiles of 8 by 1 to 3
 * stream them, tiles of 4 by 6 use them for many rows, whose six stay in the L1 cache meanwhile. */
#include "kernels/cpu/bf16_avx512bf16.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/cpu/fold_avx512.h"
#include "kernels/cpu/integer_avx512.h"

enum { PAIRS_COLUMNS = 2 * LANES_512 };

/* 32 values from column c on; zeros behind column k, which are not read. */
TILE __m512bh load_pairs(const uint16_t *row, size_t c, size_t k)
{
    if (c + PAIRS_COLUMNS <= k) return (__m512bh)_mm512_loadu_si512(row + c);
    return (__m512bh)_mm512_maskz_loadu_epi16((__mmask32)((1u << (k - c)) - 1), row + c);
}

struct pair_rows {
    const uint16_t *values;
    size_t stride;
};

/* n_w by n_x outputs from row i of w and row j of x. */
TILE void pairs_tile(struct rows out, struct panel w, struct pair_rows x, size_t k, size_t i,
                     size_t j, const int n_w, const int n_x)
{
    __m512 sum[24];
    const uint16_t *weights = (const uint16_t *)w.bytes + i * w.stride;
    const uint16_t *from = x.values + j * x.stride;
    const char *next = (const char *)(weights + 8 * w.stride);
    for (int t = 0; t < n_w * n_x; t++) sum[t] = _mm512_setzero_ps();
    for (size_t c = 0; c < k; c += PAIRS_COLUMNS) {
        __m512bh v[6];
        for (int b = 0; b < n_x; b++)
            v[b] = (__m512bh)_mm512_loadu_si512(from + (size_t)b * x.stride + c);
        if (n_w == 8) lines_ask(next + c * 8 * sizeof *weights, 8 * 64);
        for (int a = 0; a < n_w; a++) {
            __m512bh pairs = load_pairs(weights + (size_t)a * w.stride, c, k);
            for (int b = 0; b < n_x; b++)
                sum[a * n_x + b] = _mm512_dpbf16_ps(sum[a * n_x + b], pairs, v[b]);
        }
    }
    tile_store(out.values + j * out.stride + i, out.stride, sum, n_w, n_x);
}

/* n_w (4 or 1) weight rows by all rows of x from j on. */
TILE void pairs_rows(struct rows out, struct panel w, struct pair_rows x, size_t k, size_t i,
                     size_t j, const int n_w)
{
    size_t n_x = (size_t)out.n;
    for (; j + 6 <= n_x; j += 6) pairs_tile(out, w, x, k, i, j, n_w, 6);
    if (j + 3 <= n_x) {
        pairs_tile(out, w, x, k, i, j, n_w, 3);
        j += 3;
    }
    for (; j < n_x; j++) pairs_tile(out, w, x, k, i, j, n_w, 1);
}

static void pairs_few(struct rows out, struct panel w, struct pair_rows x, size_t k)
{
    size_t i = 0, n_w = (size_t)w.n_rows;
    for (; out.n == 1 && i + 8 <= n_w; i += 8) pairs_tile(out, w, x, k, i, 0, 8, 1);
    for (; out.n == 2 && i + 8 <= n_w; i += 8) pairs_tile(out, w, x, k, i, 0, 8, 2);
    for (; out.n == 3 && i + 8 <= n_w; i += 8) pairs_tile(out, w, x, k, i, 0, 8, 3);
    for (; i + QUAD <= n_w; i += QUAD) pairs_rows(out, w, x, k, i, 0, QUAD);
    for (; i < n_w; i++) pairs_rows(out, w, x, k, i, 0, 1);
}

/* Six rows of x at a time over all weight rows: they are what the L1 cache keeps. */
static void pairs_many(struct rows out, struct panel w, struct pair_rows x, size_t k)
{
    size_t j = 0, n_w = (size_t)w.n_rows;
    for (; j + 6 <= (size_t)out.n; j += 6) {
        size_t i = 0;
        for (; i + QUAD <= n_w; i += QUAD) pairs_tile(out, w, x, k, i, j, QUAD, 6);
        for (; i < n_w; i++) pairs_tile(out, w, x, k, i, j, 1, 6);
    }
    struct rows rest = {out.values + j * out.stride, out.stride, out.n - (int)j};
    if (rest.n > 0) pairs_few(rest, w, (struct pair_rows){x.values + j * x.stride, x.stride}, k);
}

static struct pair_rows pairs_of(struct codes x)
{
    return (struct pair_rows){(const uint16_t *)(const void *)x.bytes, x.stride};
}

void avx512bf16_codes_few(struct rows out, struct panel w, const float *row_scales, struct codes x,
                          size_t k)
{
    out.n = x.n;
    if (x.form == CODES_BF16)
        pairs_few(out, w, pairs_of(x), k);
    else
        avx512_codes_few(out, w, row_scales, x, k);
}

void avx512bf16_codes_many(struct rows out, struct panel w, const float *row_scales, struct codes x,
                           size_t k, void *pack)
{
    out.n = x.n;
    if (x.form == CODES_BF16)
        pairs_many(out, w, pairs_of(x), k);
    else
        avx512_codes_many(out, w, row_scales, x, k, pack);
}

#endif
