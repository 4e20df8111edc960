/* What the experts add to a row of the residual. */
#ifndef KERNELS_CUDA_EXPERTS_CUH
#define KERNELS_CUDA_EXPERTS_CUH

#include "kernels/cuda/number.cuh"

/* x + the sum over ranks, in their order, of gate * down. */
DEVICE float experts_added(const struct cuda_combine &a, int row, int column, float x)
{
    for (int j = 0; j < a.top_k; j++) {
        int64_t at = (int64_t)row * a.top_k + j;
        x += a.gate[at] * a.down[a.slot[at] * a.stride + column];
    }
    return x;
}

#endif
