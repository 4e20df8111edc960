/* What device.cuh asks of the machine, given by fibers on the host: included by it, in place of the
 * GPU's own operations, when kernels are compiled without nvcc. See emulator.h. */
#ifndef TESTS_CUDA_HOST_LAYER_H
#define TESTS_CUDA_HOST_LAYER_H

#include <string.h>

#include "tests/cuda/emulator.h"

#define KERNEL(threads)                  static void
#define KERNEL_TOGETHER(threads, blocks) static void
#define DEVICE                           static inline __attribute__((unused))
#define BOTH                             static inline __attribute__((unused))
#define SHARED(type, name, n)                                                                      \
    type *const name = (type *)emulator_shared(#name, __LINE__, sizeof(type) * (n))
#define EXPORT(name) name##_host
#define UNROLL

/* Every place with a LAUNCH, and every template instance of it, is in the registry before main. */
template <class WHERE> struct launch_place {
    static struct emulator_kernel *entry;
};
template <class WHERE>
struct emulator_kernel *launch_place<WHERE>::entry = emulator_register(WHERE::name());

template <class ARGS> struct launch_call {
    void (*kernel)(ARGS);
    ARGS args;
};

template <class ARGS> static void launch_thread(const void *context)
{
    const launch_call<ARGS> *call = (const launch_call<ARGS> *)context;
    call->kernel(call->args);
}

template <class ARGS>
static void launch_run(struct emulator_kernel *entry, void (*kernel)(ARGS), struct grid g,
                       int threads, ARGS args)
{
    launch_call<ARGS> call = {kernel, args};
    emulator_launch(entry, g.x, g.y, g.z, threads, launch_thread<ARGS>, &call, sizeof call);
}

#define LAUNCH(kernel, grid_, threads, stream, args)                                               \
    do {                                                                                           \
        struct where {                                                                             \
            static const char *name() { return __PRETTY_FUNCTION__; }                              \
        };                                                                                         \
        (void)(stream);                                                                            \
        launch_run(launch_place<where>::entry, kernel, grid_, threads, args);                      \
    } while (0)

#define LAUNCH_EARLY(kernel, grid_, threads, stream, args)                                         \
    do {                                                                                           \
        emulator_early_set();                                                                      \
        LAUNCH(kernel, grid_, threads, stream, args);                                              \
    } while (0)

DEVICE void grid_next(void) {}
DEVICE void grid_wait(void) { emulator_grid_wait(); }
DEVICE void prefetch(const void *at, int bytes) { emulator_prefetch(at, bytes); }

DEVICE int thread_index(void) { return emulator_now.thread; }
DEVICE int thread_count(void) { return emulator_now.threads; }
DEVICE int block_x(void) { return emulator_now.block[0]; }
DEVICE int block_y(void) { return emulator_now.block[1]; }
DEVICE int block_z(void) { return emulator_now.block[2]; }
DEVICE int grid_x(void) { return emulator_now.grid[0]; }

DEVICE void block_sync(void) { emulator_block_sync(); }
DEVICE void warp_sync(void) { emulator_warp_sync(); }

DEVICE float warp_shuffle_xor(float v, int mask)
{
    uint32_t in[2] = {0, (uint32_t)mask}, out;
    memcpy(in, &v, 4);
    emulator_collective(EMULATOR_SHUFFLE_XOR, in, &out);
    memcpy(&v, &out, 4);
    return v;
}

DEVICE double warp_shuffle_xor_double(double v, int mask)
{
    uint32_t word[2];
    float half[2];
    memcpy(word, &v, 8);
    memcpy(half, word, 8);
    for (int i = 0; i < 2; i++) half[i] = warp_shuffle_xor(half[i], mask);
    memcpy(&v, half, 8);
    return v;
}

/* The same tree as the GPU's five exchanges, in one. */
DEVICE float warp_fold(enum emulator_operation operation, float v)
{
    uint32_t in, out;
    memcpy(&in, &v, 4);
    emulator_collective(operation, &in, &out);
    memcpy(&v, &out, 4);
    return v;
}

DEVICE float warp_sum(float v) { return warp_fold(EMULATOR_SUM, v); }
DEVICE float warp_max(float v) { return warp_fold(EMULATOR_MAX, v); }

DEVICE double warp_sum_double(double v)
{
    for (int m = 16; m > 0; m /= 2) v += warp_shuffle_xor_double(v, m);
    return v;
}

DEVICE uint32_t warp_ballot(bool yes)
{
    uint32_t in = yes, out;
    emulator_collective(EMULATOR_BALLOT, &in, &out);
    return out;
}

DEVICE int bits_count(uint32_t bits) { return __builtin_popcount(bits); }

DEVICE float divide(float a, float b) { return a / b; }

DEVICE struct quad load_quad(const void *at)
{
    struct quad q;
    emulator_aligned(at, 16);
    memcpy(&q, at, 16);
    return q;
}

DEVICE struct quad load_quad_once(const void *at) { return load_quad(at); }

DEVICE void store_quad(void *at, struct quad q)
{
    emulator_aligned(at, 16);
    memcpy(at, &q, 16);
}

DEVICE void mma_bf16(float c[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                     uint32_t b1)
{
    uint32_t in[10] = {a0, a1, a2, a3, b0, b1};
    memcpy(in + 6, c, 16);
    emulator_collective(EMULATOR_MMA_BF16, in, (uint32_t *)c);
}

DEVICE void mma_f16(float c[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                    uint32_t b1)
{
    uint32_t in[10] = {a0, a1, a2, a3, b0, b1};
    memcpy(in + 6, c, 16);
    emulator_collective(EMULATOR_MMA_F16, in, (uint32_t *)c);
}

/* The lanes exchange addresses; each then reads what is its own, so that a race is seen. */
DEVICE uint16_t matrix_element(const uint32_t *address, int lane, int i)
{
    const uint16_t *row;
    uint16_t v;
    memcpy(&row, address + 2 * lane, sizeof row);
    memcpy(&v, row + i, sizeof v);
    return v;
}

DEVICE void matrices_take(uint32_t out[4], const void *row, bool turned)
{
    uint32_t in[2], all[64];
    int lane = thread_index() % 32, first = lane % 4 * 2, g = lane / 4;
    emulator_aligned(row, 16);
    emulator_within_shared(row, 16);
    memcpy(in, &row, sizeof in);
    emulator_collective(EMULATOR_ADDRESSES, in, all);
    for (int i = 0; i < 4; i++) {
        uint32_t low =
            turned ? matrix_element(all, 8 * i + first, g) : matrix_element(all, 8 * i + g, first);
        uint32_t high = turned ? matrix_element(all, 8 * i + first + 1, g)
                               : matrix_element(all, 8 * i + g, first + 1);
        out[i] = low | high << 16;
    }
}

DEVICE void load_matrices(uint32_t out[4], const void *row) { matrices_take(out, row, false); }
DEVICE void load_matrices_turned(uint32_t out[4], const void *row)
{
    matrices_take(out, row, true);
}

DEVICE uint32_t floats_to_f16x2(float low, float high)
{
    return emulator_f16_from(low) | emulator_f16_from(high) << 16;
}

DEVICE uint32_t f16x2_multiply(uint32_t a, uint32_t b)
{
    return floats_to_f16x2(emulator_f16_value(a) * emulator_f16_value(b),
                           emulator_f16_value(a >> 16) * emulator_f16_value(b >> 16));
}

DEVICE uint32_t bytes_pick(uint32_t a, uint32_t b, uint32_t which)
{
    uint64_t both = (uint64_t)b << 32 | a;
    uint32_t out = 0;
    for (int i = 0; i < 4; i++)
        out |= (uint32_t)(both >> (which >> (4 * i) & 7) * 8 & 0xFF) << (8 * i);
    return out;
}

DEVICE float exp2_near(float v)
{
    float e = exp2f(v);
    return e < 0x1p-126f ? 0 : e; /* NaN stays */
}

DEVICE uint32_t bf16x2_multiply_add(uint32_t a, uint32_t b, uint32_t c)
{
    return emulator_bf16x2_multiply_add(a, b, c);
}

DEVICE void cp_async(void *shared, const void *global)
{
    emulator_aligned(shared, 16);
    emulator_aligned(global, 16);
    if (emulator_copy(shared, global)) memcpy(shared, global, 16);
}

DEVICE void cp_async_commit(void) { emulator_copy_commit(); }

/* Copies that were put off are made here, by the thread that asked for them. */
template <int PENDING> DEVICE void cp_async_wait(void)
{
    void *to;
    const void *from;
    while (emulator_copy_due(PENDING, &to, &from)) memcpy(to, from, 16);
}

#include "tests/cuda/host_layer_hopper.h"

DEVICE void shared_add(unsigned long long *to, unsigned long long n)
{
    __atomic_fetch_add(to, n, __ATOMIC_RELAXED);
}

DEVICE void global_or(int32_t *to, int32_t bits) { __atomic_fetch_or(to, bits, __ATOMIC_RELAXED); }

#endif
