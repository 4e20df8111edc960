/* One block of four warps calls the wrappers of device_hopper.cuh that give values: tiles by the copy
 * engine in each swizzle and across each edge, products with both operands in shared memory, with A in
 * registers, in E4M3, bf16 and fp16, with and without a swizzle, with B along k and across it. */
#include "tests/cuda/wrappers_hopper.h"

#include "kernels/cuda/device.cuh"

enum { THREADS = 128 };

/* A matrix along k in rows of 128 swizzled bytes. */
DEVICE uint64_t descriptor_of(const void *at)
{
    return (uint64_t)1 << 62 | (uint64_t)64 << 32 | (uint64_t)1 << 16 | shared_address(at) >> 4;
}

/* Rows of 16 bytes that one thread each stored, without a swizzle: 8 rows are 128 bytes, the next 16
 * bytes of k lie `n` * 16 bytes on. */
DEVICE uint64_t plain_descriptor_of(const void *at, int n)
{
    return (uint64_t)8 << 32 | (uint64_t)n << 16 | shared_address(at) >> 4;
}

/* Rows of 128 swizzled bytes that hold 64 columns of one k: 16 of them, the next 64 columns behind. */
DEVICE uint64_t across_descriptor_of(const void *at)
{
    return (uint64_t)1 << 62 | (uint64_t)64 << 32 | (uint64_t)128 << 16 | shared_address(at) >> 4;
}

DEVICE void sums_put(const struct wrappers_hopper &w, int which, const float (&d)[64])
{
    for (int i = 0; i < 64; i++) w.sums[(which * THREADS + thread_index()) * 64 + i] = d[i];
}

/* A as a thread holds it of its rows' byte `at`: words 0 and 1 of rows g and g + 8, 2 and 3 of 16 bytes
 * on. */
DEVICE void a_take(uint32_t (&a)[4], const struct wrappers_hopper &w, int at)
{
    int row = thread_index() / 32 * 16 + thread_index() % 32 / 4;
    for (int i = 0; i < 4; i++)
        a[i] = *(const uint32_t *)(w.a + (row + i % 2 * 8) * HOPPER_ROW + at + i / 2 * 16 +
                                   thread_index() % 4 * 4);
}

DEVICE void products(const struct wrappers_hopper &w, const unsigned char *a_tile,
                     const unsigned char *b_tile, unsigned char *plain)
{
    float d[64];
    uint32_t a[2][4];
    for (int i = 0; i < 64; i++) d[i] = (float)(thread_index() % 7);
    wgmma_fence(d); /* bytes 0 to 63 of k by d, which is not 0 */
    wgmma_e4m3(d, descriptor_of(a_tile), descriptor_of(b_tile), true);
    wgmma_e4m3(d, descriptor_of(a_tile) + 2, descriptor_of(b_tile) + 2, true);
    wgmma_commit();
    wgmma_wait<0>(d);
    sums_put(w, 0, d);
    a_take(a[0], w, 64);
    a_take(a[1], w, 96);
    wgmma_fence(d); /* bytes 64 to 127, and d is left out */
    wgmma_e4m3_held(d, a[0], descriptor_of(b_tile) + 4, false);
    wgmma_commit();
    wgmma_e4m3_held(d, a[1], descriptor_of(b_tile) + 6, true);
    wgmma_commit();
    wgmma_wait<1>(d);
    wgmma_wait<0>(d);
    sums_put(w, 1, d);
    wgmma_fence(d);
    wgmma_bf16_held(d, a[0], descriptor_of(b_tile) + 4, false);
    wgmma_commit();
    wgmma_wait<0>(d);
    sums_put(w, 2, d);
    for (int j = 0; j < 2; j++) /* b stored by the threads themselves */
        store_quad(plain + (j * THREADS + thread_index()) * 16,
                   load_quad(w.b + thread_index() * HOPPER_ROW + 16 * j));
    async_fence();
    block_sync();
    a_take(a[0], w, 0);
    wgmma_fence(d);
    wgmma_e4m3_held(d, a[0], plain_descriptor_of(plain, HOPPER_N), false);
    wgmma_commit();
    wgmma_wait<0>(d);
    sums_put(w, 3, d);
}

/* In fp16: bytes 0 to 31 of k by 64 columns and d, and by 128 columns that lie across k. */
DEVICE void products_f16(const struct wrappers_hopper &w, const unsigned char *b_tile)
{
    float half[32], d[64];
    uint32_t a[4];
    a_take(a, w, 0);
    for (int i = 0; i < 32; i++) half[i] = (float)(thread_index() % 7);
    wgmma_fence(half);
    wgmma_f16_along(half, a, descriptor_of(b_tile), true);
    wgmma_commit();
    wgmma_wait<0>(half);
    for (int i = 0; i < 64; i++) d[i] = i < 32 ? half[i] : 0;
    sums_put(w, 4, d);
    wgmma_fence(d);
    wgmma_f16_across(d, a, across_descriptor_of(b_tile), false);
    wgmma_commit();
    wgmma_wait<0>(d);
    sums_put(w, 5, d);
}

