/* What the kernels of a product share: which rows a block works on, and what becomes of a sum.
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

/* The y-th group that has entries, or -1: weights of others are not asked for. By whole warps. */
DEVICE int product_group(const struct cuda_product &p, int y)
{
    if (p.groups_bound >= p.n_groups) return y;
    for (int from = 0; from < p.n_groups; from += WARP) {
        int g = from + lane_index();
        uint32_t some = warp_ballot(g < p.n_groups && p.first[g] < p.first[g + 1]);
        int n = bits_count(some);
        if (y < n) {
            for (; y > 0; y--) some &= some - 1;
            return from + bits_count((some & (0u - some)) - 1);
        }
        y -= n;
    }
    return -1;
}

DEVICE int64_t product_row(const struct cuda_product &p, int entry)
{
    return p.x_row ? p.x_row[entry] : entry;
}

/* One chunk of weight row `at`, from column k on. */
template <int FORMAT, int R>
DEVICE void vector_chunk(float sum[R], const struct quad &q, const struct cuda_matrix &w, int64_t at,
                         int k, const float *const x[R])
{
    float part[R] = {0};
    UNROLL for (int i = 0; i < format_traits<FORMAT>::chunk; i += 4)
    {
        float v[4];
        UNROLL for (int j = 0; j < 4; j++) v[j] = chunk_value<FORMAT>(q, i + j);
        UNROLL for (int r = 0; r < R; r++)
        {
            struct quad f = load_quad(x[r] + k + i);
            UNROLL for (int j = 0; j < 4; j++) part[r] += v[j] * bits_float(f.word[j]);
        }
    }
    float scale = FORMAT == WEIGHT_INT4_G128 ? matrix_scale<FORMAT>(w, at, k) : 1;
    UNROLL for (int r = 0; r < R; r++) sum[r] += part[r] * scale;
}

/* Dot products of weight row `at` with R rows of x in fp32, by one warp: lane l owns chunks of 16 bytes
 * l, l + 32, ..., lanes are folded by one tree, so a sum does not depend on R. */
template <int FORMAT, int R>
DEVICE void vector_dots(float sum[R], const struct cuda_matrix &w, int64_t at,
                        const float *const x[R])
{
    constexpr int CHUNK = format_traits<FORMAT>::chunk, AHEAD = CHUNK > 16 ? 1 : 4;
    const unsigned char *codes = w.codes + at * w.row_bytes;
    for (int r = 0; r < R; r++) sum[r] = 0;
    for (int from = lane_index(); from * CHUNK < w.k; from += AHEAD * WARP) {
        struct quad q[AHEAD];
        UNROLL for (int i = 0; i < AHEAD; i++)
            if ((from + i * WARP) * CHUNK < w.k)
                q[i] = load_quad_once(codes + 16 * (int64_t)(from + i * WARP));
        UNROLL for (int i = 0; i < AHEAD; i++)
            if ((from + i * WARP) * CHUNK < w.k)
                vector_chunk<FORMAT, R>(sum, q[i], w, at, (from + i * WARP) * CHUNK, x);
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
