/* Sums of a group of 128 columns are exact integers, so their order is free and the two loops here
 * agree bit for bit: what is left is one fp32 multiply-add per group, groups ascending.
 *
 * Products take an unsigned and a signed byte, so weights are moved up: INT8 by 128, INT4 by 8, and as
 * many times the sum of x comes off. Few rows: sixteen weight rows, one after the other as they lie in the
 * file, lanes along k; the lanes of each group wait in the L1 cache until sixteen can be folded into
 * one vector. Many rows: 32 weight rows are packed so that lanes
 * are rows, four columns in a lane; then tiles of 32 by 12 broadcast activations. */
#include "kernels/cpu/integer_avx512.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/fold_avx512.h"

enum {
    GROUP = INT4_GROUP,
    ROWS = 16,
    FOURS = GROUP / 4,
    HALVES = 2,
    TILE_ROWS = 12,
    FEW_GROUPS = 16,
    FOLD_BYTES = 512
};

/* Holds a sum in its register where the source updates it: left to themselves, compilers start all of
 * a tile's multiplications first and spill the sums. */
#define HOLD(v) __asm__ volatile("" : "+v"(v))

TILE __m512i load(const void *from) { return _mm512_loadu_si512(from); }

/* The first n bytes; zeros behind them, which are not read. */
TILE __m512i load_first(const uint8_t *from, size_t n)
{
    if (n >= 64) return load(from);
    return _mm512_maskz_loadu_epi8((__mmask64)((1ull << n) - 1), from);
}

/* What is added to weights to make them unsigned. */
TILE int32_t shift_of(const bool is_int4) { return is_int4 ? 8 : 128; }

TILE __m512i add_pairs(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

TILE __m512i add_fours(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

TILE __m512i add_quarters(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
}

/* One group of a row: lanes whose sum it is. `n` bytes of it are there. */
TILE __m512i group_lanes(const uint8_t *w, size_t n, const __m512i *x, const bool is_int4)
{
    __m512i first = load_first(w, n), low = _mm512_set1_epi8(15);
    if (is_int4) {
        __m512i codes = _mm512_xor_si512(first, _mm512_set1_epi8((char)0x88));
        __m512i odd = _mm512_and_si512(_mm512_srli_epi16(codes, 4), low);
        __m512i sum =
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_and_si512(codes, low), x[0]);
        return _mm512_dpbusd_epi32(sum, odd, x[1]);
    }
    __m512i top = _mm512_set1_epi8((char)0x80), second = load_first(w + 64, n > 64 ? n - 64 : 0);
    __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_xor_si512(first, top), x[0]);
    return _mm512_dpbusd_epi32(sum, _mm512_xor_si512(second, top), x[1]);
}

/* Lane r is the sum of v[r]'s lanes. */
TILE __m512i fold_sixteen(const __m512i *v)
{
    __m512i quarter[4];
    for (int q = 0; q < 4; q++, v += 4)
        quarter[q] = add_fours(add_pairs(v[0], v[1]), add_pairs(v[2], v[3]));
    return add_quarters(add_quarters(quarter[0], quarter[1]), add_quarters(quarter[2], quarter[3]));
}

/* Sixteen bf16 scales of two tiles. */
TILE __m512 scales_sixteen(const uint16_t *tiled, size_t n_groups, size_t g)
{
    const uint16_t *from = tiled + g * INT4_TILE;
    __m256i half = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)from)),
        _mm_loadu_si128((const __m128i *)(const void *)(from + n_groups * INT4_TILE)), 1);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

static struct codes codes_row(struct codes x, size_t j)
{
    x.bytes += j * x.stride;
    x.scales += j * x.n_groups;
    x.sums += j * x.n_groups;
    x.n = 1;
    return x;
}

/* The lanes of groups [first, first + n) of sixteen rows by one row of x. */
TILE void few_lanes(__m512i (*lanes)[ROWS], const uint8_t *const *rows, struct codes x, size_t k,
                    size_t first, size_t n, const bool is_int4)
{
    size_t bytes = is_int4 ? GROUP / 2 : GROUP, end = is_int4 ? k / 2 : k;
    for (size_t r = 0; r < ROWS; r++)
        for (size_t g = 0; g < n; g++) {
            size_t at = (first + g) * bytes, left = end - at;
            const unsigned char *from = x.bytes + (first + g) * GROUP;
            const __m512i values[2] = {load(from), load(from + 64)};
            for (size_t line = 0; line < bytes; line += 64)
                _mm_prefetch((const char *)rows[r] + at + line + AHEAD_BYTES, _MM_HINT_T0);
            lanes[g][r] = group_lanes(rows[r] + at, left < bytes ? left : bytes, values, is_int4);
        }
}