DEVICE void put(const struct wrappers_hopper &w, int at, const unsigned char *from, int bytes)
{
    for (int i = thread_index() * 16; i < bytes; i += THREADS * 16)
        store_quad(w.bytes + at + i, load_quad(from + i));
}

KERNEL(THREADS) wrappers_hopper_kernel(CONSTANT struct wrappers_hopper w)
{
    SHARED_LARGE(shared);
    SHARED(uint64_t, barrier, 2);
    unsigned char *a = shared, *b = a + HOPPER_M * HOPPER_ROW, *narrow = b + HOPPER_N * HOPPER_ROW;
    unsigned char *narrowest = narrow + HOPPER_N * 64, *plain = narrowest + HOPPER_N * 32;
    if (thread_index() == 0) {
        barrier_init(&barrier[0], 1);
        barrier_init(&barrier[1], THREADS);
        barrier_init_fence();
    }
    block_sync();
    barrier_arrive(&barrier[1]);
    barrier_wait(&barrier[1], 0); /* all have come */
    if (thread_index() == 0) {
        barrier_expect(&barrier[0], HOPPER_BYTES);
        tile_fetch(a, &w.map_a, 0, 0, &barrier[0]);
        tile_fetch(b, &w.map_b, 0, 0, &barrier[0]);
        tile_fetch(narrow, &w.map_64, 64, 2, &barrier[0]); /* its last two rows do not exist */
        tile_fetch(narrowest, &w.map_32, 32, -1, &barrier[0]);
    }
    warp_sync();
    barrier_wait(&barrier[0], 0);
    put(w, 0, shared, HOPPER_BYTES);
    products(w, a, b, plain);
    products_f16(w, b);
    warps_sync(1, THREADS);
}

void EXPORT(wrappers_hopper_run)(const struct wrappers_hopper *w, void *stream)
{
    struct grid g = {1, 1, 1};
    LAUNCH_LARGE(wrappers_hopper_kernel, g, THREADS, HOPPER_BYTES + HOPPER_N * 32, stream, *w);
}

DEVICE void layout_product(float (&d)[64], const struct wrappers_layout &w, const uint32_t (&a)[4],
                           uint64_t a_tile, uint64_t b)
{
    float half[32];
    for (int i = 0; i < 32; i++) half[i] = 0;
    if (w.kind == LAYOUT_F16_ALONG) {
        wgmma_fence(half);
        wgmma_f16_along(half, a, b, false);
        wgmma_commit();
        wgmma_wait<0>(half);
        for (int i = 0; i < 32; i++) d[i] = half[i];
        return;
    }
    wgmma_fence(d);
    if (w.kind == LAYOUT_E4M3) wgmma_e4m3(d, a_tile, b, false);
    if (w.kind == LAYOUT_E4M3_HELD) wgmma_e4m3_held(d, a, b, false);
    if (w.kind == LAYOUT_BF16_HELD) wgmma_bf16_held(d, a, b, false);
    if (w.kind == LAYOUT_F16_ACROSS) wgmma_f16_across(d, a, b, false);
    wgmma_commit();
    wgmma_wait<0>(d);
}

KERNEL(THREADS) wrappers_layout_kernel(CONSTANT struct wrappers_layout w)
{
    SHARED_LARGE(shared);
    SHARED(uint64_t, barrier, 1);
    float d[64];
    uint32_t a[4];
    for (int i = thread_index() * 16; i < LAYOUT_BYTES; i += THREADS * 16)
        store_quad(shared + i, load_quad(w.image + i));
    if (thread_index() == 0) barrier_init(barrier, 1);
    if (thread_index() == 0) barrier_init_fence();
    async_fence();
    block_sync();
    if (w.kind == LAYOUT_TILE) {
        if (thread_index() == 0) barrier_expect(barrier, w.box_bytes);
        if (thread_index() == 0) tile_fetch(shared, &w.map, 0, 0, barrier);
        warp_sync();
        barrier_wait(barrier, 0);
        for (int i = thread_index() * 16; i < LAYOUT_BYTES; i += THREADS * 16)
            store_quad(w.out + i, load_quad(shared + i));
        return;
    }
    for (int i = 0; i < 4; i++) a[i] = w.a[thread_index() * 4 + i];
    for (int i = 0; i < 64; i++) d[i] = 0;
    layout_product(d, w, a, w.a_descriptor + (shared_address(shared) >> 4),
                   w.b_descriptor + (shared_address(shared) >> 4));
    for (int i = 0; i < 64; i++) ((float *)w.out)[thread_index() * 64 + i] = d[i];
}

void EXPORT(wrappers_layout_run)(const struct wrappers_layout *w, void *stream)
{
    struct grid g = {1, 1, 1};
    LAUNCH_LARGE(wrappers_layout_kernel, g, THREADS, LAYOUT_BYTES, stream, *w);
}
