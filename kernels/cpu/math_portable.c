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

const struct cpu_math cpu_math_portable = {
    .name = "portable",
    .dot = portable_dot,
    .accumulate = portable_accumulate,
    .decode = row_decode,
    .decode_kv = row_decode_kv,
    .norm = row_norm,
    .silu_product = row_silu_product,
    .exp_sum = row_exp_sum,
};
