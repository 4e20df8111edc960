/* Number formats on the device: the same meanings as kernels/format.h, as arithmetic on bits. */
#ifndef KERNELS_CUDA_NUMBER_CUH
#define KERNELS_CUDA_NUMBER_CUH

#include "kernels/cuda/device.cuh"

union number_bits {
    float f;
    uint32_t u;
};

DEVICE float bits_float(uint32_t u)
{
    union number_bits b;
    b.u = u;
    return b.f;
}

DEVICE uint32_t float_bits(float f)
{
    union number_bits b;
    b.f = f;
    return b.u;
}

DEVICE float bf16_to_float(uint32_t half) { return bits_float(half << 16); }

/* To nearest even; NaN stays NaN. */
DEVICE uint32_t float_to_bf16(float f)
{
    uint32_t u = float_bits(f);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) return u >> 16 | 0x40u;
    return (u + 0x7FFFu + (u >> 16 & 1u)) >> 16;
}

/* Of the lower half: exponent and mantissa, read as fp32's, are the value times 2^-112. */
DEVICE float f16_to_float(uint32_t half)
{
    float a = bits_float((half & 0x7FFFu) << 13) * 0x1p112f;
    if ((half & 0x7C00u) == 0x7C00u) a = bits_float(0x7F800000u | (half & 0x3FFu) << 13);
    return half & 0x8000u ? -a : a;
}

/* The code's exponent and mantissa, read as fp32's, are the value times 2^-120, subnormals too. */
DEVICE float e4m3_to_float(uint32_t code)
{
    float a = bits_float((code & 0x7Fu) << 20) * 0x1p120f;
    if ((code & 0x7Fu) == 0x7Fu) a = bits_float(0x7FC00000u);
    return code & 0x80u ? -a : a;
}

/* To nearest even, saturating; below 2^-6 codes are multiples of 2^-9. */
DEVICE uint32_t float_to_e4m3(float f)
{
    uint32_t u = float_bits(f), sign = u >> 24 & 0x80u;
    float a = bits_float(u & 0x7FFFFFFFu);
    if (!(a <= 3e38f) && !(a > 3e38f)) return sign | 0x7Fu;
    if (a < 0.015625f) return sign | (uint32_t)rintf(a * 512.0f);
    if (a >= 448.0f) return sign | 0x7Eu;
    u = float_bits(a);
    u += 0x7FFFFu + (u >> 20 & 1u);
    return sign | ((u >> 20) - (120u << 3));
}

/* Elements of a format that 16 bytes hold. */
template <int FORMAT> struct format_traits {
    static constexpr int chunk = FORMAT == WEIGHT_F32         ? 4
                                 : FORMAT == WEIGHT_BF16      ? 8
                                 : FORMAT == WEIGHT_INT4_G128 ? 32
                                                              : 16;
};

/* Element i of a chunk, without its scale. */
template <int FORMAT> DEVICE float chunk_value(const struct quad &q, int i)
{
    if (FORMAT == WEIGHT_F32) return bits_float(q.word[i]);
    if (FORMAT == WEIGHT_BF16) return bf16_to_float(q.word[i / 2] >> (i % 2 * 16) & 0xFFFFu);
    if (FORMAT == WEIGHT_FP8_ROW) return e4m3_to_float(q.word[i / 4] >> (i % 4 * 8) & 0xFFu);
    if (FORMAT == WEIGHT_INT8_ROW) return (float)(int8_t)(q.word[i / 4] >> (i % 4 * 8) & 0xFFu);
    return (float)((int)((q.word[i / 8] >> (i % 8 * 4) & 0xFu) ^ 8u) - 8);
}

/* Elements 2i and 2i + 1 of a chunk as two bf16, without their scale: all codes are exact in bf16. */
template <int FORMAT> DEVICE uint32_t chunk_pair(const struct quad &q, int i)
{
    if (FORMAT == WEIGHT_BF16) return q.word[i];
    if (FORMAT == WEIGHT_FP8_ROW) {
        uint32_t two = q.word[i / 2] >> (i % 2 * 16);
        uint32_t wide = (two & 0x7Fu) << 4 | (two & 0x7F00u) << 12;
        wide |= (two & 0x80u) << 8 | (two & 0x8000u) << 16;
        return bf16x2_multiply_add(wide, 0x7B807B80u, 0x80008000u); /* times 2^120 */
    }
    if (FORMAT == WEIGHT_INT4_G128) {
        uint32_t two = q.word[i / 4] >> (i % 4 * 8);
        uint32_t biased = ((two & 0xFu) | (two & 0xF0u) << 12) ^ 0x43084308u; /* 128 + code + 8 */
        return bf16x2_multiply_add(biased, 0x3F803F80u, 0xC308C308u);         /* - 136 */
    }
    uint32_t two = q.word[i / 2] >> (i % 2 * 16); /* 128 + low bits, less 128, or 256 if negative */
    uint32_t biased = (two & 0x7Fu) | (two & 0x7F00u) << 8 | 0x43004300u;
    uint32_t less = (two & 0x80u) | (two & 0x8000u) << 8 | 0xC300C300u;
    return bf16x2_multiply_add(biased, 0x3F803F80u, less);
}

/* Four codes of INT4 in the lower half of `codes`, the first in the lowest bits, as four of E4M3, in which
 * -8 to 7 are exact: one table for codes below 8, one for the others. */
DEVICE uint32_t int4_to_e4m3(uint32_t codes)
{
    uint32_t low = codes & 0x7777u;
    uint32_t positive = bytes_pick(0x44403800u, 0x4E4C4A48u, low);
    uint32_t negative = bytes_pick(0xCACCCED0u, 0xB8C0C4C8u, low);
    return bytes_pick(positive, negative, 0x3210u | (codes >> 1 & 0x4444u));
}

/* The scale of row `row` at column k. */
template <int FORMAT> DEVICE float matrix_scale(const struct cuda_matrix &w, int64_t row, int k)
{
    if (FORMAT == WEIGHT_FP8_ROW || FORMAT == WEIGHT_INT8_ROW)
        return ((const float *)w.scales)[row];
    if (FORMAT == WEIGHT_INT4_G128)
        return bf16_to_float(((const uint16_t *)w.scales)[row * (w.k / INT4_GROUP) + k / INT4_GROUP]);
    return 1;
}

/* A value into every form of an operand that is wanted. */
DEVICE void operand_store(const struct cuda_operand &to, int64_t row, int column, float v)
{
    int64_t at = row * to.stride + column;
    if (to.f32) to.f32[at] = v;
    if (!to.hi) return;
    uint32_t hi = float_to_bf16(v);
    to.hi[at] = (uint16_t)hi;
    if (to.lo) to.lo[at] = (uint16_t)float_to_bf16(v - bf16_to_float(hi));
}

#endif
