/* a = softmax(q K / sqrt(n)) V, causal, for many rows on tensor cores: queries are M, positions are N
 * (Dao 2023, FlashAttention-2), by mma.sync.
 *
 * A block owns up to 128 queries: rows of one sequence times the packed query heads of one KV head, 16
 * queries a warp. K and V come in tiles of 64 positions at multiples of 64, ascending, widened to fp16
 * on their way to shared memory; the next tile is on its way to registers meanwhile. Scores stay in
 * registers: as they leave the first product they are what the second one reads. Rows in shared memory
 * are 16 bytes longer than a vector, so the eight rows of a matrix fall into different banks.
 * Blocks with the longest contexts begin first. Bytes: K and V once per tile of rows, from the
 * second-level cache. Bound: the matrix rate, 4 n multiply-adds per pair of query and position. */
#include "kernels/cuda/attention_flash.cuh"

enum { FLASH_THREADS = 256, FLASH_QUERIES = FLASH_THREADS / WARP * 16 };
static_assert((int)FLASH_QUERIES == (int)CUDA_QUERIES, "the host cuts rows into tiles of as many");

/* This thread's share of a tile of K or V as it is stored. */
template <int TYPE, int HD> struct flash_stage {
    static constexpr int row_quads = HD / kv_traits<TYPE>::chunk;
    static constexpr int n = FLASH_KEYS * row_quads / FLASH_THREADS;
    struct quad part[n];
};

/* Nothing is read that was not written: 0 beyond the tile's last position and the head's width. */
template <int TYPE, int HD>
DEVICE void flash_load(struct flash_stage<TYPE, HD> *s, const struct cuda_attention &a,
                       const struct attention_tile &t, int from, int which)
{
    constexpr int CHUNK = kv_traits<TYPE>::chunk, QUADS = flash_stage<TYPE, HD>::row_quads;
    UNROLL for (int i = 0; i < (flash_stage<TYPE, HD>::n); i++)
    {
        int j = thread_index() + i * FLASH_THREADS, at = from + j / QUADS, piece = j % QUADS;
        s->part[i] = quad_zero();
        if (at <= t.last && piece * CHUNK < a.pool.head_dim)
            s->part[i] = load_quad(kv_vector(a, t.pages, t.kv_head, at, which) + 16 * piece);
    }
}

template <int TYPE, int HD>
DEVICE void flash_store(uint16_t *to, const struct flash_stage<TYPE, HD> &s)
{
    constexpr int CHUNK = kv_traits<TYPE>::chunk, QUADS = flash_stage<TYPE, HD>::row_quads;
    UNROLL for (int i = 0; i < (flash_stage<TYPE, HD>::n); i++)
    {
        int j = thread_index() + i * FLASH_THREADS;
        uint32_t w[kv_traits<TYPE>::words];
        kv_widen<TYPE>(w, s.part[i]);
        UNROLL for (int k = 0; k < CHUNK / 8; k++)
        {
            struct quad q = {{w[4 * k], w[4 * k + 1], w[4 * k + 2], w[4 * k + 3]}};
            store_quad(to + j / QUADS * (HD + 8) + j % QUADS * CHUNK + 8 * k, q);
        }
    }
}

/* score = q K. */
template <int HD>
DEVICE void flash_scores(float (&score)[FLASH_SCORES], const struct flash_state<HD> &s,
                         const uint16_t *k)
{
    int lane = lane_index();
    const uint16_t *row = k + (lane % 8 + lane / 16 * 8) * (HD + 8) + lane / 8 % 2 * 8;
    UNROLL for (int i = 0; i < FLASH_SCORES; i++) score[i] = 0;
    UNROLL for (int d = 0; d < HD / 16; d++)
    UNROLL for (int i = 0; i < FLASH_KEYS / 8; i += 2)
    {
        uint32_t b[4];
        load_matrices(b, row + i * 8 * (HD + 8) + d * 16);
        mma_f16(score + 4 * i, s.q[d][0], s.q[d][1], s.q[d][2], s.q[d][3], b[0], b[1]);
        mma_f16(score + 4 * i + 4, s.q[d][0], s.q[d][1], s.q[d][2], s.q[d][3], b[2], b[3]);
    }
}

