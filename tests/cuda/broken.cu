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

void broken_launch(int fault, float *out)
{
    struct grid g = {1, 1, 1};
    struct broken a = {fault, out};
    if (fault == BROKEN_NONE || fault == BROKEN_NO_BARRIER)
        LAUNCH(neighbour_kernel, g, BROKEN_THREADS, NULL, a);
    else
        LAUNCH(rules_kernel, g, BROKEN_THREADS, NULL, a);
}
