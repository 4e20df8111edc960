/* math_rows.h's formulas eight values at a time. Rounding gives the very values of activation_round:
 * its steps are the same and exact in order. */
#include "kernels/cpu/rows_avx2.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/cpu/math_rows.h"

enum { GROUP_VECTORS = INT4_GROUP / LANES, GROUP_COLUMNS = INT4_GROUP };

/* row_exp, with fused multiply-adds. */
static inline __m256 exp_eight(__m256 x)
{
    x = _mm256_max_ps(_mm256_set1_ps(-87.0f), x); /* in this order NaN stays */
    x = _mm256_min_ps(_mm256_set1_ps(88.0f), x);
    __m256 magic = _mm256_set1_ps(12582912.0f);
    __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(1.44269504f), magic);
    __m256 n = _mm256_sub_ps(shifted, magic);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(2.12194440e-4f), r);
    __m256 p = _mm256_set1_ps(1.9875691500e-4f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
    p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
    __m256i exponent = _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}

/* n is a multiple of 8. */
void avx2_silu_product(float *gate, const float *up, int n)
{
    __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
    for (int i = 0; i < n; i += LANES) {
        __m256 g = _mm256_loadu_ps(gate + i);
        __m256 below = _mm256_add_ps(one, exp_eight(_mm256_xor_ps(g, sign)));
        _mm256_storeu_ps(gate + i, _mm256_mul_ps(_mm256_div_ps(g, below), _mm256_loadu_ps(up + i)));
    }
}

float avx2_exp_sum(float *p, float largest, int n)
{
    __m256 sum = _mm256_setzero_ps(), most = _mm256_set1_ps(largest);
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    float part[LANES];
    for (int i = 0; i < n; i += LANES) {
        __m256i there = _mm256_cmpgt_epi32(_mm256_set1_epi32(n - i), lane);
        __m256 e = exp_eight(_mm256_sub_ps(_mm256_maskload_ps(p + i, there), most));
        e = _mm256_and_ps(e, _mm256_castsi256_ps(there));
        _mm256_storeu_ps(p + i, e);
        sum = _mm256_add_ps(sum, e);
    }
    _mm256_storeu_ps(part, sum);
    return ((part[0] + part[4]) + (part[2] + part[6])) +
           ((part[1] + part[5]) + (part[3] + part[7]));
}

static void words_store(struct codes out, size_t from, const __m256i *code)
{
    for (size_t v = 0; v < GROUP_VECTORS; v += 2) {
        __m256i words = _mm256_packs_epi32(code[v], code[v + 1]);
        int16_t *to = (int16_t *)(void *)out.bytes + from + v * LANES;
        _mm256_storeu_si256((__m256i *)(void *)to, _mm256_permute4x64_epi64(words, 0xD8));
    }
}

/* 32 codes as bytes in order. */
static inline __m256i bytes_of(const __m256i *code)
{
    __m256i low = _mm256_packs_epi32(code[0], code[1]), high = _mm256_packs_epi32(code[2], code[3]);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high),
                                       _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Of 64 bytes in order the even ones to `to`, the odd ones half a group behind. */
static inline void split_store(unsigned char *to, __m256i first, __m256i second)
{
    __m256i mask = _mm256_set1_epi16(255);
    __m256i even =
        _mm256_packus_epi16(_mm256_and_si256(first, mask), _mm256_and_si256(second, mask));
    __m256i odd = _mm256_packus_epi16(_mm256_srli_epi16(first, 8), _mm256_srli_epi16(second, 8));
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_permute4x64_epi64(even, 0xD8));
    _mm256_storeu_si256((__m256i *)(void *)(to + GROUP_COLUMNS / 2),
                        _mm256_permute4x64_epi64(odd, 0xD8));
}

static void group_store(struct codes out, size_t from, const __m256i *code)
{
    __m256i sum = _mm256_setzero_si256();
    int32_t part[LANES];
    for (size_t v = 0; v < GROUP_VECTORS; v++) sum = _mm256_add_epi32(sum, code[v]);
    _mm256_storeu_si256((__m256i *)(void *)part, sum);
    out.sums[from / GROUP_COLUMNS] =
        part[0] + part[1] + part[2] + part[3] + part[4] + part[5] + part[6] + part[7];
    if (out.form == CODES_WORDS) {
        words_store(out, from, code);
        return;
    }
    for (size_t v = 0; v < GROUP_VECTORS; v += 8)
        split_store(out.bytes + from + v * 4, bytes_of(code + v), bytes_of(code + v + 4));
}

static inline int32_t most_of(__m256i v)
{
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epi32(m, _mm_unpackhi_epi64(m, m));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 1));
    return _mm_cvtsi128_si32(m);
}

/* n, a multiple of 8, values of one group; codes behind them are zero. */
static float group_round(float *row, int n, __m256i *code)
{
    __m256i most = _mm256_setzero_si256(), magnitude = _mm256_set1_epi32(0x7FFFFFFF);
    __m256 limit = _mm256_set1_ps(127.0f), low = _mm256_set1_ps(-127.0f);
    for (int i = 0; i < n; i += LANES) {
        __m256i bits = _mm256_castps_si256(_mm256_loadu_ps(row + i));
        most = _mm256_max_epi32(most, _mm256_and_si256(bits, magnitude));
    }
    int32_t bits = most_of(most);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    float scale = bits < 0x7F800000 ? largest / 127.0f : NAN;
    __m256 by = _mm256_set1_ps(scale), divisor = _mm256_set1_ps(scale > 0 ? scale : INFINITY);
    __m256 counts = _mm256_castsi256_ps(_mm256_set1_epi32(scale > 0 ? -1 : 0));
    for (int i = 0; i < n; i += LANES) {
        __m256 q = _mm256_div_ps(_mm256_loadu_ps(row + i), divisor);
        q = _mm256_and_ps(_mm256_min_ps(limit, _mm256_max_ps(low, q)), counts);
        q = _mm256_round_ps(q, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm256_storeu_ps(row + i, _mm256_mul_ps(q, by));
        code[i / LANES] = _mm256_cvtps_epi32(q);
    }
    for (int v = n / LANES; v < GROUP_VECTORS; v++) code[v] = _mm256_setzero_si256();
    return scale;
}

void avx2_round(float *row, enum activation_type type, int n, struct codes out)
{
    __m256i code[GROUP_VECTORS];
    if (type != ACTIVATION_INT8) {
        row_round(row, type, n, out);
        return;
    }
    for (int from = 0; from < n; from += GROUP_COLUMNS) {
        int size = n - from < GROUP_COLUMNS ? n - from : GROUP_COLUMNS;
        float scale = group_round(row + from, size, code);
        if (out.form == CODES_NONE) continue;
        out.scales[from / GROUP_COLUMNS] = scale;
        group_store(out, (size_t)from, code);
    }
}

#endif
