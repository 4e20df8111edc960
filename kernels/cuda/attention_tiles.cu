/* a = softmax(q K / sqrt(n)) V, causal, for many rows on tensor cores: queries are M, positions are N
 * (Dao 2023, FlashAttention-2).
 *
 * A block owns up to 128 queries: rows of one sequence times the packed query heads of one KV head, 16
 * queries a warp. K and V come in tiles of 64 positions at multiples of 64, ascending, widened to fp16
 * on their way to shared memory; the next tile is on its way to registers meanwhile. Scores stay in
 * registers: as they leave the first product they are what the second one reads. Rows in shared memory
 * are 16 bytes longer than a vector, so the eight rows of a matrix fall into different banks. A query is
 * a row of its own and a tile beyond its position changes nothing: its bits do not depend on company.
 * Blocks with the longest contexts begin first. Bytes: K and V once per tile of rows, from the
 * second-level cache. Bound: the matrix rate, 4 n multiply-adds per pair of query and position. */
#include "kernels/cuda/attention.cuh"

enum { FLASH_THREADS = 256, FLASH_KEYS = 64, FLASH_QUERIES = FLASH_THREADS / WARP * 16 };
static_assert((int)FLASH_QUERIES == (int)CUDA_QUERIES, "the host cuts rows into tiles of as many");

/* What a warp holds of its 16 queries: a lane has rows g and g + 8, two columns of every eight. */
template <int HD> struct flash_state {
    uint32_t q[HD / 16][4];
    float sum[HD / 8][4];
    float largest[2], total[2]; /* total: this lane's part */
    int position[2];
};

/* Row of the step and head of query m; beyond the last query the last one again. */
DEVICE int flash_row(const struct attention_tile &t, int m)
{
    int n = t.n_rows * t.n_heads;
    return t.first_row + (m < n ? m : n - 1) / t.n_heads;
}

DEVICE int flash_head(const struct attention_tile &t, int m)
{
    int n = t.n_rows * t.n_heads;
    return t.first_head + (m < n ? m : n - 1) % t.n_heads;
}

template <int HD>
DEVICE void flash_begin(struct flash_state<HD> *s, const struct cuda_attention &a,
                        const struct attention_tile &t)
{
    int hd = a.pool.head_dim, pair = lane_index() % 4 * 2;
    UNROLL for (int half = 0; half < 2; half++)
    {
        int m = warp_index() * 16 + lane_index() / 4 + half * 8, row = flash_row(t, m);
        const float *q = a.q + ((int64_t)row * a.heads + flash_head(t, m)) * hd;
        s->position[half] = a.live->position[row];
        s->largest[half] = -INFINITY;
        s->total[half] = 0;
        UNROLL for (int i = 0; i < HD / 8; i++) /* eight elements: pairs of four lanes */
        {
            int d = i * 8 + pair;
            s->q[i / 2][half + i % 2 * 2] = d < hd ? floats_to_f16x2(q[d], q[d + 1]) : 0;
            s->sum[i][2 * half] = s->sum[i][2 * half + 1] = 0;
        }
    }
}

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

/* score[8 positions each][4] = q K, in units of log 2, -infinity beyond a row's own position. */
template <int HD>
DEVICE void flash_scores(float score[FLASH_KEYS / 8][4], const struct flash_state<HD> &s,
                         const uint16_t *k, int from, float factor)
{
    int lane = lane_index();
    const uint16_t *row = k + (lane % 8 + lane / 16 * 8) * (HD + 8) + lane / 8 % 2 * 8;
    UNROLL for (int i = 0; i < FLASH_KEYS / 8; i++)
    UNROLL for (int j = 0; j < 4; j++) score[i][j] = 0;
    UNROLL for (int d = 0; d < HD / 16; d++)
    UNROLL for (int i = 0; i < FLASH_KEYS / 8; i += 2)
    {
        uint32_t b[4];
        load_matrices(b, row + i * 8 * (HD + 8) + d * 16);
        mma_f16(score[i], s.q[d][0], s.q[d][1], s.q[d][2], s.q[d][3], b[0], b[1]);
        mma_f16(score[i + 1], s.q[d][0], s.q[d][1], s.q[d][2], s.q[d][3], b[2], b[3]);
    }
    UNROLL for (int i = 0; i < FLASH_KEYS / 8; i++)
    UNROLL for (int j = 0; j < 4; j++)
    {
        bool seen = from + i * 8 + lane % 4 * 2 + j % 2 <= s.position[j / 2];
        score[i][j] = seen ? score[i][j] * factor : -INFINITY;
    }
}

