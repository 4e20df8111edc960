/* Sums of a group of 128 columns are exact integers, so their order is free and the two loops here
 * agree bit for bit: what is left is one fp32 multiply-add per group, groups ascending.
 *
 * Few rows: eight weight rows at a time as they lie in the file, lanes along k, folded together by a
 * tree of horizontal additions. Weights are read once and are what this costs.
 * Many rows: sixteen weight rows are packed so that lanes are rows: pairs of int16 for INT8, fours of
 * unsigned nibbles for INT4; then tiles of 16 by 6 (INT8) or 16 by 3 (INT4) broadcast activations.
 *
 * INT8: as pairs of 16 bits.
 * INT4: w + 8 is 0..15, and the sum of x times 8 comes off at the end; a pair is at most 3810, so
 * eight of them add up in 16 bits. */
#include "kernels/cpu/integer_avx2.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/format.h"

#define TILE static inline __attribute__((always_inline))

enum {
    GROUP = INT4_GROUP,
    EIGHT = 8,
    PAIRS = GROUP / 2,
    FOURS = GROUP / 4,
    FOURS_EXACT = 8,
    PACK_ROWS = 16
};

/* Holds a sum in its register where the source updates it: left to themselves, compilers start all of
 * a tile's multiplications first and spill the sums. */
#define HOLD(v) __asm__ volatile("" : "+x"(v))

TILE __m256i load(const void *from) { return _mm256_loadu_si256((const __m256i *)from); }

/* Lane r is the sum of v[r]'s lanes. */
TILE __m256i fold_eight(const __m256i *v)
{
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                            _mm256_permute2x128_si256(a, b, 0x31));
}

/* Eight bf16 scales of a tile. */
TILE __m256 scales_eight(const uint16_t *from)
{
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)from);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* One group of eight rows at `w`, `stride` bytes apart: lane r is row r's sum. */
TILE __m256i group_int8(const uint8_t *w, size_t stride, const int16_t *x)
{
    __m256i sum[EIGHT];
    for (int r = 0; r < EIGHT; r++) sum[r] = _mm256_setzero_si256();
    for (int i = 0; i < GROUP; i += 16) {
        __m256i values = load(x + i);
        for (size_t r = 0; r < EIGHT; r++) {
            const __m128i *from = (const __m128i *)(const void *)(w + r * stride + i);
            __m256i codes = _mm256_cvtepi8_epi16(_mm_loadu_si128(from));
            sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(codes, values));
            HOLD(sum[r]);
        }
    }
    return fold_eight(sum);
}

/* The same of codes + 8. */
TILE __m256i group_int4(const uint8_t *w, size_t stride, const int8_t *x)
{
    __m256i sum[EIGHT], low = _mm256_set1_epi8(15), top = _mm256_set1_epi8((char)0x88);
    for (int r = 0; r < EIGHT; r++) sum[r] = _mm256_setzero_si256();
    for (int i = 0; i < GROUP; i += 64) {
        __m256i x_even = load(x + i / 2), x_odd = load(x + GROUP / 2 + i / 2);
        for (size_t r = 0; r < EIGHT; r++) {
            __m256i codes = _mm256_xor_si256(load(w + r * stride + i / 2), top);
            __m256i even = _mm256_and_si256(codes, low);
            __m256i odd = _mm256_and_si256(_mm256_srli_epi16(codes, 4), low);
            __m256i both = _mm256_add_epi16(_mm256_maddubs_epi16(even, x_even),
                                            _mm256_maddubs_epi16(odd, x_odd));
            sum[r] = _mm256_add_epi16(sum[r], both);
            HOLD(sum[r]);
        }
    }
    for (int r = 0; r < EIGHT; r++) sum[r] = _mm256_madd_epi16(sum[r], _mm256_set1_epi16(1));
    return fold_eight(sum);
}

/* The last group may be short: its bytes are copied, zeros behind them. */
static const uint8_t *tail_copy(uint8_t *tail, const uint8_t *w, size_t stride, size_t n)
{
    memset(tail, 0, EIGHT * GROUP);
    for (size_t r = 0; r < EIGHT; r++) memcpy(tail + r * GROUP, w + r * stride, n);
    return tail;
}

/* Eight weight rows by one row of x. What is read next, the eight rows behind them, is asked for in
 * the order it lies in. */
