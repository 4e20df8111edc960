/* Each wrapper of device_hopper.cuh alone, by one warpgroup on given operands; see wrappers_hopper.cu. */
#ifndef TESTS_CUDA_WRAPPERS_HOPPER_H
#define TESTS_CUDA_WRAPPERS_HOPPER_H

#include "kernels/cuda/launch.h"

enum {
    HOPPER_M = 64,
    HOPPER_N = 128,
    HOPPER_ROW = 128, /* bytes of a row of a and b */
    /* What the copy engine brings: a, b, and of b boxes of 64 and of 32 bytes. */
    HOPPER_BYTES = (HOPPER_M + HOPPER_N) * HOPPER_ROW + HOPPER_N * 64 + HOPPER_N * 32,
    HOPPER_PRODUCTS = 6,
    HOPPER_SUMS = HOPPER_PRODUCTS * 128 * 64
};

/* Device memory. a: [HOPPER_M][HOPPER_ROW], b: [HOPPER_N][HOPPER_ROW]; bytes: [HOPPER_BYTES] of shared
 * memory as they lie; sums: [HOPPER_PRODUCTS][threads][64]. */
struct wrappers_hopper {
    struct cuda_map map_a, map_b, map_64, map_32;
    const unsigned char *a, *b;
    unsigned char *bytes;
    float *sums;
};

#ifdef __cplusplus
extern "C" {
#endif
void wrappers_hopper_run_host(const struct wrappers_hopper *w, void *stream);
/* Linked by `make gpu-check` only. */
void wrappers_hopper_run_nvidia(const struct wrappers_hopper *w, void *stream)
    __attribute__((weak));
#ifdef __cplusplus
}
#endif

#endif
