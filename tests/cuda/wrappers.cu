/* One warp calls every wrapper of device.cuh once. The operands of lane l are words of in[l]: 0 to 5
 * pairs of bf16, 6 to 11 fp32. */
#include "tests/cuda/wrappers.h"

#include "kernels/cuda/number.cuh"

DEVICE void put(const struct wrappers &w, enum wrapper op, int i, uint32_t word)
{
    w.out[((int)op * WARP + lane_index()) * WRAPPER_OUT + i] = word;
}

DEVICE void put_double(const struct wrappers &w, enum wrapper op, double v)
{
    put(w, op, 0, float_bits((float)v));
    put(w, op, 1, float_bits((float)(v - (double)(float)v)));
}

DEVICE void put_quad(const struct wrappers &w, enum wrapper op, struct quad q)
{
    store_quad(w.out + ((int)op * WARP + lane_index()) * WRAPPER_OUT, q);
}

/* Operands of pairs of bf16 as fp16, which all of them are exactly. */
DEVICE uint32_t as_f16(uint32_t pair)
{
    return floats_to_f16x2(bf16_to_float(pair & 0xFFFFu), bf16_to_float(pair >> 16));
}

/* Four matrices of 8 by 8: row l % 8 of matrix l / 8 is halves 0 to 7 of lane l's operands. */
DEVICE void put_halves(const struct wrappers &w, const uint32_t *in, uint32_t *rows)
{
    uint32_t out[4];
    float c[4];
    for (int i = 0; i < 4; i++) rows[lane_index() * 4 + i] = in[i];
    block_sync();
    load_matrices(out, rows + lane_index() * 4);
    for (int i = 0; i < 4; i++) put(w, WRAPPER_MATRICES, i, out[i]);
    load_matrices_turned(out, rows + lane_index() * 4);
    for (int i = 0; i < 4; i++) put(w, WRAPPER_MATRICES_TURNED, i, out[i]);
    for (int i = 0; i < 4; i++) c[i] = bits_float(in[8 + i]);
    mma_f16(c, as_f16(in[0]), as_f16(in[1]), as_f16(in[2]), as_f16(in[3]), as_f16(in[4]),
            as_f16(in[5]));
    for (int i = 0; i < 4; i++) put(w, WRAPPER_MMA_F16, i, float_bits(c[i]));
    put(w, WRAPPER_F16, 0, floats_to_f16x2(bits_float(in[6]), bits_float(in[7])));
    put(w, WRAPPER_F16, 1, f16x2_multiply(as_f16(in[0]), as_f16(in[1])));
    put(w, WRAPPER_F16, 2, f16x2_multiply(in[0] & 0x03FF03FFu, 0x5C005C00u));
    put(w, WRAPPER_F16, 3, bytes_pick(in[0], in[1], 0x7153));
    put(w, WRAPPER_EXP2, 0, float_bits(exp2_near(8 * bits_float(in[6]))));
    put(w, WRAPPER_EXP2, 1, float_bits(exp2_near(-INFINITY)));
}

KERNEL(WARP) wrappers_kernel(struct wrappers w)
{
    SHARED(uint32_t, held, WARP * 4);
    SHARED(unsigned long long, sum, 4);
    SHARED(uint32_t, rows, WARP * 4);
    const uint32_t *in = w.in + lane_index() * WRAPPER_IN;
    float a = bits_float(in[6]), b = bits_float(in[7]), c[4];
    put(w, WRAPPER_SHUFFLE_XOR, 0, float_bits(warp_shuffle_xor(a, 5)));
    put_double(w, WRAPPER_SHUFFLE_XOR_DOUBLE, warp_shuffle_xor_double((double)a * (double)b, 9));
    put(w, WRAPPER_SUM, 0, float_bits(warp_sum(a)));
    put(w, WRAPPER_MAX, 0, float_bits(warp_max(a)));
    put_double(w, WRAPPER_SUM_DOUBLE, warp_sum_double((double)a * (double)b));
    put(w, WRAPPER_BALLOT, 0, warp_ballot(a > 0));
    put(w, WRAPPER_BITS_COUNT, 0, (uint32_t)bits_count(in[0]));
    for (int i = 0; i < 4; i++) c[i] = bits_float(in[8 + i]);
    mma_bf16(c, in[0], in[1], in[2], in[3], in[4], in[5]);
    for (int i = 0; i < 4; i++) put(w, WRAPPER_MMA, i, float_bits(c[i]));
    put(w, WRAPPER_BF16X2, 0, bf16x2_multiply_add(in[0], in[1], in[2]));
    put(w, WRAPPER_BF16X2, 1, bf16x2_multiply_add(in[0] & 0x00030003u, 0x7B807B80u, 0x80008000u));
    put_halves(w, in, rows);
    put_quad(w, WRAPPER_QUAD, load_quad(in + 4));
    put_quad(w, WRAPPER_QUAD_ONCE, load_quad_once(in + 8));
    if (lane_index() < 4) sum[lane_index()] = 0;
    cp_async(held + lane_index() * 4, in);
    cp_async_commit();
    cp_async_wait<0>();
    block_sync();
    put_quad(w, WRAPPER_COPY, load_quad(held + (lane_index() ^ 1) * 4));
    put(w, WRAPPER_DIVIDE, 0, float_bits(divide(a, b)));
    shared_add(&sum[lane_index() % 4], in[0]);
    block_sync();
    put(w, WRAPPER_SHARED_ADD, 0, (uint32_t)sum[lane_index() % 4]);
    put(w, WRAPPER_SHARED_ADD, 1, (uint32_t)(sum[lane_index() % 4] >> 32));
    if (lane_index() == 0) put(w, WRAPPER_GLOBAL_OR, 0, 0);
    block_sync();
    global_or((int32_t *)w.out + WRAPPER_GLOBAL_OR * WARP * WRAPPER_OUT, 1 << lane_index() % 7);
}

/* Writes word by word, and the last only after a while. */
KERNEL(WARP) slow_kernel(struct wrappers w)
{
    float v = bits_float(w.in[lane_index()]);
    for (int i = 0; i < 20000; i++) v = v * 0.5f + 1.0f;
    w.out[lane_index()] = v > 1.5f && v < 2.5f ? (uint32_t)lane_index() + 1 : 0; /* v is near 2 */
}

/* Of two blocks: what the kernel before wrote, one more. */
KERNEL(WARP) early_kernel(struct wrappers w)
{
    grid_next();
    prefetch(w.out, 16);
    grid_wait();
    w.out[WARP * (1 + block_x()) + lane_index()] = w.out[lane_index()] + 1;
}

void EXPORT(wrappers_early_run)(const struct wrappers *w, void *stream)
{
    struct grid one = {1, 1, 1}, two = {2, 1, 1};
    LAUNCH(slow_kernel, one, WARP, stream, *w);
    LAUNCH_EARLY(early_kernel, two, WARP, stream, *w);
}

void EXPORT(wrappers_run)(const struct wrappers *w, void *stream)
{
    struct grid g = {1, 1, 1};
    LAUNCH(wrappers_kernel, g, WARP, stream, *w);
}