TILE __m256 few_tile(const uint8_t *w, size_t stride, const uint16_t *tiled, struct codes x,
                     size_t k, const bool is_int4)
{
    __m256 sum = _mm256_setzero_ps();
    uint8_t tail[EIGHT * GROUP];
    size_t bytes = is_int4 ? GROUP / 2 : GROUP, end = is_int4 ? k / 2 : k;
    for (size_t g = 0; g < x.n_groups; g++) {
        size_t at = g * bytes, step = stride;
        const uint8_t *from = w + at;
        for (size_t line = 0; line < EIGHT * bytes; line += 64)
            _mm_prefetch((const char *)w + EIGHT * stride + g * EIGHT * bytes + line, _MM_HINT_T0);
        if (at + bytes > end) {
            from = tail_copy(tail, from, stride, end - at);
            step = GROUP;
        }
        __m256 scale = _mm256_broadcast_ss(x.scales + g);
        __m256i whole;
        if (is_int4) {
            whole = group_int4(from, step, (const int8_t *)x.bytes + g * GROUP);
            whole = _mm256_sub_epi32(whole, _mm256_set1_epi32(8 * x.sums[g]));
            scale = _mm256_mul_ps(scale, scales_eight(tiled + g * INT4_TILE));
        } else {
            whole = group_int8(from, step, (const int16_t *)(const void *)x.bytes + g * GROUP);
        }
        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), scale, sum);
    }
    return sum;
}

static struct codes codes_row(struct codes x, size_t j)
{
    x.bytes += j * x.stride * code_bytes(x.form);
    x.scales += j * x.n_groups;
    x.sums += j * x.n_groups;
    x.n = 1;
    return x;
}

TILE void few_any(struct rows out, struct panel w, const float *row_scales, struct codes x,
                  size_t k, const bool is_int4)
{
    size_t n_w = (size_t)w.n_rows, bytes = is_int4 ? w.stride / 2 : w.stride, i = 0;
    for (; i + EIGHT <= n_w; i += EIGHT)
        for (size_t j = 0; j < (size_t)x.n; j++) {
            const uint16_t *tiled = is_int4 ? w.tiled + i * x.n_groups : NULL;
            __m256 sum = few_tile((const uint8_t *)w.bytes + i * bytes, bytes, tiled,
                                  codes_row(x, j), k, is_int4);
            if (!is_int4) sum = _mm256_mul_ps(sum, _mm256_loadu_ps(row_scales + i));
            _mm256_storeu_ps(out.values + j * out.stride + i, sum);
        }
}

/* What is left of fewer than eight rows: each eight times over, of which one counts. */
TILE void few_rest(struct rows out, struct panel w, const float *row_scales, struct codes x,
                   size_t k, const bool is_int4)
{
    size_t n_w = (size_t)w.n_rows, bytes = is_int4 ? w.stride / 2 : w.stride;
    float all[EIGHT];
    for (size_t i = n_w / EIGHT * EIGHT; i < n_w; i++)
        for (size_t j = 0; j < (size_t)x.n; j++) {
            const uint16_t *tiled = is_int4 ? w.tiled + i / EIGHT * EIGHT * x.n_groups : NULL;
            _mm256_storeu_ps(all, few_tile((const uint8_t *)w.bytes + i * bytes, 0, tiled,
                                           codes_row(x, j), k, is_int4));
            out.values[j * out.stride + i] =
                is_int4 ? all[i % EIGHT] : all[i % EIGHT] * row_scales[i];
        }
}

void avx2_codes_few(struct rows out, struct panel w, const float *row_scales, struct codes x,
                    size_t k)
{
    bool is_int4 = w.format == WEIGHT_INT4_G128;
    if (is_int4) {
        few_any(out, w, row_scales, x, k, true);
        if (w.n_rows % EIGHT) few_rest(out, w, row_scales, x, k, true);
    } else {
        few_any(out, w, row_scales, x, k, false);
        if (w.n_rows % EIGHT) few_rest(out, w, row_scales, x, k, false);
    }
}

/* to[c * 2] lane r is v[r] lane c. */
TILE void transpose_store(__m256i *to, const __m256i *v)
{
    __m256i a[EIGHT], b[EIGHT];
    for (int i = 0; i < EIGHT; i += 2) {
        a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < EIGHT; i += 4)
        for (int h = 0; h < 2; h++) {
            b[i + 2 * h] = _mm256_unpacklo_epi64(a[i + h], a[i + 2 + h]);
            b[i + 2 * h + 1] = _mm256_unpackhi_epi64(a[i + h], a[i + 2 + h]);
        }
    for (int i = 0; i < 4; i++) {
        to[2 * i] = _mm256_permute2x128_si256(b[i], b[4 + i], 0x20);
        to[2 * (i + 4)] = _mm256_permute2x128_si256(b[i], b[4 + i], 0x31);
    }
}

/* Sixteen columns of eight rows as pairs. */
TILE void pack_int8(__m256i *to, const uint8_t *const *rows)
{
    __m256i v[EIGHT];
    for (int r = 0; r < EIGHT; r++)
        v[r] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)rows[r]));
    transpose_store(to, v);
}