/* Sixteen weight rows by one row of x. */
TILE __m512 few_tile(const uint8_t *const *rows, const uint16_t *tiled, struct codes x, size_t k,
                     const bool is_int4)
{
    __m512i lanes[FEW_GROUPS][ROWS];
    __m512 sum = _mm512_setzero_ps();
    for (size_t first = 0; first < x.n_groups; first += FEW_GROUPS) {
        size_t left = x.n_groups - first, n = left < FEW_GROUPS ? left : FEW_GROUPS;
        few_lanes(lanes, rows, x, k, first, n, is_int4);
        const char *next = (const char *)rows[ROWS - 1] + (is_int4 ? k / 2 : k) + AHEAD_BYTES;
        for (size_t g = first; g < first + n; g++, next += FOLD_BYTES) {
            lines_ask(next, FOLD_BYTES);
            __m512 scale = _mm512_set1_ps(x.scales[g]);
            __m512i off = _mm512_set1_epi32(shift_of(is_int4) * x.sums[g]);
            __m512i whole = _mm512_sub_epi32(fold_sixteen(lanes[g - first]), off);
            if (is_int4) scale = _mm512_mul_ps(scale, scales_sixteen(tiled, x.n_groups, g));
            sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), scale, sum);
        }
    }
    return sum;
}

/* Where row i of a panel lies; behind the last one the last again. */
static inline const uint8_t *row_at(struct panel w, size_t i)
{
    size_t bytes = w.format == WEIGHT_INT4_G128 ? w.stride / 2 : w.stride, n = (size_t)w.n_rows;
    return (const uint8_t *)w.bytes + (i < n ? i : n - 1) * bytes;
}

/* The first n_w lanes, times the scales of rows where there are some. */
TILE void sixteen_store(float *out, __m512 sum, const float *row_scales, int n_w)
{
    __mmask16 there = n_w >= ROWS ? 0xFFFF : (__mmask16)((1u << n_w) - 1);
    if (row_scales) sum = _mm512_mul_ps(sum, _mm512_maskz_loadu_ps(there, row_scales));
    _mm512_mask_storeu_ps(out, there, sum);
}

TILE void few_any(struct rows out, struct panel w, const float *row_scales, struct codes x,
                  size_t k, const bool is_int4)
{
    for (size_t i = 0; i < (size_t)w.n_rows; i += ROWS) {
        const uint8_t *rows[ROWS];
        const uint16_t *tiled = is_int4 ? w.tiled + i * x.n_groups : NULL;
        for (size_t r = 0; r < ROWS; r++) rows[r] = row_at(w, i + r);
        for (size_t j = 0; j < (size_t)x.n; j++) {
            __m512 sum = few_tile(rows, tiled, codes_row(x, j), k, is_int4);
            sixteen_store(out.values + j * out.stride + i, sum, is_int4 ? NULL : row_scales + i,
                          w.n_rows - (int)i);
        }
    }
}

void avx512_codes_few(struct rows out, struct panel w, const float *row_scales, struct codes x,
                      size_t k)
{
    if (w.format == WEIGHT_INT4_G128)
        few_any(out, w, row_scales, x, k, true);
    else
        few_any(out, w, row_scales, x, k, false);
}

