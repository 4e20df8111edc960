/* Kernels that break the rules, one each: what the emulator must not let pass. */
#include "kernels/cuda/device.cuh"
#include "tests/cuda/broken.h"

enum { BROKEN_THREADS = 64 };

struct broken {
    int fault;
    float *out;
};

/* out[i] = what the neighbour wrote, with or without the barrier between. */
KERNEL(BROKEN_THREADS) neighbour_kernel(struct broken a)
{
    SHARED(float, held, BROKEN_THREADS);
    int i = thread_index();
    held[i] = (float)i;
    if (a.fault != BROKEN_NO_BARRIER) block_sync();
    a.out[i] = held[(i + 1) % BROKEN_THREADS];
}

/* The same behind a barrier, and before one. */
KERNEL(BROKEN_THREADS) later_kernel(struct broken a)
{
    SHARED(float, held, BROKEN_THREADS);
    int i = thread_index();
    held[i] = -1;
    block_sync();
    held[i] = (float)i;
    if (a.fault != BROKEN_NO_LATER_BARRIER) block_sync();
    a.out[i] = held[(i + 1) % BROKEN_THREADS];
    block_sync();
}

KERNEL(BROKEN_THREADS) rules_kernel(struct broken a)
{
    int i = thread_index();
    if (a.fault == BROKEN_LANES && i % 2) a.out[i] = warp_sum(1);
    if (a.fault == BROKEN_BARRIER && i < WARP) block_sync();
    if (a.fault == BROKEN_ALIGNMENT) store_quad(a.out + 1, load_quad(a.out));
    if (a.fault == BROKEN_SHARED) {
        SHARED(float, large, 48 * 1024 / 4 + 1);
        large[i] = 0;
        a.out[i] = large[i];
    }
    if (a.fault == BROKEN_COPY) {
        SHARED(float, held, 4);
        cp_async(held, a.out);
        cp_async_commit();
    }
}

/* out[i] = i, once the kernel before has ended. */
KERNEL(BROKEN_THREADS) early_kernel(struct broken a)
{
    int i = thread_index();
    grid_next();
    if (a.fault == BROKEN_EARLY_TOUCH) a.out[i] = 0;
    if (a.fault == BROKEN_EARLY_END) return;
    if (a.fault != BROKEN_EARLY_HALF || i < WARP) grid_wait();
    a.out[i] = (float)i;
}

enum { WARPGROUP = 128 };

/* out[thread]: a sum of 32 ones times one, 32, or what the fault makes of it. */
KERNEL(WARPGROUP) warpgroup_kernel(struct broken a)
{
    SHARED_LARGE(shared);
    SHARED(uint64_t, barrier, 1);
    float d[64];
    uint32_t ones[4] = {0x38383838u, 0x38383838u, 0x38383838u, 0x38383838u};
    uint64_t b = (uint64_t)1 << 62 | (uint64_t)64 << 32 | (uint64_t)1 << 16 | shared_address(shared) >> 4;
    for (int i = 0; i < 64; i++) d[i] = 0;
    if (thread_index() == 0) barrier_init(barrier, WARPGROUP);
    if (thread_index() == 0 && a.fault != BROKEN_BARRIER_FENCE) barrier_init_fence();
    for (int i = thread_index(); i < 128 * 128 / 4; i += WARPGROUP)
        ((uint32_t *)shared)[i] = 0x38383838u;
    if (a.fault != BROKEN_PROXY) async_fence();
    block_sync();
    barrier_arrive(barrier);
    barrier_wait(barrier, a.fault == BROKEN_PARITY);
    if (a.fault == BROKEN_REGISTERS) registers_fewer<100>();
    if (a.fault == BROKEN_HALF_WARPGROUP && warp_index() < 2) registers_fewer<64>();
    if (a.fault != BROKEN_PRODUCT_FENCE) wgmma_fence(d);
    if (a.fault == BROKEN_DESCRIPTOR) b += 128 >> 4;
    if (a.fault == BROKEN_WARPS_DIFFER && warp_index() == 3) b += 32 >> 4;
    wgmma_e4m3_held(d, ones, b, false);
    if (a.fault == BROKEN_SUMS) d[5] += 1;
    wgmma_commit();
    if (a.fault != BROKEN_PRODUCT_WAIT) wgmma_wait<0>(d);
    a.out[thread_index()] = d[5];
}

void broken_launch(int fault, float *out)
{
    struct grid g = {1, 1, 1};
    struct broken a = {fault, out};
    if (fault >= BROKEN_WARPGROUP)
        LAUNCH_LARGE(warpgroup_kernel, g, WARPGROUP, 128 * 128, NULL, a);
    else if (fault >= BROKEN_EARLY)
        LAUNCH_EARLY(early_kernel, g, BROKEN_THREADS, NULL, a);
    else if (fault == BROKEN_NONE || fault == BROKEN_NO_BARRIER)
        LAUNCH(neighbour_kernel, g, BROKEN_THREADS, NULL, a);
    else if (fault == BROKEN_NO_LATER_BARRIER)
        LAUNCH(later_kernel, g, BROKEN_THREADS, NULL, a);
    else
        LAUNCH(rules_kernel, g, BROKEN_THREADS, NULL, a);
}
