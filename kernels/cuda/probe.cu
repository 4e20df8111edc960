/* Random numbers in every format, the fastest plain reading, and the fastest plain multiplying: what a
 * bench puts under and beside the model's steps. */
#include "kernels/cuda/number.cuh"
#include "kernels/cuda/probe_launch.h"

enum { PROBE_THREADS = 256, RANDOM_BLOCKS_MAX = 8192 };

/* SplitMix64, as base/random.h has it. */
DEVICE uint64_t mix(uint64_t z)
{
    z += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

/* The two values of a pair: normal by Box and Muller's way, for scales uniform around 1. */
DEVICE void pair_make(uint64_t seed, int64_t pair, bool uniform, float v[2])
{
    uint64_t bits = mix(seed + (uint64_t)pair * 0x9E3779B97F4A7C15ull);
    float a = ((float)(uint32_t)(bits >> 40) + 0.5f) * 0x1p-24f;
    float b = ((float)(uint32_t)(bits & 0xFFFFFFu) + 0.5f) * 0x1p-24f;
    if (uniform) {
        v[0] = 0.8f + 0.4f * a;
        v[1] = 0.8f + 0.4f * b;
        return;
    }
    float radius = sqrtf(-2.0f * logf(a));
    v[0] = radius * cosf(6.2831853f * b);
    v[1] = radius * sinf(6.2831853f * b);
}

DEVICE int clamped(float v, float low, float high)
{
    return (int)rintf(fminf(fmaxf(v, low), high));
}

/* The bits of one element, in as many low bits as it has. */
DEVICE uint32_t element_bits(enum cuda_random_kind kind, float v)
{
    switch (kind) {
    case CUDA_RANDOM_F32:
    case CUDA_SCALES_F32: return float_bits(v);
    case CUDA_RANDOM_BF16:
    case CUDA_SCALES_BF16: return float_to_bf16(v);
    case CUDA_RANDOM_E4M3: return float_to_e4m3(v);
    case CUDA_RANDOM_INT8: return (uint32_t)clamped(v, -127, 127) & 0xFFu;
    case CUDA_RANDOM_INT4: return (uint32_t)clamped(v, -8, 7) & 0xFu;
    }
    return 0;
}

DEVICE int element_width(enum cuda_random_kind kind)
{
    if (kind == CUDA_RANDOM_F32 || kind == CUDA_SCALES_F32) return 32;
    if (kind == CUDA_RANDOM_BF16 || kind == CUDA_SCALES_BF16) return 16;
    return kind == CUDA_RANDOM_INT4 ? 4 : 8;
}

/* A thread makes 16 bytes at a time, blocks stride over all of them. Written once: 16 bytes for some
 * 100 instructions per 32 values, so the making is bound by arithmetic, not by memory. */
KERNEL(PROBE_THREADS) random_kernel(struct cuda_random a)
{
    int width = element_width(a.kind), in_chunk = 128 / width;
    int64_t chunks_row = a.row_bytes / 16, n_chunks = a.n_rows * chunks_row;
    bool uniform = a.kind == CUDA_SCALES_F32 || a.kind == CUDA_SCALES_BF16;
    for (int64_t c = (int64_t)block_x() * PROBE_THREADS + thread_index(); c < n_chunks;
         c += (int64_t)grid_x() * PROBE_THREADS) {
        struct quad q = {{0, 0, 0, 0}};
        int64_t column = c % chunks_row * in_chunk;
        for (int i = 0; i < in_chunk; i += 2) {
            float v[2];
            pair_make(a.seed, (c * in_chunk + i) / 2, uniform, v);
            for (int j = 0; j < 2; j++) {
                if (column + i + j >= a.n_columns) continue;
                int bit = (i + j) * width;
                q.word[bit / 32] |= element_bits(a.kind, v[j] * a.factor) << bit % 32;
            }
        }
        store_quad(a.to + c * 16, q);
    }
}

void EXPORT(probe_random)(const struct cuda_random *a, void *stream)
{
    int64_t chunks = a->n_rows * (a->row_bytes / 16);
    int64_t blocks = (chunks + PROBE_THREADS - 1) / PROBE_THREADS;
    struct grid g = {blocks < RANDOM_BLOCKS_MAX ? (int32_t)blocks : RANDOM_BLOCKS_MAX, 1, 1};
    if (blocks > 0) LAUNCH(random_kernel, g, PROBE_THREADS, stream, *a);
}

/* A block owns LOADS * 4 KiB at a time, so that a thread has LOADS reads of 16 bytes under way and a
 * warp reads 512 bytes in a row. */
template <int LOADS> KERNEL(PROBE_THREADS) read_kernel(struct cuda_read a)
{
    uint32_t sum = 0;
    int64_t n = a.n_bytes / 16, stride = (int64_t)grid_x() * PROBE_THREADS * LOADS;
    for (int64_t at = (int64_t)block_x() * PROBE_THREADS * LOADS + thread_index(); at < n;
         at += stride) {
        struct quad q[LOADS];
        UNROLL
        for (int i = 0; i < LOADS; i++) {
            int64_t chunk = at + (int64_t)i * PROBE_THREADS;
            if (chunk < n)
                q[i] = load_quad_once(a.from + chunk * 16);
            else
                q[i].word[0] = q[i].word[1] = q[i].word[2] = q[i].word[3] = 0;
        }
        UNROLL
        for (int i = 0; i < LOADS; i++)
            sum ^= q[i].word[0] + q[i].word[1] + q[i].word[2] + q[i].word[3];
    }
    if (sum == 0x12345678u) global_or(a.sum, 1);
}

void EXPORT(probe_read)(const struct cuda_read *a, void *stream)
{
    struct grid g = {a->blocks, 1, 1};
    if (a->loads == 4)
        LAUNCH(read_kernel<4>, g, PROBE_THREADS, stream, *a);
    else if (a->loads == 8)
        LAUNCH(read_kernel<8>, g, PROBE_THREADS, stream, *a);
    else
        LAUNCH(read_kernel<16>, g, PROBE_THREADS, stream, *a);
}

/* Eight independent chains of products a warp, operands in registers, no memory at all. */
KERNEL(CUDA_MULTIPLY_WARPS *WARP) multiply_kernel(struct cuda_multiply a)
{
    float c[CUDA_MULTIPLY_CHAINS][4];
    uint32_t one = 0x3F803F80u, small = 0x3C003C00u + (uint32_t)lane_index();
    UNROLL
    for (int i = 0; i < CUDA_MULTIPLY_CHAINS; i++)
        for (int j = 0; j < 4; j++) c[i][j] = (float)lane_index();
    for (int r = 0; r < a.rounds; r++) {
        UNROLL
        for (int i = 0; i < CUDA_MULTIPLY_CHAINS; i++)
            mma_bf16(c[i], one, small, one, small, small, one);
    }
    float sum = 0;
    UNROLL
    for (int i = 0; i < CUDA_MULTIPLY_CHAINS; i++)
        for (int j = 0; j < 4; j++) sum += c[i][j];
    sum = warp_sum(sum);
    if (thread_index() == 0) a.sum[block_x()] = sum;
}

void EXPORT(probe_multiply)(const struct cuda_multiply *a, void *stream)
{
    struct grid g = {a->blocks, 1, 1};
    LAUNCH(multiply_kernel, g, CUDA_MULTIPLY_WARPS * WARP, stream, *a);
}

extern "C" {
extern const struct cuda_probe EXPORT(cuda_probe);
const struct cuda_probe EXPORT(cuda_probe) = {EXPORT(probe_random), EXPORT(probe_read),
                                              EXPORT(probe_multiply)};
}
