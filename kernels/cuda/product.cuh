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