/* 64 columns of eight rows as fours, the odd ones half a group behind the even ones. */
TILE void pack_int4(__m256i *to, const uint8_t *const *rows)
{
    __m256i even[EIGHT], odd[EIGHT], low = _mm256_set1_epi8(15);
    for (int r = 0; r < EIGHT; r++) {
        __m256i codes = _mm256_xor_si256(load(rows[r]), _mm256_set1_epi8((char)0x88));
        even[r] = _mm256_and_si256(codes, low);
        odd[r] = _mm256_and_si256(_mm256_srli_epi16(codes, 4), low);
    }
    transpose_store(to, even);
    transpose_store(to + FOURS, odd);
}

/* Rows behind the last are the last one again; columns behind the last are zero. */
static void pack_rows(__m256i *to, struct panel w, int first, size_t k, size_t n_groups)
{
    bool is_int4 = w.format == WEIGHT_INT4_G128;
    size_t step = is_int4 ? 32 : 16, bytes = is_int4 ? w.stride / 2 : w.stride;
    size_t end = is_int4 ? k / 2 : k, all = n_groups * GROUP / (is_int4 ? 2 : 1);
    uint8_t tail[EIGHT][32];
    const uint8_t *rows[EIGHT];
    for (size_t at = 0; at < all; at += step) {
        for (int r = 0; r < EIGHT; r++) {
            int row = first + r < w.n_rows ? first + r : w.n_rows - 1;
            rows[r] = (const uint8_t *)w.bytes + (size_t)row * bytes + at;
            if (at + step <= end) continue;
            memset(tail[r], 0, sizeof tail[r]);
            if (at < end) memcpy(tail[r], rows[r], end - at);
            rows[r] = tail[r];
        }
        if (is_int4)
            pack_int4(to + at / (GROUP / 2) * 2 * FOURS + at % (GROUP / 2) / 2, rows);
        else
            pack_int8(to + at, rows);
    }
}

/* Where sixteen rows of out go: n_w of them count. */
struct many_tile {
    struct rows out;
    const __m256i *pack;
    const float *row_scales; /* INT8 */
    const uint16_t *tiled;   /* INT4: of the first tile; the second follows */
    int n_w;
};

TILE void sixteen_store(float *out, __m256 low, __m256 high, int n_w)
{
    float all[PACK_ROWS];
    if (n_w == PACK_ROWS) {
        _mm256_storeu_ps(out, low);
        _mm256_storeu_ps(out + EIGHT, high);
        return;
    }
    _mm256_storeu_ps(all, low);
    _mm256_storeu_ps(all + EIGHT, high);
    memcpy(out, all, (size_t)n_w * sizeof *all);
}

TILE __m256i broadcast_four(const unsigned char *from)
{
    int32_t four;
    memcpy(&four, from, sizeof four);
    return _mm256_set1_epi32(four);
}

TILE void many_int8(struct many_tile t, struct codes x, const int n_x)
{
    __m256 sum[12];
    float scale[PACK_ROWS] = {0};
    for (int i = 0; i < 2 * n_x; i++) sum[i] = _mm256_setzero_ps();
    for (size_t g = 0; g < x.n_groups; g++) {
        const __m256i *w = t.pack + g * PAIRS * 2;
        const unsigned char *from = x.bytes + g * GROUP * 2;
        __m256i whole[12];
        for (int i = 0; i < 2 * n_x; i++) whole[i] = _mm256_setzero_si256();
        for (int p = 0; p < PAIRS; p++) {
            __m256i low = _mm256_load_si256(w + 2 * p), high = _mm256_load_si256(w + 2 * p + 1);
            for (int b = 0; b < n_x; b++) {
                __m256i pair = broadcast_four(from + (size_t)b * x.stride * 2 + 4 * p);
                whole[2 * b] = _mm256_add_epi32(whole[2 * b], _mm256_madd_epi16(low, pair));
                whole[2 * b + 1] =
                    _mm256_add_epi32(whole[2 * b + 1], _mm256_madd_epi16(high, pair));
                HOLD(whole[2 * b]);
                HOLD(whole[2 * b + 1]);
            }
        }
        for (int i = 0; i < 2 * n_x; i++)
            sum[i] = _mm256_fmadd_ps(
                _mm256_cvtepi32_ps(whole[i]),
                _mm256_broadcast_ss(x.scales + (size_t)(i / 2) * x.n_groups + g), sum[i]);
    }
    memcpy(scale, t.row_scales, (size_t)t.n_w * sizeof *scale);
    for (int b = 0; b < n_x; b++)
        sixteen_store(t.out.values + (size_t)b * t.out.stride,
                      _mm256_mul_ps(sum[2 * b], _mm256_loadu_ps(scale)),
                      _mm256_mul_ps(sum[2 * b + 1], _mm256_loadu_ps(scale + EIGHT)), t.n_w);
}

