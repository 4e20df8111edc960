/* The part of device.cuh that only compute capability 9.0 has, as nvcc sees it: barriers that count
 * bytes, tiles copied by the copy engine, and matrix products of a warpgroup (four warps, the first
 * at a multiple of four).
 *
 * Elsewhere these trap: the host launches such kernels on 9.0 alone. Names and rules are those of the
 * PTX ISA, sections on mbarrier, cp.async.bulk.tensor, wgmma and setmaxnreg. */
#ifndef KERNELS_CUDA_DEVICE_HOPPER_CUH
#define KERNELS_CUDA_DEVICE_HOPPER_CUH

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HOPPER(...) asm volatile(__VA_ARGS__)
#else
#define HOPPER(...) __trap()
#endif

/* Arguments that stay where the launch put them, so that the address of a map in them is the map. */
#define CONSTANT      const __grid_constant__
#define LAUNCH_HOLDING(kernel, grid_, threads, bytes, stream, args)                                \
    do {                                                                                           \
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);          \
        kernel<<<dim3((unsigned)(grid_).x, (unsigned)(grid_).y, (unsigned)(grid_).z),              \
                 (unsigned)(threads), bytes, (cudaStream_t)(stream)>>>(args);                      \
    } while (0)

/* Shared memory of the size that the launch named; it begins at some multiple of 16. */
DEVICE unsigned char *shared_held(void)
{
    extern __shared__ __align__(16) unsigned char held[];
    return held;
}

DEVICE uint32_t shared_address(const void *at) { return (uint32_t)__cvta_generic_to_shared(at); }

/* A barrier of `count` arrivals. One thread makes it, says so to the copy engine by
 * barrier_init_fence, and the block synchronizes before anybody uses it. */
