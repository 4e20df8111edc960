/* The only place where kernels meet the machine: intrinsics, assembly, shared memory, atomics,
 * tensor cores, asynchronous copies and launches.
 *
 * Under nvcc these are the GPU's own. Otherwise KERNEL_HOST_LAYER names a header that gives the same
 * operations to threads run as fibers on the host. Three rules make the second stand for the first:
 * collectives are called by all 32 lanes of a warp, barriers by all threads of a block, and a kernel
 * returns early only for whole blocks. What only compute capability 9.0 has stands in
 * device_hopper.cuh. */
#ifndef KERNELS_CUDA_DEVICE_CUH
#define KERNELS_CUDA_DEVICE_CUH

#include <math.h>

#include "kernels/cuda/launch.h"

struct grid {
    int32_t x, y, z;
};

struct quad { /* what one 16-byte access moves */
    uint32_t word[4];
};

#ifdef __CUDACC__

#define KERNEL(threads)       static __global__ void __launch_bounds__(threads, 1)
/* Registers are held down so far that so many blocks run on a processor at once. */
#define KERNEL_TOGETHER(threads, blocks) static __global__ void __launch_bounds__(threads, blocks)
#define DEVICE                static __device__ __forceinline__
#define BOTH                  static __host__ __device__ __forceinline__ /* launchers, too */
#define SHARED(type, name, n) __shared__ __align__(16) type name[n]
#define EXPORT(name)          name##_nvidia
#define UNROLL                _Pragma("unroll")
#define LAUNCH(kernel, grid_, threads, stream, args)                                               \
    kernel<<<dim3((unsigned)(grid_).x, (unsigned)(grid_).y, (unsigned)(grid_).z),                  \
             (unsigned)(threads), 0, (cudaStream_t)(stream)>>>(args)

/* A kernel that may begin before the one before it in the stream has ended: its first act is grid_begin,
 * by all threads of all blocks, or grid_next, what touches no memory but by prefetch, and grid_wait. */
extern "C" int cuda_overlaps;
#define LAUNCH_EARLY(kernel, grid_, threads, stream_, args)                                        \
    do {                                                                                           \
        cudaLaunchAttribute early = {};                                                            \
        early.id = cudaLaunchAttributeProgrammaticStreamSerialization;                             \
        early.val.programmaticStreamSerializationAllowed = 1;                                      \
        cudaLaunchConfig_t how = {};                                                               \
        how.gridDim = dim3((unsigned)(grid_).x, (unsigned)(grid_).y, (unsigned)(grid_).z);         \
        how.blockDim = dim3((unsigned)(threads));                                                  \
        how.stream = (cudaStream_t)(stream_);                                                      \
        how.attrs = &early;                                                                        \
        how.numAttrs = cuda_overlaps ? 1 : 0;                                                      \
        cudaLaunchKernelEx(&how, kernel, args);                                                    \
    } while (0)

/* The next kernel's blocks may take the processors that this one's have left. */
DEVICE void grid_next(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* Until all before this kernel has ended and what it wrote is seen. */
DEVICE void grid_wait(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* On their way to the second-level cache; what lies there matters only when it is read. Both a multiple of
 * 16. Where kernels do not overlap there is nothing to gain, and nothing is asked for. */
DEVICE void prefetch(const void *at, int bytes)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(at), "r"(bytes) : "memory");
#endif
}

DEVICE int thread_index(void) { return (int)threadIdx.x; }
DEVICE int thread_count(void) { return (int)blockDim.x; }
DEVICE int block_x(void) { return (int)blockIdx.x; }
DEVICE int block_y(void) { return (int)blockIdx.y; }
DEVICE int block_z(void) { return (int)blockIdx.z; }
DEVICE int grid_x(void) { return (int)gridDim.x; }

DEVICE void block_sync(void) { __syncthreads(); }
DEVICE void warp_sync(void) { __syncwarp(); }
DEVICE float warp_shuffle_xor(float v, int mask) { return __shfl_xor_sync(~0u, v, mask); }
DEVICE double warp_shuffle_xor_double(double v, int mask) { return __shfl_xor_sync(~0u, v, mask); }
/* Sums and maxima over the 32 lanes, by one tree. */
DEVICE float warp_sum(float v)
{
    for (int m = 16; m > 0; m /= 2) v += warp_shuffle_xor(v, m);
    return v;
}

DEVICE float warp_max(float v)
{
    for (int m = 16; m > 0; m /= 2) v = fmaxf(v, warp_shuffle_xor(v, m));
    return v;
}

DEVICE double warp_sum_double(double v)
{
    for (int m = 16; m > 0; m /= 2) v += warp_shuffle_xor_double(v, m);
    return v;
}

DEVICE uint32_t warp_ballot(bool yes) { return __ballot_sync(~0u, yes); }
DEVICE int bits_count(uint32_t bits) { return __popc(bits); }

/* a / b to two units in the last place, inline; 0 where b is beyond 2^126. */
DEVICE float divide(float a, float b) { return __fdividef(a, b); }

