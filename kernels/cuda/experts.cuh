/* What the experts add to a row of the residual. */
#ifndef KERNELS_CUDA_EXPERTS_CUH
#define KERNELS_CUDA_EXPERTS_CUH

#include "kernels/cuda/number.cuh"

/* Four values of x + the sum over ranks, in their order, of gate * down. */
DEVICE struct four experts_added(const struct cuda_combine &a, int row, int column, struct four x)
{
    for (int j = 0; j < a.top_k; j++) {
        int64_t at = (int64_t)row * a.top_k + j;
        struct four down = load_four(a.down + a.slot[at] * a.stride + column);
        for (int i = 0; i < 4; i++) x.f[i] += a.gate[at] * down.f[i];
    }
    return x;
}

#endif
