/* Row-wise loops that any compiler vectorises; included once by each instruction set's file, so that
 * each has them compiled for itself. */
#ifndef KERNELS_CPU_MATH_ROWS_H
#define KERNELS_CPU_MATH_ROWS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cpu/math.h"
#include "kernels/format.h"

/* e^x to about 2 ulp, branch-free: x = n ln 2 + r, a polynomial for e^r (Cephes' expf), n into the
 * exponent. Below -87 it gives about 1e-38 instead of denormals; NaN stays NaN. */
static inline float row_exp(float x)
{
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float shifted = x * 1.44269504f + 12582912.0f; /* adding 1.5 * 2^23 rounds to an integer */
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    float n = shifted - 12582912.0f;
    float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    uint32_t scale_bits = (bits + 127u) << 23;
    float scale;
    memcpy(&scale, &scale_bits, sizeof scale);
    return p * scale;
}

static inline double lanes_sum(const double *lane)
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static inline void row_norm(float *y, const float *x, const float *g, int n)
{
    double sum[LANES] = {0}, square[LANES] = {0};
    for (int i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) sum[l] += (double)x[i + l];
    double mean = lanes_sum(sum) / n;
    for (int i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            double centred = (double)x[i + l] - mean;
            square[l] += centred * centred;
        }
    float centre = (float)mean, scale = (float)(1 / sqrt(lanes_sum(square) / n + 1e-5));
    for (int i = 0; i < n; i++) y[i] = (x[i] - centre) * scale * g[i];
}

static inline void row_silu_product(float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i++) gate[i] = gate[i] / (1.0f + row_exp(-gate[i])) * up[i];
}

static inline float row_scale_largest(float *p, float scale, int n)
{
    float largest = -INFINITY;
    for (int i = 0; i < n; i++) p[i] *= scale;
    for (int i = 0; i < n; i++) largest = p[i] > largest ? p[i] : largest;
    return largest;
}

static inline float row_exp_sum(float *p, float largest, int n)
{
    float lane[LANES] = {0};
    int padded = (n + LANES - 1) / LANES * LANES;
    for (int i = 0; i < n; i++) p[i] = row_exp(p[i] - largest);
    for (int i = n; i < padded; i++) p[i] = 0;
    for (int i = 0; i < padded; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += p[i + l];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* E4M3 shares the order of its fields with fp32: shifted into place it is the value over 2^120,
 * denormals included. NaN codes never stand in weights that were checked, nor in pages. */
static inline float row_e4m3(uint8_t code)
{
    uint32_t bits = (uint32_t)(code & 0x80u) << 24 | (uint32_t)(code & 0x7Fu) << 20;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f * 0x1p120f;
}

/* Adding 8 and taking it off again, in unsigned and in float, extends the nibble's sign. */
static inline void row_int4(float *out, const uint8_t *row, const unsigned char *scales, int64_t n)
{
    for (int64_t from = 0; from < n; from += INT4_GROUP) {
        int64_t pairs = (n - from < INT4_GROUP ? n - from : INT4_GROUP) / 2;
        uint16_t bits;
        memcpy(&bits, scales + from / INT4_GROUP * 2, sizeof bits);
        float scale = bf16_value(bits);
        for (int64_t i = 0; i < pairs; i++) {
            int byte = row[from / 2 + i] ^ 0x88;
            out[from + 2 * i] = (float)((byte & 15) - 8) * scale;
            out[from + 2 * i + 1] = (float)((byte >> 4) - 8) * scale;
        }
    }
}

static inline void row_decode(float *out, enum weight_format format, const void *row,
                              const void *scales, int64_t n)
{
    float scale = 1;
    if (format == WEIGHT_FP8_ROW || format == WEIGHT_INT8_ROW) memcpy(&scale, scales, sizeof scale);
    if (format == WEIGHT_BF16) {
        const uint16_t *from = row;
        for (int64_t i = 0; i < n; i++) out[i] = bf16_value(from[i]);
    } else if (format == WEIGHT_FP8_ROW) {
        const uint8_t *from = row;
        for (int64_t i = 0; i < n; i++) out[i] = row_e4m3(from[i]) * scale;
    } else if (format == WEIGHT_INT8_ROW) {
        const int8_t *from = row;
        for (int64_t i = 0; i < n; i++) out[i] = (float)from[i] * scale;
    } else if (format == WEIGHT_INT4_G128) {
        row_int4(out, row, scales, n);
    } else {
        format_decode(out, format, row, scales, n);
    }
}

/* To the nearest integer, ties to even, for |x| < 2^22. */
static inline float row_round_even(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

/* Where code i of a group lies in this form. */
static inline size_t code_at(enum code_form form, size_t i)
{
    return form == CODES_SPLIT ? (i & 1) * (INT4_GROUP / 2) + i / 2 : i;
}

/* One group of INT8 activations; see activation_round. Returns the scale, NaN for values that are
 * not finite, and leaves whole numbers in `code`. */
static inline float row_round_group(float *row, float *code, int n)
{
    int32_t most = 0;
    for (int i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, row + i, sizeof bits);
        bits &= 0x7FFFFFFF;
        most = bits > most ? bits : most;
    }
    float largest, scale, divisor;
    memcpy(&largest, &most, sizeof largest);
    scale = most < 0x7F800000 ? largest / 127.0f : NAN;
    divisor = scale > 0 ? scale : INFINITY; /* codes 0 */
    for (int i = 0; i < n; i++) {
        float q = row[i] / divisor;
        q = q < -127.0f ? -127.0f : q;
        q = q > 127.0f ? 127.0f : q;
        q = row_round_even(q);
        code[i] = scale > 0 ? q : 0.0f;
    }
    for (int i = 0; i < n; i++) row[i] = code[i] * scale;
    return scale;
}

static inline void row_codes_store(const float *code, struct codes out, size_t from, int n)
{
    for (int i = 0; i < INT4_GROUP; i++) {
        int value = i < n ? (int)code[i] : 0;
        size_t at = from + code_at(out.form, (size_t)i);
        if (out.form == CODES_WORDS)
            ((int16_t *)(void *)out.bytes)[at] = (int16_t)value;
        else
            ((int8_t *)out.bytes)[at] = (int8_t)value;
    }
}

static inline void row_round(float *row, enum activation_type type, int n, struct codes out)
{
    float code[INT4_GROUP];
    if (type == ACTIVATION_E4M3) activation_round(row, type, n);
    if (type == ACTIVATION_BF16)
        for (int i = 0; i < n; i++) row[i] = bf16_value(bf16_from(row[i]));
    for (int from = 0; type == ACTIVATION_INT8 && from < n; from += INT4_GROUP) {
        int size = n - from < INT4_GROUP ? n - from : INT4_GROUP;
        float scale = row_round_group(row + from, code, size);
        if (out.form == CODES_NONE) continue;
        float sum = 0; /* exact */
        for (int i = 0; i < size; i++) sum += code[i];
        out.scales[from / INT4_GROUP] = scale;
        out.sums[from / INT4_GROUP] = (int32_t)sum;
        row_codes_store(code, out, (size_t)from, size);
    }
}

static inline void row_decode_kv(float *out, enum kv_type type, const void *stored, int n)
{
    if (type == KV_F32) {
        memcpy(out, stored, (size_t)n * sizeof *out);
    } else if (type == KV_BF16) {
        const uint16_t *from = stored;
        for (int i = 0; i < n; i++) out[i] = bf16_value(from[i]);
    } else {
        const uint8_t *from = stored;
        for (int i = 0; i < n; i++) out[i] = row_e4m3(from[i]) * (1 / KV_E4M3_SCALE);
    }
}

#endif
