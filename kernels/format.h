/* Number formats of weights, activations and KV pages: what one stored row means in fp32.
 *
 * Plain scalar code, right before it is fast: backends on the host decode through it, and faster
 * decoders are compared with it. Any thread; nothing is shared. */
#ifndef KERNELS_FORMAT_H
#define KERNELS_FORMAT_H

#include <stdint.h>
#include <string.h>

#include "kernels/kernels.h"

/* bfloat16: the high half of an fp32; rounds to nearest even, NaN stays NaN. */
static inline uint16_t bf16_from(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1u)) >> 16);
}

static inline float bf16_value(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* FP8 E4M3 (OCP 8-bit floating point specification 1.0): bias 7, largest 448, no infinity, 0x7F is
 * NaN. Rounds to nearest even and saturates. */
uint8_t e4m3_from(float f);
float e4m3_value(uint8_t code);

#define KV_E4M3_SCALE 32.0f

/* Bytes of one stored row of n columns, and of its scales (0 where a format has none). */
size_t format_row_bytes(enum weight_format format, int64_t n_columns);
size_t format_row_scale_bytes(enum weight_format format, int64_t n_columns);
const char *format_name(enum weight_format format);

/* One stored row with its scales to n fp32 values. */
void format_decode(float *out, enum weight_format format, const void *row, const void *scales,
                   int64_t n_columns);

size_t kv_element_bytes(enum kv_type type);
/* n values between fp32 and a page's type. */
void kv_encode(void *out, enum kv_type type, const float *values, int n);
void kv_decode(float *out, enum kv_type type, const void *stored, int n);

/* Rounds one row of activations in place to what products will read.
 * BF16: to nearest even. E4M3: scale = largest magnitude of the row / 448, value = E4M3(x / scale) *
 * scale. INT8: for each group of 128 values (the last may be short) scale = largest magnitude / 127,
 * code = x / scale to the nearest integer, ties to even, within -127..127, value = code * scale; all
 * in fp32, one rounding each. A scale of 0 gives zeros, a value that is not finite makes its group
 * NaN. */
void activation_round(float *row, enum activation_type type, int n);

/* What attention's result is rounded to: as all activations are, but BF16 where those are E4M3, whose
 * scale of a row would have to wait for every head. */
enum activation_type attention_activations(enum activation_type type);

#endif
