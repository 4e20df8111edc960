/* Rows of 8-bit formats take the scale that puts their largest magnitude on the largest code. With
 * 15 codes that wastes most of them on outliers: an INT4 group tries five scales, from the one that
 * clips nothing to the one that puts the largest magnitude on 8, and keeps the least squares. Where it
 * is known what the columns are multiplied with, errors count by that, and more scales are tried. */
#include "inference/quantize_row.h"

#include <math.h>
#include <string.h>

#include "kernels/format.h"

enum { E4M3_LARGEST = 448, INT8_LARGEST = 127, INT4_LOW = -8, INT4_HIGH = 7 };

/* To the nearest integer, ties to even, for |x| < 2^22: behind the addition no bit is left for a
 * fraction. Unlike rintf it needs no call where the machine has no instruction for it. */
static inline float round_even(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

static inline float clamp(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

/* An E4M3 code's bits are an fp32's with an exponent that is 120 too small, also below its normals. */
static inline float e4m3_fast(uint8_t code)
{
    uint32_t bits = (uint32_t)(code & 0x7F) << 20 | (uint32_t)(code & 0x80) << 24;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value * 0x1p120f;
}

/* The value of the code e4m3_from gives, without a branch: three bits of mantissa, or steps of 2^-9
 * below 2^-6, to nearest even, at most 448. */
static inline float e4m3_round(float x)
{
    float normal, fixed, q = clamp(x, -E4M3_LARGEST, E4M3_LARGEST);
    uint32_t bits;
    memcpy(&bits, &q, sizeof bits);
    bits = (bits + 0x7FFFFu + (bits >> 20 & 1u)) & 0xFFF00000u;
    memcpy(&normal, &bits, sizeof normal);
    fixed = (q + 0x1.8p14f) - 0x1.8p14f;
    return fabsf(q) < 0x1p-6f ? fixed : normal;
}

static float largest_magnitude(const float *values, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(values[i]);
        most = a > most ? a : most;
    }
    return most;
}

static void rounding_add(struct rounding *r, double stored, double value)
{
    double apart = fabs(stored - value);
    if (apart > r->largest) r->largest = apart;
    r->error_squares += apart * apart;
    r->value_squares += value * value;
}

static void row_e4m3(uint8_t *codes, float scale, const float *values, int64_t n,
                     struct rounding *rounding)
{
    for (int64_t i = 0; i < n; i++) {
        codes[i] = scale > 0 ? e4m3_from(values[i] / scale) : 0;
        rounding_add(rounding, (double)e4m3_fast(codes[i]) * (double)scale, (double)values[i]);
    }
}

static void row_int8(uint8_t *codes, float scale, const float *values, int64_t n,
                     struct rounding *rounding)
{
    for (int64_t i = 0; i < n; i++) {
        float q = scale > 0 ? round_even(clamp(values[i] / scale, -INT8_LARGEST, INT8_LARGEST)) : 0;
        codes[i] = (uint8_t)(int8_t)q;
        rounding_add(rounding, (double)q * (double)scale, (double)values[i]);
    }
}

static inline float int4_code(float value, float scale)
{
    return round_even(clamp(value / scale, INT4_LOW, INT4_HIGH));
}

/* Four sums, so that additions need not wait for each other. */
static double group_squares(const float *values, int64_t n, float scale)
{
    double sum[4] = {0};
    for (int64_t i = 0; i < n; i++) {
        double apart = (double)int4_code(values[i], scale) * (double)scale - (double)values[i];
        sum[i & 3] += apart * apart;
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* The first of the best. */
static float group_scale(const float *values, int64_t n)
{
    static const float divisors[] = {7, 7.25f, 7.5f, 7.75f, 8};
    float most = largest_magnitude(values, n), best = bf16_value(bf16_from(most / divisors[0]));
    if (best == 0) return 0;
    double least = group_squares(values, n, best);
    for (size_t i = 1; i < sizeof divisors / sizeof *divisors; i++) {
        float scale = bf16_value(bf16_from(most / divisors[i]));
        if (scale == 0 || scale == best) continue;
        double squares = group_squares(values, n, scale);
        if (squares >= least) continue;
        least = squares;
        best = scale;
    }
    return best;
}

/* The code of value / scale as a number, in the row's format. */
static inline float code_value(enum weight_format format, float value, float scale)
{
    float q = value / scale;
    if (format == WEIGHT_INT4_G128) return round_even(clamp(q, INT4_LOW, INT4_HIGH));
    if (format == WEIGHT_INT8_ROW) return round_even(clamp(q, -INT8_LARGEST, INT8_LARGEST));
    return e4m3_round(q);
}

/* What a product loses by one scale: sum of E[x^2] (stored - value)^2; and the scale that would lose
 * least by the same codes: sum w q v / sum w q^2. */
struct trial {
    float scale;
    double loss, better;
};

static struct trial scale_try(enum weight_format format, const float *values,
                              const float *importance, int64_t n, float scale)
{
    double loss = 0, upper = 0, lower = 0;
    for (int64_t i = 0; i < n; i++) {
        double q = (double)code_value(format, values[i], scale), v = (double)values[i];
        double counts = (double)importance[i], apart = q * (double)scale - v;
        loss += counts * (apart * apart);
        upper += counts * (q * v);
        lower += counts * (q * q);
    }
    return (struct trial){scale, loss, lower > 0 ? upper / lower : 0};
}

static float scale_stored(enum weight_format format, float scale)
{
    return format == WEIGHT_INT4_G128 ? bf16_value(bf16_from(scale)) : scale;
}

/* Divisors of the largest magnitude: INT4 and INT8 may clip it, down to half; E4M3 clips nothing and
 * moves its steps, which double at every power of two, through one octave. */
static float divisor_at(enum weight_format format, int i)
{
    if (format == WEIGHT_INT4_G128) return 7 + 0.25f * (float)i;
    if (format == WEIGHT_INT8_ROW) return INT8_LARGEST + 4 * (float)i;
    return E4M3_LARGEST - 8 * (float)i;
}

enum { DIVISORS = 29, REFINEMENTS = 2 };

/* The first of the best of all divisors, then twice the least squares of its codes. */
static float scale_calibrated(enum weight_format format, const float *values,
                              const float *importance, int64_t n)
{
    float most = largest_magnitude(values, n);
    struct trial best = {0};
    for (int i = 0; i < DIVISORS; i++) {
        float scale = scale_stored(format, most / divisor_at(format, i));
        if (scale == 0 || (i && scale == best.scale)) continue;
        struct trial t = scale_try(format, values, importance, n, scale);
        if (best.scale == 0 || t.loss < best.loss) best = t;
    }
    for (int i = 0; i < REFINEMENTS && best.better > 0; i++) {
        float scale = scale_stored(format, (float)best.better);
        if (scale == 0 || scale == best.scale || !isfinite(scale * E4M3_LARGEST)) break;
        struct trial t = scale_try(format, values, importance, n, scale);
        if (t.loss >= best.loss) break;
        best = t;
    }
    return best.scale;
}

static void row_int4(uint8_t *codes, unsigned char *scales, const float *values,
                     const float *importance, int64_t n, struct rounding *rounding)
{
    for (int64_t from = 0; from < n; from += INT4_GROUP) {
        int64_t size = n - from < INT4_GROUP ? n - from : INT4_GROUP;
        float scale =
            importance ? scale_calibrated(WEIGHT_INT4_G128, values + from, importance + from, size)
                       : group_scale(values + from, size);
        uint16_t bits = bf16_from(scale);
        memcpy(scales + from / INT4_GROUP * 2, &bits, sizeof bits);
        for (int64_t i = from; i < from + size; i++) {
            float q = scale > 0 ? int4_code(values[i], scale) : 0;
            int nibble = (int)q & 15;
            codes[i / 2] = (uint8_t)(i & 1 ? codes[i / 2] | nibble << 4 : nibble);
            rounding_add(rounding, (double)q * (double)scale, (double)values[i]);
        }
    }
}

void quantize_row(void *codes, void *scales, enum weight_format format, const float *values,
                  const float *importance, int64_t n, struct rounding *rounding)
{
    if (format == WEIGHT_INT4_G128) {
        row_int4(codes, scales, values, importance, n, rounding);
        return;
    }
    float largest = format == WEIGHT_FP8_ROW ? E4M3_LARGEST : INT8_LARGEST;
    float scale = importance ? scale_calibrated(format, values, importance, n)
                             : largest_magnitude(values, n) / largest;
    memcpy(scales, &scale, sizeof scale);
    if (format == WEIGHT_FP8_ROW)
        row_e4m3(codes, scale, values, n, rounding);
    else
        row_int8(codes, scale, values, n, rounding);
}

int64_t values_find_bad(const float *values, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        bad |= (uint32_t)((bits & 0x7F800000u) == 0x7F800000u);
    }
    for (int64_t i = 0; bad && i < n; i++)
        if (!isfinite(values[i])) return i;
    return -1;
}
