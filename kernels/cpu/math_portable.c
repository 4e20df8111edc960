/* Plain C for any machine: eight lanes as arrays that a compiler turns into whatever vectors the
 * baseline has. bf16 is widened by the caller. */
#include "kernels/cpu/math.h"
#include "kernels/cpu/math_rows.h"

static inline float lanes_fold(const float *l)
{
    return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

/* Four weight rows against one row of activations, which is loaded once for all. */
static void dot_four(float *out, const float *w, size_t stride, const float *x, size_t k)
{
    float a[LANES] = {0}, b[LANES] = {0}, c[LANES] = {0}, d[LANES] = {0};
    for (size_t i = 0; i < k; i += LANES)
        for (size_t l = 0; l < LANES; l++) {
            float v = x[i + l];
            a[l] += w[i + l] * v;
            b[l] += w[stride + i + l] * v;
            c[l] += w[2 * stride + i + l] * v;
            d[l] += w[3 * stride + i + l] * v;
        }
    out[0] = lanes_fold(a);
    out[1] = lanes_fold(b);
    out[2] = lanes_fold(c);
    out[3] = lanes_fold(d);
}

static float dot_one(const float *w, const float *x, size_t k)
{
    float a[LANES] = {0};
    for (size_t i = 0; i < k; i += LANES)
        for (size_t l = 0; l < LANES; l++) a[l] += w[i + l] * x[i + l];
    return lanes_fold(a);
}

static void portable_dot(struct rows out, struct panel w, struct rows x, size_t k)
{
    const float *weights = w.bytes;
    int i = 0;
    for (; i + 4 <= w.n_rows; i += 4)
        for (int j = 0; j < x.n; j++)
            dot_four(out.values + (size_t)j * out.stride + i, weights + (size_t)i * w.stride,
                     w.stride, x.values + (size_t)j * x.stride, k);
    for (; i < w.n_rows; i++)
        for (int j = 0; j < x.n; j++)
            out.values[(size_t)j * out.stride + (size_t)i] =
                dot_one(weights + (size_t)i * w.stride, x.values + (size_t)j * x.stride, k);
}

static void portable_accumulate(struct rows out, struct panel w, struct rows h, int n_columns)
{
    for (int f = 0; f < w.n_rows; f++) {
        const float *weights = (const float *)w.bytes + (size_t)f * w.stride;
        for (int j = 0; j < h.n; j++) {
            float *to = out.values + (size_t)j * out.stride;
            float factor = h.values[(size_t)j * h.stride + (size_t)f];
            for (int c = 0; c < n_columns; c++) to[c] += factor * weights[c];
        }
    }
}

/* Widened blocks go through the same eight lanes, which wait in memory between blocks. */
static void portable_dot_lanes(float *lanes, const float *w, size_t stride, struct rows x, size_t k,
                               bool first)
{
    for (int j = 0; j < x.n; j++)
        for (size_t a = 0; a < 4; a++, lanes += LANES) {
            const float *from = x.values + (size_t)j * x.stride, *weights = w + a * stride;
            float sum[LANES] = {0};
            if (!first) memcpy(sum, lanes, sizeof sum);
            for (size_t i = 0; i < k; i += LANES)
                for (size_t l = 0; l < LANES; l++) sum[l] += weights[i + l] * from[i + l];
            memcpy(lanes, sum, sizeof sum);
        }
}

static void portable_lanes_fold(struct rows out, const float *lanes, int n_w)
{
    for (int j = 0; j < out.n; j++)
        for (int a = 0; a < n_w; a++)
            out.values[(size_t)j * out.stride + (size_t)a] =
                lanes_fold(lanes + (j * 4 + a) * LANES);
}

static void portable_widen(float *out, struct panel w, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = from + i;
        if (w.format == WEIGHT_F32) {
            out[i] = ((const float *)w.bytes)[at];
        } else if (w.format == WEIGHT_BF16) {
            out[i] = bf16_value(((const uint16_t *)w.bytes)[at]);
        } else if (w.format == WEIGHT_FP8_ROW) {
            out[i] = row_e4m3(((const uint8_t *)w.bytes)[at]) / FP8_UNIT;
        } else if (w.format == WEIGHT_INT8_ROW) {
            out[i] = (float)((const int8_t *)w.bytes)[at];
        } else {
            int nibble = ((const uint8_t *)w.bytes)[at / 2] >> (at % 2 * 4) & 15;
            out[i] = (float)((nibble ^ 8) - 8) * bf16_value(w.tiled[at / INT4_GROUP * INT4_TILE]);
        }
    }
}

static int32_t group_int8(const int8_t *w, const int16_t *x, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += w[i] * x[i];
    return sum;
}

/* x holds the even columns, then the odd ones: the low nibbles, then the high ones. */
static int32_t group_int4(const uint8_t *w, const int8_t *x, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; 2 * i < n; i++)
        sum += (((w[i] & 15) ^ 8) - 8) * x[i] + (((w[i] >> 4) ^ 8) - 8) * x[INT4_GROUP / 2 + i];
    return sum;
}

static void portable_codes_few(struct rows out, struct panel w, const float *row_scales,
                               struct codes x, size_t k)
{
    bool int4 = w.format == WEIGHT_INT4_G128;
    for (size_t i = 0; i < (size_t)w.n_rows; i++)
        for (size_t j = 0; j < (size_t)x.n; j++) {
            const int8_t *codes = (const int8_t *)x.bytes + j * x.stride;
            const int16_t *words = (const int16_t *)(const void *)x.bytes + j * x.stride;
            const unsigned char *row =
                (const unsigned char *)w.bytes + i * w.stride / (int4 ? 2 : 1);
            size_t at = i / INT4_TILE * x.n_groups * INT4_TILE + i % INT4_TILE;
            float sum = 0;
            for (size_t g = 0; g < x.n_groups; g++) {
                size_t from = g * INT4_GROUP, n = k - from < INT4_GROUP ? k - from : INT4_GROUP;
                float scale = x.scales[j * x.n_groups + g];
                if (int4)
                    sum += (float)group_int4(row + from / 2, codes + from, n) *
                           (scale * bf16_value(w.tiled[at + g * INT4_TILE]));
                else
                    sum += (float)group_int8((const int8_t *)row + from, words + from, n) * scale;
            }
            out.values[j * out.stride + i] = int4 ? sum : sum * row_scales[i];
        }
}

static void portable_codes_many(struct rows out, struct panel w, const float *row_scales,
                                struct codes x, size_t k, void *pack)
{
    (void)pack;
    portable_codes_few(out, w, row_scales, x, k);
}

const struct cpu_math cpu_math_portable = {
    .name = "portable",
    .lanes = LANES,
    .forms =
        {[ACTIVATION_INT8] = {[WEIGHT_INT8_ROW] = CODES_WORDS, [WEIGHT_INT4_G128] = CODES_SPLIT}},
    .dot = portable_dot,
    .reads = {[WEIGHT_F32] = true},
    .dot_lanes = portable_dot_lanes,
    .lanes_fold = portable_lanes_fold,
    .accumulate = portable_accumulate,
    .codes_few = portable_codes_few,
    .codes_many = portable_codes_many,
    .round = row_round,
    .decode = row_decode,
    .widen = portable_widen,
    .decode_kv = row_decode_kv,
    .norm = row_norm,
    .silu_product = row_silu_product,
    .scale_largest = row_scale_largest,
    .exp_sum = row_exp_sum,
};