/* Scores to exp2(score - largest); what was summed before is scaled to the new largest. */
template <int HD>
DEVICE void flash_softmax(float score[FLASH_KEYS / 8][4], struct flash_state<HD> *s)
{
    UNROLL for (int half = 0; half < 2; half++)
    {
        float most = s->largest[half], scale, total = 0;
        UNROLL for (int i = 0; i < FLASH_KEYS / 8; i++)
            most = fmaxf(most, fmaxf(score[i][2 * half], score[i][2 * half + 1]));
        most = fmaxf(most, warp_shuffle_xor(most, 1));
        most = fmaxf(most, warp_shuffle_xor(most, 2));
        scale = exp2_near(s->largest[half] - most);
        s->largest[half] = most;
        UNROLL for (int i = 0; i < FLASH_KEYS / 8; i++)
        UNROLL for (int j = 2 * half; j < 2 * half + 2; j++)
        {
            score[i][j] = exp2_near(score[i][j] - most);
            total += score[i][j];
        }
        s->total[half] = s->total[half] * scale + total;
        UNROLL for (int i = 0; i < HD / 8; i++)
        {
            s->sum[i][2 * half] *= scale;
            s->sum[i][2 * half + 1] *= scale;
        }
    }
}

/* sum += exp2(...) V: the scores' fragments, rounded to fp16, are those of the left operand. */
template <int HD>
DEVICE void flash_values(struct flash_state<HD> *s, const float score[FLASH_KEYS / 8][4],
                         const uint16_t *v)
{
    int lane = lane_index();
    const uint16_t *row = v + lane % 16 * (HD + 8) + lane / 16 * 8;
    UNROLL for (int i = 0; i < FLASH_KEYS / 8; i += 2)
    {
        uint32_t a0 = floats_to_f16x2(score[i][0], score[i][1]);
        uint32_t a1 = floats_to_f16x2(score[i][2], score[i][3]);
        uint32_t a2 = floats_to_f16x2(score[i + 1][0], score[i + 1][1]);
        uint32_t a3 = floats_to_f16x2(score[i + 1][2], score[i + 1][3]);
        UNROLL for (int d = 0; d < HD / 8; d += 2)
        {
            uint32_t b[4];
            load_matrices_turned(b, row + i * 8 * (HD + 8) + d * 8);
            mma_f16(s->sum[d], a0, a1, a2, a3, b[0], b[1]);
            mma_f16(s->sum[d + 1], a0, a1, a2, a3, b[2], b[3]);
        }
    }
}

template <int HD>
DEVICE void flash_end(struct flash_state<HD> *s, const struct cuda_attention &a,
                      const struct attention_tile &t, float scale)
{
    int hd = a.pool.head_dim;
    UNROLL for (int half = 0; half < 2; half++)
    {
        int m = warp_index() * 16 + lane_index() / 4 + half * 8;
        float total = s->total[half];
        total += warp_shuffle_xor(total, 1);
        total += warp_shuffle_xor(total, 2);
        UNROLL for (int i = 0; i < HD / 4; i++)
        {
            int d = i / 2 * 8 + lane_index() % 4 * 2 + i % 2;
            float v = divide(s->sum[i / 2][2 * half + i % 2], total) * scale;
            if (m < t.n_rows * t.n_heads && d < hd)
                operand_store(a.out, flash_row(t, m), flash_head(t, m) * hd + d, v);
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
        float score[FLASH_KEYS / 8][4];
        if (from <= last) {
            flash_scores<HD>(score, s, k, from, factor);
            flash_softmax<HD>(score, &s);
        }
        flash_load<TYPE, HD>(&v_next, a, t, from + FLASH_KEYS, 1);
        if (from <= last) flash_values<HD>(&s, score, v);
    }
    flash_end<HD>(&s, a, t, kv_traits<TYPE>::scale);
}

template <int TYPE> static void attention_tiles(const struct cuda_attention *a, void *stream)
{
    int group = a->heads / a->pool.kv_heads;
    int packs = a->pool.kv_heads * ((group + CUDA_HEADS_PACKED - 1) / CUDA_HEADS_PACKED);
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