DEVICE void barrier_init(uint64_t *b, int count)
{
    HOPPER("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(count) : "memory");
}

DEVICE void barrier_init_fence(void) { HOPPER("fence.mbarrier_init.release.cluster;" ::: "memory"); }

DEVICE void barrier_arrive(uint64_t *b)
{
    HOPPER("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}

/* Arrives, and the phase does not end before so many bytes were copied as well. */
DEVICE void barrier_expect(uint64_t *b, int bytes)
{
    HOPPER("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)),
           "r"(bytes)
           : "memory");
}

/* Until the phase of this parity has ended; the first one has parity 0, and before it any wait for
 * parity 1 goes through. By whole warps. */
DEVICE void barrier_wait(uint64_t *b, int parity)
{
    uint32_t done = 0;
    while (!done)
        HOPPER("{\n.reg .pred p;\n"
               "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
               "selp.u32 %0, 1, 0, p;\n}"
               : "=r"(done)
               : "r"(shared_address(b)), "r"(parity)
               : "memory");
}

/* Barrier `id` (1 to 15) of so many threads of the block, whole warps. */
DEVICE void warps_sync(int id, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/* The map's box at column x, row y to shared memory, counted at `b`; what lies outside is 0. By one
 * thread. */
DEVICE void tile_fetch(void *shared, const struct cuda_map *map, int x, int y, uint64_t *b)
{
    HOPPER("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
           "[%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(shared)),
           "l"(map), "r"(shared_address(b)), "r"(x), "r"(y)
           : "memory");
}

/* Before tensor cores or the copy engine read what this thread stored in shared memory. */
DEVICE void async_fence(void) { HOPPER("fence.proxy.async.shared::cta;" ::: "memory"); }

/* Registers per thread of the whole warpgroup, a multiple of 8: handed back, or taken. */
template <int N> DEVICE void registers_fewer(void)
{
    HOPPER("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

template <int N> DEVICE void registers_more(void)
{
    HOPPER("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

/* Sums stay where they are across this point, whatever the compiler would like. */
template <int N> DEVICE void wgmma_hold(float (&d)[N])
{
    UNROLL for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}

/* Before the first product after anything else has touched d or a's registers. */
template <int N> DEVICE void wgmma_fence(float (&d)[N])
{
    wgmma_hold(d);
    HOPPER("wgmma.fence.sync.aligned;" ::: "memory");
}

/* The same where registers hold A of some products: they have it before, too. */
template <int N, int STEPS> DEVICE void wgmma_fence(float (&d)[N], uint32_t (&a)[STEPS][4])
{
    UNROLL for (int i = 0; i < STEPS * 4; i++) asm volatile("" : "+r"(a[i / 4][i % 4])::"memory");
    wgmma_fence(d);
}

DEVICE void wgmma_commit(void) { HOPPER("wgmma.commit_group.sync.aligned;" ::: "memory"); }

/* Until at most PENDING groups are under way; d may be touched when its own group is not. */
template <int PENDING, int N> DEVICE void wgmma_wait(float (&d)[N])
{
    HOPPER("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
    wgmma_hold(d);
}

#define WGMMA_4(i)  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define WGMMA_16(i) WGMMA_4(i), WGMMA_4(i + 4), WGMMA_4(i + 8), WGMMA_4(i + 12)
#define WGMMA_32    WGMMA_16(0), WGMMA_16(16)
#define WGMMA_64    WGMMA_32, WGMMA_16(32), WGMMA_16(48)
#define WGMMA_D_32                                                                                 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                      \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}"
#define WGMMA_D                                                                                    \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                      \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "             \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "             \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}"

/* d[64][128] = a[64][32] b[32][128], + d where `add`: a and b are descriptors of E4M3 that lies along
 * k. Lane 4g + t of warp w holds of d[4j + 2h + i]: row 16w + g + 8h, column 8j + 2t + i. By a
 * warpgroup. */
DEVICE void wgmma_e4m3(float (&d)[64], uint64_t a, uint64_t b, bool add)
{
    HOPPER("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
           "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 " WGMMA_D ", %64, %65, p, 1, 1;\n}"
           : WGMMA_64
           : "l"(a), "l"(b), "r"((int)add)
           : "memory");
}

/* The same with a in registers: bytes 4t to 4t + 3 of rows 16w + g, 16w + g + 8, and 16 bytes on. */
DEVICE void wgmma_e4m3_held(float (&d)[64], const uint32_t (&a)[4], uint64_t b, bool add)
{
    HOPPER("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
           "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 " WGMMA_D
           ", {%64, %65, %66, %67}, %68, p, 1, 1;\n}"
           : WGMMA_64
           : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add)
           : "memory");
}

/* d[64][128] = a[64][16] b[16][128] in bf16, a in registers: pairs 2t and 2t + 1 of rows 16w + g, 16w
 * + g + 8, and 8 columns on. */
DEVICE void wgmma_bf16_held(float (&d)[64], const uint32_t (&a)[4], uint64_t b, bool add)
{
    HOPPER("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
           "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " WGMMA_D
           ", {%64, %65, %66, %67}, %68, p, 1, 1, 0;\n}"
           : WGMMA_64
           : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add)
           : "memory");
}

/* d[64][64] = a[64][16] b[16][64] in fp16, + d where `add`; a in registers as above, b lies along k. */
DEVICE void wgmma_f16_along(float (&d)[32], const uint32_t (&a)[4], uint64_t b, bool add)
{
    HOPPER("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
           "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 " WGMMA_D_32
           ", {%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}"
           : WGMMA_32
           : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add)
           : "memory");
}

/* d[64][128] = a[64][16] b[16][128] in fp16, where b lies across k: 64 columns of one k side by side. */
DEVICE void wgmma_f16_across(float (&d)[64], const uint32_t (&a)[4], uint64_t b, bool add)
{
    HOPPER("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
           "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 " WGMMA_D
           ", {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}"
           : WGMMA_64
           : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add)
           : "memory");
}

#endif
