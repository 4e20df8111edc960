/* device_hopper.cuh as the emulator gives it; included by host_layer.h. */
#ifndef TESTS_CUDA_HOST_LAYER_HOPPER_H
#define TESTS_CUDA_HOST_LAYER_HOPPER_H

#include "tests/cuda/emulator_hopper.h"

#define CONSTANT const
#define LAUNCH_HOLDING(kernel, grid_, threads, bytes, stream, args)                                \
    do {                                                                                           \
        emulator_shared_large_set((size_t)(bytes));                                                \
        LAUNCH(kernel, grid_, threads, stream, args);                                              \
    } while (0)

DEVICE unsigned char *shared_held(void) { return (unsigned char *)emulator_shared_large(); }
DEVICE uint32_t shared_address(const void *at) { return emulator_shared_address(at); }

DEVICE void barrier_init(uint64_t *b, int count) { emulator_barrier_init(b, count); }
DEVICE void barrier_init_fence(void) { emulator_barrier_init_fence(); }
DEVICE void barrier_arrive(uint64_t *b) { emulator_barrier_arrive(b, 0); }
DEVICE void barrier_expect(uint64_t *b, int bytes) { emulator_barrier_arrive(b, bytes); }
DEVICE void barrier_wait(uint64_t *b, int parity) { emulator_barrier_wait(b, parity); }
DEVICE void warps_sync(int id, int threads) { emulator_warps_sync(id, threads); }

DEVICE void tile_fetch(void *shared, const struct cuda_map *map, int x, int y, uint64_t *b)
{
    emulator_tile_fetch(shared, map, x, y, b);
}

DEVICE void async_fence(void) { emulator_async_fence(); }
template <int N> DEVICE void registers_fewer(void) { emulator_registers(N, false); }
template <int N> DEVICE void registers_more(void) { emulator_registers(N, true); }

DEVICE void wgmma_ask(struct emulator_wgmma ask) { emulator_wgmma(&ask); }

template <int N> DEVICE void wgmma_fence(float (&d)[N])
{
    wgmma_ask({EMULATOR_WGMMA_FENCE, d, N, NULL, 0, 0, 0});
}

template <int N, int STEPS> DEVICE void wgmma_fence(float (&d)[N], uint32_t (&)[STEPS][4])
{
    wgmma_fence(d);
}

DEVICE void wgmma_commit(void) { wgmma_ask({EMULATOR_WGMMA_COMMIT, NULL, 0, NULL, 0, 0, 0}); }

template <int PENDING, int N> DEVICE void wgmma_wait(float (&d)[N])
{
    wgmma_ask({EMULATOR_WGMMA_WAIT, d, N, NULL, 0, 0, PENDING});
}

DEVICE void wgmma_e4m3(float (&d)[64], uint64_t a, uint64_t b, bool add)
{
    wgmma_ask({EMULATOR_WGMMA_E4M3, d, 64, NULL, a, b, add});
}

DEVICE void wgmma_e4m3_held(float (&d)[64], const uint32_t (&a)[4], uint64_t b, bool add)
{
    wgmma_ask({EMULATOR_WGMMA_E4M3, d, 64, a, 0, b, add});
}

DEVICE void wgmma_bf16_held(float (&d)[64], const uint32_t (&a)[4], uint64_t b, bool add)
{
    wgmma_ask({EMULATOR_WGMMA_BF16, d, 64, a, 0, b, add});
}

DEVICE void wgmma_f16_along(float (&d)[32], const uint32_t (&a)[4], uint64_t b, bool add)
{
    wgmma_ask({EMULATOR_WGMMA_F16, d, 32, a, 0, b, add});
}

DEVICE void wgmma_f16_across(float (&d)[64], const uint32_t (&a)[4], uint64_t b, bool add)
{
    wgmma_ask({EMULATOR_WGMMA_F16_ACROSS, d, 64, a, 0, b, add});
}

#endif
