/* A stand-in for cuBLASLt: plain loops over the emulated device's memory behind the few functions that
 * the backend calls, with the library's own conditions checked. */
#ifndef TESTS_CUDA_HOST_BLAS_H
#define TESTS_CUDA_HOST_BLAS_H

#include "kernels/cuda/cuda_blas.h"

/* Not there (the default) as on a machine without the library, with products of bf16 alone as before
 * Hopper, or with those of E4M3 too. */
enum host_blas { HOST_BLAS_NONE, HOST_BLAS_BF16, HOST_BLAS_E4M3 };
void host_blas_use(enum host_blas what);

/* The n-th call from now (1-based) fails, once; 0: none. Returns the calls since the last time. */
int64_t host_blas_fail_at(int64_t n);

/* Products made since the last time, and handles that were not given back. */
int64_t host_blas_products(void);
int64_t host_blas_held(void);

extern const struct cuda_blas_functions host_blas;

#endif
