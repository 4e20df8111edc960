/* The launchers behind probe.h, apart from those of the model's operations: only a bench asks for
 * them, and tests of the operations need not run them. */
#ifndef KERNELS_CUDA_PROBE_LAUNCH_H
#define KERNELS_CUDA_PROBE_LAUNCH_H

#include <stdint.h>

enum cuda_random_kind {
    CUDA_RANDOM_F32,  /* value * factor */
    CUDA_RANDOM_BF16, /* the same, rounded */
    CUDA_RANDOM_E4M3, /* saturating, never NaN */
    CUDA_RANDOM_INT8, /* -127..127 */
    CUDA_RANDOM_INT4, /* -8..7, two a byte */
    CUDA_SCALES_F32,  /* factor * (0.8 to 1.2) */
    CUDA_SCALES_BF16
};

/* Rows of row_bytes (a multiple of 16), of which the first n_columns elements are made and the rest
 * are 0. */
struct cuda_random {
    unsigned char *to;
    int64_t n_rows, row_bytes, n_columns;
    uint64_t seed;
    float factor;
    enum cuda_random_kind kind;
};

/* *sum changes with what was read, so that no compiler leaves the reading out. */
struct cuda_read {
    const unsigned char *from;
    int64_t n_bytes; /* a multiple of 16 */
    int32_t *sum;
    int32_t loads, blocks; /* 4, 8 or 16 per thread; of the grid */
};

/* `rounds` times 8 products of 16 x 8 x 16 by each of 8 warps of each block. */
struct cuda_multiply {
    float *sum; /* [blocks] */
    int32_t rounds, blocks;
};

enum { CUDA_MULTIPLY_WARPS = 8, CUDA_MULTIPLY_CHAINS = 8 };

struct cuda_probe {
    void (*random)(const struct cuda_random *, void *stream);
    void (*read)(const struct cuda_read *, void *stream);
    void (*multiply)(const struct cuda_multiply *, void *stream);
};

#endif