/* One group of sixteen rows by n_x, of codes + 8. */
TILE void sixteen_int4(__m256i *whole, const __m256i *w, const unsigned char *from, size_t stride,
                       const int n_x)
{
    __m256i ones = _mm256_set1_epi16(1);
    for (int i = 0; i < 2 * n_x; i++) whole[i] = _mm256_setzero_si256();
    for (int first = 0; first < FOURS; first += FOURS_EXACT) {
        __m256i part[6];
        for (int i = 0; i < 2 * n_x; i++) part[i] = _mm256_setzero_si256();
        for (int f = first; f < first + FOURS_EXACT; f++) {
            __m256i low = _mm256_load_si256(w + 2 * f), high = _mm256_load_si256(w + 2 * f + 1);
            for (int b = 0; b < n_x; b++) {
                __m256i four = broadcast_four(from + (size_t)b * stride + 4 * f);
                part[2 * b] = _mm256_add_epi16(part[2 * b], _mm256_maddubs_epi16(low, four));
                part[2 * b + 1] =
                    _mm256_add_epi16(part[2 * b + 1], _mm256_maddubs_epi16(high, four));
                HOLD(part[2 * b]);
                HOLD(part[2 * b + 1]);
            }
        }
        for (int i = 0; i < 2 * n_x; i++)
            whole[i] = _mm256_add_epi32(whole[i], _mm256_madd_epi16(part[i], ones));
    }
}

TILE void many_int4(struct many_tile t, struct codes x, const int n_x)
{
    __m256 sum[6];
    for (int i = 0; i < 2 * n_x; i++) sum[i] = _mm256_setzero_ps();
    for (size_t g = 0; g < x.n_groups; g++) {
        __m256i whole[6];
        sixteen_int4(whole, t.pack + g * FOURS * 2, x.bytes + g * GROUP, x.stride, n_x);
        __m256 low = scales_eight(t.tiled + g * INT4_TILE);
        __m256 high = scales_eight(t.tiled + (x.n_groups + g) * INT4_TILE);
        for (int b = 0; b < n_x; b++) {
            size_t at = (size_t)b * x.n_groups + g;
            __m256 scale = _mm256_broadcast_ss(x.scales + at);
            __m256i eights = _mm256_set1_epi32(8 * x.sums[at]);
            __m256i first = _mm256_sub_epi32(whole[2 * b], eights);
            __m256i second = _mm256_sub_epi32(whole[2 * b + 1], eights);
            sum[2 * b] =
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(first), _mm256_mul_ps(scale, low), sum[2 * b]);
            sum[2 * b + 1] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(second), _mm256_mul_ps(scale, high),
                                             sum[2 * b + 1]);
        }
    }
    for (int b = 0; b < n_x; b++)
        sixteen_store(t.out.values + (size_t)b * t.out.stride, sum[2 * b], sum[2 * b + 1], t.n_w);
}

static void tile_int8(struct many_tile t, struct codes x, int n_x)
{
    switch (n_x) {
    case 1: many_int8(t, x, 1); break;
    case 2: many_int8(t, x, 2); break;
    case 3: many_int8(t, x, 3); break;
    case 4: many_int8(t, x, 4); break;
    case 5: many_int8(t, x, 5); break;
    default: many_int8(t, x, 6); break;
    }
}

static void tile_int4(struct many_tile t, struct codes x, int n_x)
{
    switch (n_x) {
    case 1: many_int4(t, x, 1); break;
    case 2: many_int4(t, x, 2); break;
    default: many_int4(t, x, 3); break;
    }
}

void avx2_codes_many(struct rows out, struct panel w, const float *row_scales, struct codes x,
                     size_t k, void *pack)
{
    bool is_int4 = w.format == WEIGHT_INT4_G128;
    int most = is_int4 ? 3 : 6;
    for (int i = 0; i < w.n_rows; i += PACK_ROWS) {
        pack_rows(pack, w, i, k, x.n_groups);
        pack_rows((__m256i *)pack + 1, w, i + EIGHT, k, x.n_groups);
        int n_w = w.n_rows - i < PACK_ROWS ? w.n_rows - i : PACK_ROWS;
        for (int j = 0, n; j < x.n; j += n) {
            int left = x.n - j;
            n = left <= most ? left : left < 2 * most ? (left + 1) / 2 : most;
            struct many_tile t = {
                .out = {out.values + (size_t)j * out.stride + i, out.stride, n},
                .pack = pack,
                .row_scales = is_int4 ? NULL : row_scales + i,
                .tiled = is_int4 ? w.tiled + (size_t)i * x.n_groups : NULL,
                .n_w = n_w,
            };
            if (is_int4)
                tile_int4(t, codes_row(x, (size_t)j), n);
            else
                tile_int8(t, codes_row(x, (size_t)j), n);
        }
    }
}

#endif
