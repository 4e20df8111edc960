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

/* One product of 64 by 128 (F16_ALONG: 64) by 32 bytes of k, or one box of the copy engine. */
enum layout_kind {
    LAYOUT_E4M3,
    LAYOUT_E4M3_HELD,
    LAYOUT_BF16_HELD,
    LAYOUT_F16_ALONG,
    LAYOUT_F16_ACROSS,
    LAYOUT_TILE
};

enum { LAYOUT_BYTES = 48 * 1024 };

/* Device memory, all of it as the caller has laid it out. image: [LAYOUT_BYTES] of shared memory; a:
 * [threads][4] registers; out: [threads][64] sums, or of a box [LAYOUT_BYTES] of shared memory. Descriptors
 * begin at the image's first byte. */
struct wrappers_layout {
    struct cuda_map map;
    const unsigned char *image;
    const uint32_t *a;
    unsigned char *out;
    uint64_t a_descriptor, b_descriptor;
    int32_t kind, box_bytes;
};

#ifdef __cplusplus
extern "C" {
#endif
void wrappers_layout_run_host(const struct wrappers_layout *w, void *stream);
void wrappers_layout_run_nvidia(const struct wrappers_layout *w, void *stream)
    __attribute__((weak));
void wrappers_hopper_run_host(const struct wrappers_hopper *w, void *stream);
/* Linked by `make gpu-check` only. */
void wrappers_hopper_run_nvidia(const struct wrappers_hopper *w, void *stream)
    __attribute__((weak));
#ifdef __cplusplus
}
#endif

#endif
