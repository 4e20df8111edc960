/* a = softmax(q K / sqrt(n)) V, causal, for many rows of heads of 128 on compute capability 9.0: as
 * attention_tiles.cu, by warpgroups.
 *
 * A block owns a processor and up to 128 queries, 64 for each of two warpgroups; a third one brings K and
 * V, tile after tile of 64 positions, from their pages through registers, where they become fp16, to
 * shared memory, STAGES tiles ahead. A tile is two halves of the head, each [position][64 elements] in
 * rows of 128 swizzled bytes: K lies along the sum, V across it, which tensor cores read both. Queries,
 * scores and the weights of positions never leave registers. The next scores are asked for before the
 * values of the last ones, so that one warpgroup's softmax runs beside its own values' product and the
 * other's products. Sums of a query are those of 64 positions at a time, ascending. Bytes: K and V once per
 * 128 queries, from the second-level cache. Bound: the matrix rate, 1024 clocks for 64 positions of 128
 * queries, in which the loading warps widen 16,384 values and each other thread makes 32 powers of two. */
#include "kernels/cuda/attention_flash.cuh"

enum {
    GROUP = 128, /* threads of a warpgroup */
    CONSUMERS = 2,
    WIDE_THREADS = (CONSUMERS + 1) * GROUP,
    HEAD_DIM = 128,
    HALF_BYTES = FLASH_KEYS * 128, /* 64 elements of the head of every position */
    TILE_BYTES = 2 * HALF_BYTES,
    STAGES = 8, /* tiles of K and V by turns */
    REGISTERS_LOAD = 104,
    REGISTERS_MULTIPLY = 200
};
static_assert((int)CUDA_QUERIES == CONSUMERS * GROUP / WARP * 16, "the host cuts rows into tiles of as many");

struct wide_pipe {
    unsigned char *shared;
    uint64_t *full, *empty;
};

DEVICE unsigned char *wide_tile(const struct wide_pipe &pipe, int n)
{
    return pipe.shared + n % STAGES * TILE_BYTES;
}

DEVICE int wide_parity(int n) { return n / STAGES & 1; }

/* A loading thread's share of a tile as it is stored: rows r and r + 32, every fourth 16 bytes. Eight lanes
 * have eight rows, which the swizzle puts into different banks. */
template <int TYPE> struct wide_part {
    static constexpr int n = FLASH_KEYS * HEAD_DIM / kv_traits<TYPE>::chunk / GROUP;
    struct quad part[n];
};

DEVICE int wide_row(int i)
{
    return warp_index() % 4 * 8 + lane_index() % 8 + i % 2 * 32;
}

DEVICE int wide_piece(int i) { return lane_index() / 8 + i / 2 * 4; }

/* Nothing is read that was not written: 0 beyond the tile's last position. */
template <int TYPE>
DEVICE void wide_load(struct wide_part<TYPE> *to, const struct cuda_attention &a,
                      const struct attention_tile &t, int from, int which)
{
    UNROLL for (int i = 0; i < wide_part<TYPE>::n; i++)
    {
        int at = from + wide_row(i);
        to->part[i] = quad_zero();
        if (at <= t.last)
            to->part[i] = load_quad(kv_vector(a, t.pages, t.kv_head, at, which) + 16 * wide_piece(i));
    }
}

template <int TYPE> DEVICE void wide_store(unsigned char *tile, const struct wide_part<TYPE> &from)
{
    constexpr int QUADS = kv_traits<TYPE>::words / 4;
    UNROLL for (int i = 0; i < wide_part<TYPE>::n; i++)
    {
        uint32_t w[kv_traits<TYPE>::words];
        kv_widen<TYPE>(w, from.part[i]);
        UNROLL for (int j = 0; j < QUADS; j++)
        {
            int column = wide_piece(i) * QUADS + j, row = wide_row(i);
            struct quad q = {{w[4 * j], w[4 * j + 1], w[4 * j + 2], w[4 * j + 3]}};
            store_quad(tile + column / 8 * HALF_BYTES + row * 128 + ((column ^ row) % 8) * 16, q);
        }
    }
}

/* By the loading warpgroup: K and V of the next positions are on their way while these are stored. */
template <int TYPE>
DEVICE void wide_fill(const struct cuda_attention &a, const struct attention_tile &t,
                      const struct wide_pipe &pipe)
{
    struct wide_part<TYPE> next[2];
    wide_load<TYPE>(&next[0], a, t, 0, 0);
    wide_load<TYPE>(&next[1], a, t, 0, 1);
    for (int n = 0; n / 2 * FLASH_KEYS <= t.last; n += 2)
    UNROLL for (int which = 0; which < 2; which++)
    {
        int stage = (n + which) % STAGES;
        barrier_wait(&pipe.empty[stage], wide_parity(n + which) ^ 1);
        wide_store<TYPE>(wide_tile(pipe, n + which), next[which]);
        async_fence();
        barrier_arrive(&pipe.full[stage]);
        wide_load<TYPE>(&next[which], a, t, (n / 2 + 1) * FLASH_KEYS, which);
    }
}

/* 64 elements along a row of 128 swizzled bytes; eight rows are 1024 bytes. Where the next 64 elements lie
 * only a matrix across the sum needs to know: HALF_BYTES on; along it 1 stands for that. */