/* to[c * HALVES] lane r is v[r] lane c. */
TILE void transpose_store(__m512i *to, const __m512i *v)
{
    __m512i a[ROWS], b[ROWS];
    for (int i = 0; i < ROWS; i += 2) {
        a[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    /* b[i + c]: rows i to i + 3, lane c of each quarter */
    for (int i = 0; i < ROWS; i += 4)
        for (int h = 0; h < 2; h++) {
            b[i + 2 * h] = _mm512_unpacklo_epi64(a[i + h], a[i + 2 + h]);
            b[i + 2 * h + 1] = _mm512_unpackhi_epi64(a[i + h], a[i + 2 + h]);
        }
    for (int c = 0; c < 4; c++) {
        __m512i low = _mm512_shuffle_i32x4(b[c], b[4 + c], 0x44);
        __m512i low2 = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0x44);
        __m512i high = _mm512_shuffle_i32x4(b[c], b[4 + c], 0xEE);
        __m512i high2 = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0xEE);
        to[HALVES * c] = _mm512_shuffle_i32x4(low, low2, 0x88);
        to[HALVES * (4 + c)] = _mm512_shuffle_i32x4(low, low2, 0xDD);
        to[HALVES * (8 + c)] = _mm512_shuffle_i32x4(high, high2, 0x88);
        to[HALVES * (12 + c)] = _mm512_shuffle_i32x4(high, high2, 0xDD);
    }
}

/* 64 bytes of sixteen rows as fours, of INT4 the even columns first; returns how many fours. */
TILE size_t pack_sixty_four(__m512i *to, const uint8_t *const *rows, size_t at, size_t n,
                            const bool is_int4)
{
    __m512i v[ROWS], odd[ROWS], low = _mm512_set1_epi8(15);
    for (int r = 0; r < ROWS; r++) {
        v[r] = load_first(rows[r] + at, n);
        v[r] = _mm512_xor_si512(v[r], _mm512_set1_epi8((char)(is_int4 ? 0x88 : 0x80)));
        if (!is_int4) continue;
        odd[r] = _mm512_and_si512(_mm512_srli_epi16(v[r], 4), low);
        v[r] = _mm512_and_si512(v[r], low);
    }
    transpose_store(to, v);
    if (is_int4) transpose_store(to + HALVES * ROWS, odd);
    return is_int4 ? 2 * ROWS : ROWS;
}

/* Columns behind the last are what zero is. */
static void pack_rows(__m512i *to, struct panel w, size_t first, size_t k, size_t n_groups)
{
    bool is_int4 = w.format == WEIGHT_INT4_G128;
    size_t end = is_int4 ? k / 2 : k, all = n_groups * GROUP / (is_int4 ? 2 : 1);
    const uint8_t *rows[ROWS];
    for (size_t r = 0; r < ROWS; r++) rows[r] = row_at(w, first + r);
    for (size_t at = 0; at < all; at += 64) {
        size_t n = at >= end ? 0 : end - at;
        to += HALVES * (is_int4 ? pack_sixty_four(to, rows, at, n, true)
                                : pack_sixty_four(to, rows, at, n, false));
    }
}

/* Where 32 rows of out go: n_w of them count. */
struct many_tile {
    struct rows out;
    const __m512i *pack;
    const float *row_scales; /* INT8 */
    const uint16_t *tiled;   /* INT4: of the first of four tiles */
    int n_w;
};

TILE __m512i broadcast_four(const unsigned char *from)
{
    int32_t four;
    memcpy(&four, from, sizeof four);
    return _mm512_set1_epi32(four);
}

/* One group of 32 packed rows by some rows of x, begun at what the shift of weights must take off. */
typedef void group_function(__m512i (*to)[HALVES], const __m512i *w, const unsigned char *x,
                            size_t stride, const int32_t *off);

