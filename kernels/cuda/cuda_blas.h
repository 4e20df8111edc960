/* cuBLASLt, looked for when the program runs: a machine without it lacks a figure, not the program.
 * Only what the bench needs of it: one large product, as the library's own heuristics make it. */
#ifndef KERNELS_CUDA_CUDA_BLAS_H
#define KERNELS_CUDA_CUDA_BLAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct cuda_blas cuda_blas;

/* c[n][n] = a b^T in bf16, of bf16 or E4M3 operands, all device memory; n a multiple of 16. */
struct cuda_blas_product {
    const void *a, *b;
    void *c, *workspace;
    size_t workspace_bytes;
    int32_t n;
    bool e4m3;
};

/* ERR_UNSUPPORTED: the library is not there, or lacks a function, which is named. */
status cuda_blas_open(cuda_blas **out, error *err);
void cuda_blas_close(cuda_blas *b);

/* Enqueues one product on the stream; ERR_UNSUPPORTED with the library's code when it refuses. */
status cuda_blas_multiply(cuda_blas *b, const struct cuda_blas_product *p, void *stream,
                          error *err);

#endif
