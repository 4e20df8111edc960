/* What the three kernels of a product share: which rows a block works on, and what becomes of a sum.
 *
 * Regimes: vector kernels wherever activations or weights are fp32; else tensor cores with weights as M
 * and tokens as N; above CUDA_TILE_ROWS, tiles of shared memory. */
#ifndef KERNELS_CUDA_PRODUCT_CUH
#define KERNELS_CUDA_PRODUCT_CUH

#include "kernels/cuda/number.cuh"

struct entries {
    int from, to;
};

/* Entries [from + tile * size, ...) of a group, at most `size`. */
DEVICE struct entries product_entries(const struct cuda_product &p, int group, int tile, int size)
{
    int first = p.first ? p.first[group] : 0, end = p.first ? p.first[group + 1] : *p.n_live;
    int from = first + tile * size;
    return {from, end < from + size ? end : from + size};
}

DEVICE int64_t product_row(const struct cuda_product &p, int entry)
{
    return p.x_row ? p.x_row[entry] : entry;
}

/* Dot products of weight row `at` with R rows of x in fp32, by one warp: lane l owns chunks of 16 bytes
 * l, l + 32, ..., lanes are folded by one tree, so a sum does not depend on R. */
template <int FORMAT, int R>
DEVICE void vector_dots(float sum[R], const struct cuda_matrix &w, int64_t at,
                        const float *const x[R])
{
    constexpr int CHUNK = format_traits<FORMAT>::chunk;
    const unsigned char *codes = w.codes + at * w.row_bytes;
    for (int r = 0; r < R; r++) sum[r] = 0;
    for (int c = lane_index(); c * CHUNK < w.k; c += WARP) {
        struct quad q = load_quad_once(codes + 16 * (int64_t)c);
        float part[R] = {0};
        UNROLL for (int i = 0; i < CHUNK; i += 4)
        {
            float v[4];
            UNROLL for (int j = 0; j < 4; j++) v[j] = chunk_value<FORMAT>(q, i + j);
            UNROLL for (int r = 0; r < R; r++)
            {
                struct quad f = load_quad(x[r] + c * CHUNK + i);
                UNROLL for (int j = 0; j < 4; j++) part[r] += v[j] * bits_float(f.word[j]);
            }
        }
        float scale = FORMAT == WEIGHT_INT4_G128 ? matrix_scale<FORMAT>(w, at, c * CHUNK) : 1;
        UNROLL for (int r = 0; r < R; r++) sum[r] += part[r] * scale;
    }
    float scale = FORMAT == WEIGHT_INT4_G128 ? 1 : matrix_scale<FORMAT>(w, at, 0);
    UNROLL for (int r = 0; r < R; r++) sum[r] = warp_sum(sum[r]) * scale;
}

DEVICE float gated(float gate, float up) { return divide(gate, 1.0f + expf(-gate)) * up; }

#define PRODUCT_BY_FORMAT(format, function, ...)                                                   \
    switch (format) {                                                                              \
    case WEIGHT_BF16: function<WEIGHT_BF16>(__VA_ARGS__); break;                                   \
    case WEIGHT_FP8_ROW: function<WEIGHT_FP8_ROW>(__VA_ARGS__); break;                             \
    case WEIGHT_INT8_ROW: function<WEIGHT_INT8_ROW>(__VA_ARGS__); break;                           \
    case WEIGHT_INT4_G128: function<WEIGHT_INT4_G128>(__VA_ARGS__); break;                         \
    case WEIGHT_F32: break;                                                                        \
    }

#endif