/* Sums as variables of their own: arrays of them reach registers too late and are spilled. */
#define SUMS_BEGIN(b) __m512i low_##b = _mm512_set1_epi32(off[b]), high_##b = low_##b;
#define SUMS_ADD(b)                                                                                \
    four = broadcast_four(x + (b)*stride + 4 * f);                                                 \
    low_##b = _mm512_dpbusd_epi32(low_##b, low, four);                                             \
    HOLD(low_##b);                                                                                 \
    high_##b = _mm512_dpbusd_epi32(high_##b, high, four);                                          \
    HOLD(high_##b);
#define SUMS_STORE(b)                                                                              \
    to[b][0] = low_##b;                                                                            \
    to[b][1] = high_##b;

#define EACH_1(DO)  DO(0)
#define EACH_2(DO)  EACH_1(DO) DO(1)
#define EACH_4(DO)  EACH_2(DO) DO(2) DO(3)
#define EACH_8(DO)  EACH_4(DO) DO(4) DO(5) DO(6) DO(7)
#define EACH_12(DO) EACH_8(DO) DO(8) DO(9) DO(10) DO(11)

#define GROUP_OF(N)                                                                                \
    static void group_of_##N(__m512i(*to)[HALVES], const __m512i *w, const unsigned char *x,       \
                             size_t stride, const int32_t *off)                                    \
    {                                                                                              \
        EACH_##N(SUMS_BEGIN) for (size_t f = 0; f < FOURS; f++)                                    \
        {                                                                                          \
            __m512i four, low = _mm512_load_si512(w + HALVES * f);                                 \
            __m512i high = _mm512_load_si512(w + HALVES * f + 1);                                  \
            EACH_##N(SUMS_ADD)                                                                     \
        }                                                                                          \
        EACH_##N(SUMS_STORE)                                                                       \
    }
GROUP_OF(1)
GROUP_OF(2)
GROUP_OF(4)
GROUP_OF(8)
GROUP_OF(12)

/* 32 rows by n_x: `group` is the function for as many. */
TILE void many_any(struct many_tile t, struct codes x, group_function *group, int n_x,
                   const bool is_int4)
{
    __m512 sum[TILE_ROWS][HALVES];
    for (int b = 0; b < n_x; b++) sum[b][0] = sum[b][1] = _mm512_setzero_ps();
    for (size_t g = 0; g < x.n_groups; g++) {
        __m512i whole[TILE_ROWS][HALVES];
        __m512 scales[HALVES] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
        int32_t off[TILE_ROWS];
        for (size_t b = 0; b < (size_t)n_x; b++)
            off[b] = -shift_of(is_int4) * x.sums[b * x.n_groups + g];
        group(whole, t.pack + g * FOURS * HALVES, x.bytes + g * GROUP, x.stride, off);
        for (size_t h = 0; is_int4 && h < HALVES; h++)
            if (t.n_w > (int)h * ROWS)
                scales[h] = scales_sixteen(t.tiled + h * ROWS * x.n_groups, x.n_groups, g);
        for (int b = 0; b < n_x; b++)
            for (int h = 0; h < HALVES; h++) {
                __m512 scale = _mm512_set1_ps(x.scales[(size_t)b * x.n_groups + g]);
                if (is_int4) scale = _mm512_mul_ps(scale, scales[h]);
                sum[b][h] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[b][h]), scale, sum[b][h]);
            }
    }
    for (int b = 0; b < n_x; b++)
        for (int h = 0; h < HALVES && h * ROWS < t.n_w; h++)
            sixteen_store(t.out.values + (size_t)b * t.out.stride + h * ROWS, sum[b][h],
                          is_int4 ? NULL : t.row_scales + h * ROWS, t.n_w - h * ROWS);
}

/* The largest tile for so many rows of x. */
static int group_find(group_function **out, int n_x)
{
    static const struct {
        int n;
        group_function *run;
    } groups[] = {{12, group_of_12}, {8, group_of_8}, {4, group_of_4}, {2, group_of_2}};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        *out = groups[i].run;
        if (n_x >= groups[i].n) return groups[i].n;
    }
    *out = group_of_1;
    return 1;
}

void avx512_codes_many(struct rows out, struct panel w, const float *row_scales, struct codes x,
                       size_t k, void *pack)
{
    bool is_int4 = w.format == WEIGHT_INT4_G128;
    for (int i = 0; i < w.n_rows; i += HALVES * ROWS) {
        pack_rows(pack, w, (size_t)i, k, x.n_groups);
        pack_rows((__m512i *)pack + 1, w, (size_t)i + ROWS, k, x.n_groups);
        for (int j = 0, n; j < x.n; j += n) {
            group_function *group;
            n = group_find(&group, x.n - j);
            struct many_tile t = {
                .out = {out.values + (size_t)j * out.stride + i, out.stride, n},
                .pack = pack,
                .row_scales = is_int4 ? NULL : row_scales + i,
                .tiled = is_int4 ? w.tiled + (size_t)i * x.n_groups : NULL,
                .n_w = w.n_rows - i,
            };
            if (is_int4)
                many_any(t, codes_row(x, (size_t)j), group, n, true);
            else
                many_any(t, codes_row(x, (size_t)j), group, n, false);
        }
    }
}

#endif
