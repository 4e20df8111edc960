/* Each wrapper of device.cuh alone, by one warp on given operands; see wrappers.cu. */
#ifndef TESTS_CUDA_WRAPPERS_H
#define TESTS_CUDA_WRAPPERS_H

#include <stdint.h>

enum wrapper {
    WRAPPER_SHUFFLE_XOR,
    WRAPPER_SHUFFLE_XOR_DOUBLE,
    WRAPPER_SUM,
    WRAPPER_MAX,
    WRAPPER_SUM_DOUBLE,
    WRAPPER_BALLOT,
    WRAPPER_BITS_COUNT,
    WRAPPER_MMA,
    WRAPPER_BF16X2,
    WRAPPER_QUAD,
    WRAPPER_QUAD_ONCE,
    WRAPPER_COPY,
    WRAPPER_DIVIDE,
    WRAPPER_SHARED_ADD,
    WRAPPER_GLOBAL_OR,
    WRAPPER_MMA_F16,
    WRAPPER_MATRICES,
    WRAPPER_MATRICES_TURNED,
    WRAPPER_F16, /* conversion, product, product of subnormals, bytes */
    WRAPPER_EXP2,
    N_WRAPPERS
};

enum { WRAPPER_IN = 12, WRAPPER_OUT = 4 };

/* Device memory. in: [32 lanes][WRAPPER_IN], out: [N_WRAPPERS][32 lanes][WRAPPER_OUT]. */
struct wrappers {
    const uint32_t *in;
    uint32_t *out;
};

#ifdef __cplusplus
extern "C" {
#endif
void wrappers_run_host(const struct wrappers *w, void *stream);
/* A slow kernel writes i + 1 to word i, and one that may begin meanwhile adds 1: to words 32 + i, 64 + i. */
void wrappers_early_run_host(const struct wrappers *w, void *stream);
/* Linked by `make gpu-check` only. */
void wrappers_run_nvidia(const struct wrappers *w, void *stream) __attribute__((weak));
void wrappers_early_run_nvidia(const struct wrappers *w, void *stream) __attribute__((weak));
#ifdef __cplusplus
}
#endif

#endif