/* sum += exp2(...) V. */
template <int HD>
DEVICE void flash_values(struct flash_state<HD> *s, const float (&score)[FLASH_SCORES],
                         const uint16_t *v)
{
    int lane = lane_index();
    const uint16_t *row = v + lane % 16 * (HD + 8) + lane / 16 * 8;
    UNROLL for (int step = 0; step < FLASH_KEYS / 16; step++)
    {
        uint32_t p[4];
        flash_weights(p, score, step);
        UNROLL for (int d = 0; d < HD / 8; d += 2)
        {
            uint32_t b[4];
            load_matrices_turned(b, row + step * 16 * (HD + 8) + d * 8);
            mma_f16(s->sum + 4 * d, p[0], p[1], p[2], p[3], b[0], b[1]);
            mma_f16(s->sum + 4 * d + 4, p[0], p[1], p[2], p[3], b[2], b[3]);
        }
    }
}

/* grid: tiles, packs of heads. */
template <int TYPE, int HD> KERNEL(FLASH_THREADS) attention_tiles_kernel(struct cuda_attention a)
{
    SHARED(uint16_t, k, FLASH_KEYS * (HD + 8));
    SHARED(uint16_t, v, FLASH_KEYS * (HD + 8));
    if (block_x() >= a.live->n_tiles) return;
    struct attention_tile t = attention_tile_at(a, a.live->n_tiles - 1 - block_x(), block_y());
    float factor = a.factor * 1.44269504f * kv_traits<TYPE>::scale;
    int last = a.live->position[flash_row(t, warp_index() * 16 + 15)]; /* of this warp */
    struct flash_state<HD> s;
    struct flash_stage<TYPE, HD> k_next, v_next;
    flash_begin<HD>(&s, a, t);
    flash_load<TYPE, HD>(&k_next, a, t, 0, 0);
    flash_load<TYPE, HD>(&v_next, a, t, 0, 1);
    for (int from = 0; from <= t.last; from += FLASH_KEYS) {
        block_sync(); /* the tile before is done with */
        flash_store<TYPE, HD>(k, k_next);
        flash_store<TYPE, HD>(v, v_next);
        block_sync();
        flash_load<TYPE, HD>(&k_next, a, t, from + FLASH_KEYS, 0);
        float score[FLASH_SCORES];
        if (from <= last) {
            flash_scores<HD>(score, s, k);
            flash_softmax<HD>(score, &s, from, factor);
            flash_rescale<HD>(&s);
        }
        flash_load<TYPE, HD>(&v_next, a, t, from + FLASH_KEYS, 1);
        if (from <= last) flash_values<HD>(&s, score, v);
    }
    flash_end<HD>(&s, a, t, kv_traits<TYPE>::scale);
}

template <int TYPE> static void attention_tiles(const struct cuda_attention *a, void *stream)
{
    int packs = attention_packs(*a);
    struct grid g = {a->tiles_bound, packs, 1};
    auto wide = &attention_tiles_kernel<TYPE, 128>, narrow = &attention_tiles_kernel<TYPE, 64>;
    if (a->pool.head_dim > 64)
        LAUNCH(wide, g, FLASH_THREADS, stream, *a);
    else
        LAUNCH(narrow, g, FLASH_THREADS, stream, *a);
}

void EXPORT(launch_attention_tiles)(const struct cuda_attention *a, void *stream)
{
    if (a->pool.type == KV_BF16)
        attention_tiles<KV_BF16>(a, stream);
    else
        attention_tiles<KV_E4M3>(a, stream);
}