/* 16 bytes; the second for what is read once and should not displace anything. Not by way of the read-only
 * cache: that asks for memory that nobody writes while the kernel lives, and one that began early lives while
 * those before it write K and V. */
DEVICE struct quad load_quad(const void *at)
{
    uint4 v = *(const uint4 *)at;
    return {{v.x, v.y, v.z, v.w}};
}

DEVICE struct quad load_quad_once(const void *at)
{
    struct quad q;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(q.word[0]), "=r"(q.word[1]), "=r"(q.word[2]), "=r"(q.word[3])
                 : "l"(at));
    return q;
}

DEVICE void store_quad(void *at, struct quad q)
{
    *(uint4 *)at = make_uint4(q.word[0], q.word[1], q.word[2], q.word[3]);
}

/* c[16][8] += a[16][16] b[16][8]; lane l holds of a: rows l/4 and l/4 + 8, columns 2(l%4) and + 8 in
 * the order of PTX's m16n8k16; of b: columns l/4, rows 2(l%4) and + 8. */
DEVICE void mma_bf16(float c[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                     uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/* The same fragments with fp16 in a and b. */
DEVICE void mma_f16(float c[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                    uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/* Four matrices of 8 by 8 halves from shared memory: lane l names row l % 8 of matrix l / 8, 16 bytes.
 * Word i: of matrix i, row l / 4, columns 2(l%4) and the next; turned: rows 2(l%4) and the next of
 * column l / 4. */
DEVICE void load_matrices(uint32_t out[4], const void *row)
{
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(at)
                 : "memory");
}

DEVICE void load_matrices_turned(uint32_t out[4], const void *row)
{
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(at)
                 : "memory");
}

/* Two fp32 to fp16, to nearest even, beyond 65504 infinite; `low` in the lower half. */
DEVICE uint32_t floats_to_f16x2(float low, float high)
{
    uint32_t d;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
    return d;
}

/* Two fp16 by one product each; subnormals count. */
DEVICE uint32_t f16x2_multiply(uint32_t a, uint32_t b)
{
    uint32_t d;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    return d;
}

/* Bytes 0-3 are of a, 4-7 of b; digit i of `which`, from the right, names byte i of the result. */
DEVICE uint32_t bytes_pick(uint32_t a, uint32_t b, uint32_t which)
{
    return __byte_perm(a, b, which);
}

/* 2^v to two units in the last place; 0 where that is subnormal. */
DEVICE float exp2_near(float v)
{
    float e;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(v));
    return e;
}

/* Two bf16 by one product each, exact where the result is representable. */
DEVICE uint32_t bf16x2_multiply_add(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

/* Copies 16 bytes to shared memory, done at the latest when cp_async_wait leaves fewer groups. */
DEVICE void cp_async(void *shared, const void *global)
{
    unsigned at = (unsigned)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(global) : "memory");
}

DEVICE void cp_async_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int PENDING> DEVICE void cp_async_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

#include "kernels/cuda/device_hopper.cuh"

/* Sums of integers: the same in any order. */
DEVICE void shared_add(unsigned long long *to, unsigned long long n) { atomicAdd(to, n); }
DEVICE void global_or(int32_t *to, int32_t bits) { atomicOr(to, bits); }

#else

#include KERNEL_HOST_LAYER

#endif

enum { WARP = 32, SWIZZLE_BYTES = 1024 };

/* Where the pattern of every swizzle begins: it follows from addresses, and compilers differ in whether they
 * keep the alignment of memory whose size the launch names. Of it so much more is asked for. */
DEVICE unsigned char *swizzle_begin(unsigned char *at)
{
    return at + (0u - shared_address(at)) % SWIZZLE_BYTES;
}

#define SHARED_LARGE(name) unsigned char *const name = swizzle_begin(shared_held())
#define LAUNCH_LARGE(kernel, grid_, threads, bytes, stream, args)                                  \
    LAUNCH_HOLDING(kernel, grid_, threads, (bytes) + SWIZZLE_BYTES, stream, args)

DEVICE int lane_index(void) { return thread_index() % WARP; }
DEVICE int warp_index(void) { return thread_index() / WARP; }

DEVICE void grid_begin(void)
{
    grid_next();
    grid_wait();
}

/* Sum over the block's threads in a fixed order; `held` has room for one value a warp. */
DEVICE float block_sum(float v, float *held)
{
    v = warp_sum(v);
    block_sync();
    if (lane_index() == 0) held[warp_index()] = v;
    block_sync();
    v = 0;
    for (int w = 0; w < thread_count() / WARP; w++) v += held[w];
    return v;
}

DEVICE float block_max(float v, float *held)
{
    v = warp_max(v);
    block_sync();
    if (lane_index() == 0) held[warp_index()] = v;
    block_sync();
    v = held[0];
    for (int w = 1; w < thread_count() / WARP; w++) v = fmaxf(v, held[w]);
    return v;
}

#endif