DEVICE uint64_t wide_descriptor(const void *shared, int next)
{
    return (uint64_t)1 << 62 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)next << 16 |
           (shared_address(shared) & 0x3FFFF) >> 4;
}

/* Asks for score = q K of tile n once it is there. */
DEVICE void wide_scores(float (&score)[FLASH_SCORES], const struct flash_state<HEAD_DIM> &s,
                        const struct wide_pipe &pipe, int n)
{
    uint64_t k = wide_descriptor(wide_tile(pipe, n), 1);
    barrier_wait(&pipe.full[n % STAGES], wide_parity(n));
    wgmma_fence(score);
    UNROLL for (int step = 0; step < HEAD_DIM / 16; step++)
        wgmma_f16_along(score, s.q[step], k + ((step / 4 * HALF_BYTES + step % 4 * 32) >> 4), step > 0);
    wgmma_commit();
}

/* Asks for sum += p V of tile n: 16 positions are two times 1024 bytes. */
DEVICE void wide_values(struct flash_state<HEAD_DIM> *s, uint32_t (&p)[FLASH_KEYS / 16][4],
                        const struct wide_pipe &pipe, int n)
{
    uint64_t v = wide_descriptor(wide_tile(pipe, n), HALF_BYTES >> 4);
    barrier_wait(&pipe.full[n % STAGES], wide_parity(n));
    wgmma_fence(s->sum, p);
    UNROLL for (int step = 0; step < FLASH_KEYS / 16; step++)
        wgmma_f16_across(s->sum, p[step], v + ((step * 2048) >> 4), true);
    wgmma_commit();
}

DEVICE void wide_release(const struct wide_pipe &pipe, int n)
{
    if (lane_index() == 0) barrier_arrive(&pipe.empty[n % STAGES]);
    warp_sync();
}

DEVICE void wide_weights(uint32_t (&p)[FLASH_KEYS / 16][4], const float (&score)[FLASH_SCORES])
{
    UNROLL for (int step = 0; step < FLASH_KEYS / 16; step++) flash_weights(p[step], score, step);
}

/* By a warpgroup that multiplies. Weights of positions are read by tensor cores till their product is done,
 * so the next ones come to be in the scores' registers. */
template <int TYPE>
DEVICE void wide_attend(const struct cuda_attention &a, const struct attention_tile &t,
                        const struct wide_pipe &pipe)
{
    float factor = a.factor * 1.44269504f * kv_traits<TYPE>::scale, score[FLASH_SCORES];
    uint32_t p[FLASH_KEYS / 16][4];
    int n = 0, next;
    struct flash_state<HEAD_DIM> s;
    flash_begin<HEAD_DIM>(&s, a, t);
    wide_scores(score, s, pipe, 0);
    wgmma_wait<0>(score);
    wide_release(pipe, 0);
    flash_softmax<HEAD_DIM>(score, &s, 0, factor);
    for (next = FLASH_KEYS; next <= t.last; next += FLASH_KEYS, n += 2) {
        wide_weights(p, score);
        wide_scores(score, s, pipe, n + 2);
        wide_values(&s, p, pipe, n + 1);
        wgmma_wait<1>(score);
        wide_release(pipe, n + 2);
        flash_softmax<HEAD_DIM>(score, &s, next, factor);
        wgmma_wait<0>(s.sum);
        wide_release(pipe, n + 1);
        flash_rescale<HEAD_DIM>(&s);
    }
    wide_weights(p, score);
    wide_values(&s, p, pipe, n + 1);
    wgmma_wait<0>(s.sum);
    wide_release(pipe, n + 1);
    flash_end<HEAD_DIM>(&s, a, t, kv_traits<TYPE>::scale);
}

/* grid: tiles, packs of heads; blocks with the longest contexts begin first. */
template <int TYPE>
KERNEL(WIDE_THREADS) attention_wide_kernel(CONSTANT struct cuda_attention a)
{
    SHARED_LARGE(shared);
    SHARED(uint64_t, full, STAGES);
    SHARED(uint64_t, empty, STAGES);
    if (block_x() >= a.live->n_tiles) return;
    if (thread_index() == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(&full[i], GROUP);
            barrier_init(&empty[i], CONSUMERS * GROUP / WARP);
        }
        barrier_init_fence();
    }
    block_sync();
    struct attention_tile t = attention_tile_at(a, a.live->n_tiles - 1 - block_x(), block_y());
    struct wide_pipe pipe = {shared, full, empty};
    if (warp_index() / 4 == CONSUMERS) {
        registers_fewer<REGISTERS_LOAD>();
        wide_fill<TYPE>(a, t, pipe);
    } else {
        registers_more<REGISTERS_MULTIPLY>();
        wide_attend<TYPE>(a, t, pipe);
    }
}

template <int TYPE> static void attention_wide(const struct cuda_attention *a, void *stream)
{
    struct grid g = {a->tiles_bound, attention_packs(*a), 1};
    auto kernel = &attention_wide_kernel<TYPE>;
    LAUNCH_LARGE(kernel, g, WIDE_THREADS, STAGES *TILE_BYTES, stream, *a);
}

void EXPORT(launch_attention_wide)(const struct cuda_attention *a, void *stream)
{
    if (a->pool.type == KV_BF16)
        attention_wide<KV_BF16>(a, stream);
    else
        attention_wide<KV_E4M3>(a, stream);
}
