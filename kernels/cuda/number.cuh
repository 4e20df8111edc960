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

/* The same for operands whose order along k is free, as long as it is one: which two elements are cheapest
 * to take out of a word. Pair 2w + j of 8 bits: elements 4w + j and 4w + j + 2; pair 4w + j of INT4: 8w + j
 * and 8w + j + 4; of bf16 neighbours. */
template <int FORMAT> DEVICE uint32_t chunk_pair_apart(const struct quad &q, int i)
{
    if (FORMAT == WEIGHT_BF16) return q.word[i];
    if (FORMAT == WEIGHT_INT4_G128) {
        uint32_t biased = (q.word[i / 4] >> (i % 4 * 4) & 0x000F000Fu) ^ 0x43084308u;
        return bf16x2_multiply_add(biased, 0x3F803F80u, 0xC308C308u);
    }
    uint32_t word = q.word[i / 2];
    if (FORMAT == WEIGHT_FP8_ROW) {
        if (i % 2 == 0) word <<= 8;
        uint32_t wide = (word & 0x80008000u) | (word >> 4 & 0x07F007F0u);
        return bf16x2_multiply_add(wide, 0x7B807B80u, 0x80008000u);
    }
    if (i % 2) word >>= 8;
    return bf16x2_multiply_add((word & 0x007F007Fu) | 0x43004300u, 0x3F803F80u,
                               (word & 0x00800080u) | 0xC300C300u);
}

/* Eight activations in bf16 as the four pairs that meet those of eight weights. */
template <int FORMAT> DEVICE struct quad pairs_apart(const struct quad &q)
{
    if (FORMAT == WEIGHT_BF16) return q;
    constexpr int OTHER = FORMAT == WEIGHT_INT4_G128 ? 2 : 1, NEXT = 3 - OTHER;
    return {{bytes_pick(q.word[0], q.word[OTHER], 0x5410),
             bytes_pick(q.word[0], q.word[OTHER], 0x7632),
             bytes_pick(q.word[NEXT], q.word[3], 0x5410),
             bytes_pick(q.word[NEXT], q.word[3], 0x7632)}};
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

/* A value into every form of an operand that is wanted: rounded, if one is bf16. */
DEVICE void operand_store(const struct cuda_operand &to, int64_t row, int column, float v)
{
    int64_t at = row * to.stride + column;
    if (to.bf16) {
        uint32_t half = float_to_bf16(v);
        to.bf16[at] = (uint16_t)half;
        v = bf16_to_float(half);
    }
    if (to.f32) to.f32[at] = v;
}

/* E4M3's code of one value of a row with this scale. */
DEVICE uint32_t scaled_to_e4m3(float v, float scale)
{
    return float_to_e4m3(scale > 0 ? v / scale : v);
}

/* Four values side by side, 16 bytes. */
struct four {
    float f[4];
};

DEVICE struct four load_four(const float *at)
{
    struct quad q = load_quad(at);
    return {{bits_float(q.word[0]), bits_float(q.word[1]), bits_float(q.word[2]), bits_float(q.word[3])}};
}

DEVICE void store_four(float *at, struct four v)
{
    store_quad(at, {{float_bits(v.f[0]), float_bits(v.f[1]), float_bits(v.f[2]), float_bits(v.f[3])}});
}

DEVICE struct four four_add(struct four a, struct four b)
{
    for (int j = 0; j < 4; j++) a.f[j] += b.f[j];
    return a;
}

/* One value as the checkpoint's activations hold it: what products read is code * scale. */
DEVICE float activation_code(enum activation_type type, float v, float scale)
{
    if (type == ACTIVATION_BF16) return bf16_to_float(float_to_bf16(v));
    if (type == ACTIVATION_E4M3) return e4m3_to_float(scaled_to_e4m3(v, scale));
    return v;
}

/* Four values of a row into every form that is wanted. */
DEVICE void activations_store(const struct cuda_operand &y, enum activation_type type, int row, int i,
                              struct four v, float scale)
{
    int64_t at = row * y.stride + i;
    struct four code, value;
    uint32_t half[4], e4m3 = 0;
    for (int j = 0; j < 4; j++) {
        code.f[j] = activation_code(type, v.f[j], scale);
        value.f[j] = code.f[j] * scale;
        half[j] = float_to_bf16(code.f[j]);
        if (y.e4m3) e4m3 |= float_to_e4m3(code.f[j]) << (8 * j);
    }
    if (y.f32) store_four(y.f32 + at, value);
    if (y.bf16) ((uint32_t *)(y.bf16 + at))[0] = half[0] | half[1] << 16;
    if (y.bf16) ((uint32_t *)(y.bf16 + at))[1] = half[2] | half[3] << 16;
    if (y.e4m3) *(uint32_t *)(y.e4m3 + at) = e4m3;
}

#endif
