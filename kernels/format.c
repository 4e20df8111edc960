/* Decoding by the definition of each format; see format.h. */
#include "kernels/format.h"

#include <math.h>

enum { E4M3_NAN = 0x7F, E4M3_LARGEST = 0x7E };

uint8_t e4m3_from(float f)
{
    uint8_t sign = signbit(f) ? 0x80 : 0;
    float a = fabsf(f);
    if (isnan(f)) return (uint8_t)(sign | E4M3_NAN);
    if (a < 0.015625f) return (uint8_t)(sign | (uint8_t)lrintf(a * 512.0f));
    if (a >= 448.0f) return (uint8_t)(sign | E4M3_LARGEST);
    uint32_t u;
    memcpy(&u, &a, sizeof u);
    u += 0x7FFFFu + (u >> 20 & 1u); /* to three bits of mantissa, ties to even */
    return (uint8_t)(sign | (uint8_t)((u >> 20) - (120u << 3)));
}

float e4m3_value(uint8_t code)
{
    int exponent = code >> 3 & 15, mantissa = code & 7;
    if ((code & 0x7F) == E4M3_NAN) return NAN;
    float a = exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
    return code & 0x80 ? -a : a;
}

size_t format_row_bytes(enum weight_format format, int64_t n_columns)
{
    size_t n = (size_t)n_columns;
    switch (format) {
    case WEIGHT_F32: return 4 * n;
    case WEIGHT_BF16: return 2 * n;
    case WEIGHT_INT4_G128: return (n + 1) / 2;
    case WEIGHT_FP8_ROW:
    case WEIGHT_INT8_ROW: break;
    }
    return n;
}

size_t format_row_scale_bytes(enum weight_format format, int64_t n_columns)
{
    switch (format) {
    case WEIGHT_F32:
    case WEIGHT_BF16: return 0;
    case WEIGHT_INT4_G128: return ((size_t)n_columns + INT4_GROUP - 1) / INT4_GROUP * 2;
    case WEIGHT_FP8_ROW:
    case WEIGHT_INT8_ROW: break;
    }
    return sizeof(float);
}

const char *format_name(enum weight_format format)
{
    static const char *const names[] = {"f32", "bf16", "fp8", "int8", "int4"};
    return (size_t)format < sizeof names / sizeof *names ? names[format] : "unknown";
}

static void int4_decode(float *out, const uint8_t *row, const unsigned char *scales, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, scales + i / INT4_GROUP * 2, sizeof bits);
        int nibble = row[i / 2] >> (i % 2 * 4) & 15;
        out[i] = (float)(nibble < 8 ? nibble : nibble - 16) * bf16_value(bits);
    }
}

void format_decode(float *out, enum weight_format format, const void *row, const void *scales,
                   int64_t n)
{
    float scale = 1;
    if (format == WEIGHT_FP8_ROW || format == WEIGHT_INT8_ROW) memcpy(&scale, scales, sizeof scale);
    switch (format) {
    case WEIGHT_F32: memcpy(out, row, (size_t)n * sizeof *out); break;
    case WEIGHT_BF16:
        for (int64_t i = 0; i < n; i++) out[i] = bf16_value(((const uint16_t *)row)[i]);
        break;
    case WEIGHT_FP8_ROW:
        for (int64_t i = 0; i < n; i++) out[i] = e4m3_value(((const uint8_t *)row)[i]) * scale;
        break;
    case WEIGHT_INT8_ROW:
        for (int64_t i = 0; i < n; i++) out[i] = (float)((const int8_t *)row)[i] * scale;
        break;
    case WEIGHT_INT4_G128: int4_decode(out, row, scales, n); break;
    }
}

size_t kv_element_bytes(enum kv_type type) { return type == KV_F32 ? 4 : type == KV_BF16 ? 2 : 1; }

void kv_encode(void *out, enum kv_type type, const float *values, int n)
{
    if (type == KV_F32) memcpy(out, values, (size_t)n * sizeof *values);
    if (type == KV_BF16)
        for (int i = 0; i < n; i++) ((uint16_t *)out)[i] = bf16_from(values[i]);
    if (type == KV_E4M3)
        for (int i = 0; i < n; i++) ((uint8_t *)out)[i] = e4m3_from(values[i] * KV_E4M3_SCALE);
}

void kv_decode(float *out, enum kv_type type, const void *stored, int n)
{
    if (type == KV_F32) memcpy(out, stored, (size_t)n * sizeof *out);
    if (type == KV_BF16)
        for (int i = 0; i < n; i++) out[i] = bf16_value(((const uint16_t *)stored)[i]);
    if (type == KV_E4M3)
        for (int i = 0; i < n; i++)
            out[i] = e4m3_value(((const uint8_t *)stored)[i]) * (1 / KV_E4M3_SCALE);
}

enum activation_type attention_activations(enum activation_type type)
{
    return type == ACTIVATION_E4M3 ? ACTIVATION_BF16 : type;
}

/* A scale so small that it is not exact may give codes beyond 127: they are cut. */
static void int8_round(float *row, int n)
{
    float largest = 0;
    for (int i = 0; i < n; i++)
        largest = isfinite(row[i]) ? fmaxf(largest, fabsf(row[i])) : INFINITY + largest;
    float scale = isfinite(largest) ? largest / 127.0f : NAN;
    for (int i = 0; i < n; i++) {
        float code = scale > 0 ? rintf(row[i] / scale) : 0;
        row[i] = fmaxf(-127, fminf(127, code)) * scale;
    }
}

void activation_round(float *row, enum activation_type type, int n)
{
    float largest = 0;
    if (type == ACTIVATION_BF16)
        for (int i = 0; i < n; i++) row[i] = bf16_value(bf16_from(row[i]));
    if (type == ACTIVATION_F32 || type == ACTIVATION_BF16) return;
    if (type == ACTIVATION_INT8) {
        for (int from = 0; from < n; from += INT4_GROUP)
            int8_round(row + from, n - from < INT4_GROUP ? n - from : INT4_GROUP);
        return;
    }
    for (int i = 0; i < n; i++) largest = fmaxf(largest, fabsf(row[i]));
    float scale = largest / 448.0f;
    for (int i = 0; i < n && scale > 0; i++) row[i] = e4m3_value(e4m3_from(row[i] / scale)) * scale;
}
