/* cuBLASLt, looked for when the program runs: a machine without it multiplies with our own kernels.
 *
 * Its functions and constants are its binary interface (12.9 and 13); tests/cuda/blas_interface.c holds
 * them against the library's own header where that is found. One thread, the device's owner. */
#ifndef KERNELS_CUDA_CUDA_BLAS_H
#define KERNELS_CUDA_CUDA_BLAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct cuda_blas cuda_blas;

enum cuda_blas_constant {
    CUDA_BLAS_TRANSPOSED = 1,          /* CUBLAS_OP_T */
    CUDA_BLAS_COMPUTE_F32 = 68,        /* CUBLAS_COMPUTE_32F */
    CUDA_BLAS_TYPE_F32 = 0,            /* CUDA_R_32F */
    CUDA_BLAS_TYPE_BF16 = 14,          /* CUDA_R_16BF */
    CUDA_BLAS_TYPE_E4M3 = 28,          /* CUDA_R_8F_E4M3 */
    CUDA_BLAS_ATTRIBUTE_TRANSA = 3,    /* CUBLASLT_MATMUL_DESC_TRANSA */
    CUDA_BLAS_ATTRIBUTE_A_SCALE = 17,  /* CUBLASLT_MATMUL_DESC_A_SCALE_POINTER */
    CUDA_BLAS_ATTRIBUTE_B_SCALE = 18,  /* CUBLASLT_MATMUL_DESC_B_SCALE_POINTER */
    CUDA_BLAS_ATTRIBUTE_A_SCALES = 31, /* CUBLASLT_MATMUL_DESC_A_SCALE_MODE */
    CUDA_BLAS_ATTRIBUTE_B_SCALES = 32, /* CUBLASLT_MATMUL_DESC_B_SCALE_MODE */
    CUDA_BLAS_SCALES_BY_ROW = 3        /* CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F */
};

/* What is called of the library; 0 is success. Handles are opaque. */
struct cuda_blas_functions {
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*desc_create)(void **desc, int compute, int scale);
    int (*desc_destroy)(void *desc);
    int (*desc_set)(void *desc, int attribute, const void *value, size_t size);
    int (*layout_create)(void **layout, int type, uint64_t rows, uint64_t columns, int64_t stride);
    int (*layout_destroy)(void *layout);
    int (*matmul)(void *handle, void *desc, const void *alpha, const void *a, void *layout_a,
                  const void *b, void *layout_b, const void *beta, const void *c, void *layout_c,
                  void *d, void *layout_d, const void *algo, void *workspace, size_t size,
                  void *stream);
};

/* out[row][i] = sum_k w[i][k] x[row][k]; w and x of one type, sums in fp32. All device memory, rows
 * beginning on 16 bytes; of E4M3 n and k are multiples of 16, and scales by row of w and of x (both
 * or none) come with it. */
struct cuda_blas_product {
    const void *w, *x;
    void *out;
    int64_t w_stride, x_stride, out_stride; /* elements */
    const float *w_scale, *x_scale;         /* [n], [rows] */
    void *workspace;
    size_t workspace_bytes;
    int32_t n, k, rows;
    bool e4m3;     /* else bf16 */
    bool out_bf16; /* else fp32 */
};

/* `functions` NULL: those of the library. ERR_UNSUPPORTED: it is not there, or lacks a function, which is
 * named. */
status cuda_blas_open(cuda_blas **out, const struct cuda_blas_functions *functions, error *err);
void cuda_blas_close(cuda_blas *b);

/* Enqueues one product on the stream; ERR_UNSUPPORTED with the library's code when it refuses, and
 * nothing is enqueued then. */
status cuda_blas_multiply(cuda_blas *b, const struct cuda_blas_product *p, void *stream,
                          error *err);

#endif
