/* math_rows.h's formulas sixteen values at a time. Rounding gives the very values of
 * activation_round: its steps are the same and exact in order. */
#include "kernels/cpu/rows_avx512.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/cpu/math_rows.h"

enum { VECTOR = 16, GROUP_COLUMNS = INT4_GROUP, GROUP_VECTORS = GROUP_COLUMNS / VECTOR };

/* row_exp, with fused multiply-adds. */
static inline __m512 exp_sixteen(__m512 x)
{
    x = _mm512_max_ps(_mm512_set1_ps(-87.0f), x); /* in this order NaN stays */
    x = _mm512_min_ps(_mm512_set1_ps(88.0f), x);
    __m512 magic = _mm512_set1_ps(12582912.0f);
    __m512 shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(1.44269504f), magic);
    __m512 n = _mm512_sub_ps(shifted, magic);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
    __m512i exponent = _mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(127));
    return _mm512_mul_ps(p, _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23)));
}

/* n is a multiple of 16. */
void avx512_silu_product(float *gate, const float *up, int n)
{
    __m512 one = _mm512_set1_ps(1.0f), zero = _mm512_setzero_ps();
    for (int i = 0; i < n; i += VECTOR) {
        __m512 g = _mm512_loadu_ps(gate + i);
        __m512 below = _mm512_add_ps(one, exp_sixteen(_mm512_sub_ps(zero, g)));
        _mm512_storeu_ps(gate + i, _mm512_mul_ps(_mm512_div_ps(g, below), _mm512_loadu_ps(up + i)));
    }
}

static __mmask16 first_lanes(int n) { return n >= VECTOR ? 0xFFFF : (__mmask16)((1u << n) - 1); }

float avx512_scale_largest(float *p, float scale, int n)
{
    __m512 largest = _mm512_set1_ps(-INFINITY), by = _mm512_set1_ps(scale);
    for (int i = 0; i < n; i += VECTOR) {
        __mmask16 there = first_lanes(n - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(there, p + i), by);
        _mm512_mask_storeu_ps(p + i, there, v);
        largest =
            _mm512_mask_max_ps(largest, there, v, largest); /* in this order NaN is left out */
    }
    return _mm512_reduce_max_ps(largest);
}

float avx512_exp_sum(float *p, float largest, int n)
{
    __m512 sum = _mm512_setzero_ps(), most = _mm512_set1_ps(largest);
    for (int i = 0; i < n; i += VECTOR) {
        __mmask16 there = first_lanes(n - i);
        __m512 e = exp_sixteen(_mm512_sub_ps(_mm512_maskz_loadu_ps(there, p + i), most));
        e = _mm512_maskz_mov_ps(there, e);
        _mm512_storeu_ps(p + i, e);
        sum = _mm512_add_ps(sum, e);
    }
    return _mm512_reduce_add_ps(sum);
}

/* Of 64 bytes in order the even ones to `to`, the odd ones 64 behind. */
static inline void split_store(unsigned char *to, __m512i bytes)
{
    _mm256_storeu_si256((__m256i *)(void *)to, _mm512_cvtepi16_epi8(bytes));
    _mm256_storeu_si256((__m256i *)(void *)(to + 64),
                        _mm512_cvtepi16_epi8(_mm512_srli_epi16(bytes, 8)));
}

/* The codes of a group in their order, as bytes. */
static void group_store(struct codes out, size_t from, const __m512i *code)
{
    __m512i sum = _mm512_setzero_si512();
    _Alignas(64) unsigned char bytes[GROUP_COLUMNS];
    for (size_t v = 0; v < GROUP_VECTORS; v++) {
        sum = _mm512_add_epi32(sum, code[v]);
        _mm_store_si128((__m128i *)(void *)(bytes + v * VECTOR), _mm512_cvtepi32_epi8(code[v]));
    }
    out.sums[from / GROUP_COLUMNS] = _mm512_reduce_add_epi32(sum);
    unsigned char *to = out.bytes + from;
    __m512i first = _mm512_load_si512(bytes), second = _mm512_load_si512(bytes + 64);
    if (out.form == CODES_SPLIT) {
        split_store(to, first);
        split_store(to + 32, second);
    } else {
        _mm512_storeu_si512(to, first);
        _mm512_storeu_si512(to + 64, second);
    }
}

/* n, a multiple of 16, values of one group; codes behind them are zero. */
static float group_round(float *row, int n, __m512i *code)
{
    __m512i most = _mm512_setzero_si512(), magnitude = _mm512_set1_epi32(0x7FFFFFFF);
    __m512 limit = _mm512_set1_ps(127.0f), low = _mm512_set1_ps(-127.0f);
    for (int i = 0; i < n; i += VECTOR) {
        __m512i bits = _mm512_castps_si512(_mm512_loadu_ps(row + i));
        most = _mm512_max_epi32(most, _mm512_and_si512(bits, magnitude));
    }
    int32_t bits = _mm512_reduce_max_epi32(most);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    float scale = bits < 0x7F800000 ? largest / 127.0f : NAN;
    __m512 by = _mm512_set1_ps(scale), divisor = _mm512_set1_ps(scale > 0 ? scale : INFINITY);
    __mmask16 counts = scale > 0 ? 0xFFFF : 0;
    for (int i = 0; i < n; i += VECTOR) {
        __m512 q = _mm512_div_ps(_mm512_loadu_ps(row + i), divisor);
        q = _mm512_maskz_min_ps(counts, limit, _mm512_max_ps(low, q));
        q = _mm512_roundscale_ps(q, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm512_storeu_ps(row + i, _mm512_mul_ps(q, by));
        code[i / VECTOR] = _mm512_cvtps_epi32(q);
    }
    for (int v = n / VECTOR; v < GROUP_VECTORS; v++) code[v] = _mm512_setzero_si512();
    return scale;
}

/* The codes of a group as BF16. */
static void halves_of_codes(unsigned char *to, const __m512i *code)
{
    for (size_t v = 0; v < GROUP_VECTORS; v++, to += 2 * VECTOR) {
        __m512i bits = _mm512_castps_si512(_mm512_cvtepi32_ps(code[v]));
        _mm256_storeu_si256((__m256i *)(void *)to,
                            _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
    }
}

/* Values of a row, rounded already, as the upper halves they are; zeros up to a whole group. */
static void halves_store(const float *row, int n, struct codes out)
{
    for (int i = 0; i < (int)out.n_groups * GROUP_COLUMNS; i += VECTOR) {
        __m512i bits = _mm512_castps_si512(_mm512_maskz_loadu_ps(i < n ? 0xFFFF : 0, row + i));
        _mm256_storeu_si256((__m256i *)(void *)(out.bytes + 2 * i),
                            _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
    }
}

void avx512_round(float *row, enum activation_type type, int n, struct codes out)
{
    __m512i code[GROUP_VECTORS];
    if (type != ACTIVATION_INT8) {
        row_round(row, type, n, (struct codes){.form = CODES_NONE});
        if (out.form == CODES_BF16) halves_store(row, n, out);
        return;
    }
    for (int from = 0; from < n; from += GROUP_COLUMNS) {
        int size = n - from < GROUP_COLUMNS ? n - from : GROUP_COLUMNS;
        float scale = group_round(row + from, size, code);
        if (out.form == CODES_NONE) continue;
        out.scales[from / GROUP_COLUMNS] = scale;
        if (out.form == CODES_BF16_SCALED)
            halves_of_codes(out.bytes + 2 * from, code);
        else
            group_store(out, (size_t)from, code);
    }
}

#endif
