/* What the kernels of attention share: where K and V lie, how they become fp16, and the tiles of rows
 * that share them.
 *
 * Regimes: fp32 activations are attended to exactly in fp32 (attention.cu); rounded ones on tensor
 * cores with K, V, q and the weights of positions in fp16 and sums in fp32, by chunks of positions for
 * up to CUDA_GRAPH_ROWS rows (attention_rows.cu) and by tiles of queries above (attention_tiles.cu, and
 * attention_wide.cu on compute capability 9.0).
 * E4M3 is exact in fp16, so is bf16 from 2^-14 to 65504; q and weights keep 22 bits or 11. */
#ifndef KERNELS_CUDA_ATTENTION_CUH
#define KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/number.cuh"

/* Query heads [first_head, first_head + n_heads) of one KV head, for n_rows rows of one sequence. */
struct attention_tile {
    int first_row, n_rows;
    int kv_head, first_head, n_heads;
    int last; /* position of the last row: beyond it nothing was written */
    const int32_t *pages;
};

/* The vector of position `at`; which: 0 for K, 1 for V. */
DEVICE const unsigned char *kv_vector(const struct cuda_attention &a, const int32_t *pages,
                                      int kv_head, int at, int which)
{
    int element = a.pool.type == KV_BF16 ? 2 : 1;
    int64_t head = ((int64_t)a.layer * 2 + which) * a.pool.kv_heads + kv_head;
    return a.pool.bytes + pages[at / KV_PAGE_TOKENS] * a.pool.page_bytes +
           (head * KV_PAGE_TOKENS + at % KV_PAGE_TOKENS) * a.pool.head_dim * element;
}

/* Groups of query heads that share a pass over K and V. */
BOTH int attention_packs(const struct cuda_attention &a)
{
    int group = a.heads / a.pool.kv_heads;
    return a.pool.kv_heads * ((group + CUDA_HEADS_PACKED - 1) / CUDA_HEADS_PACKED);
}

DEVICE struct attention_tile attention_tile_at(const struct cuda_attention &a, int tile, int pack)
{
    struct attention_tile t;
    int group = a.heads / a.pool.kv_heads, packs = attention_packs(a) / a.pool.kv_heads;
    int left = group - pack % packs * CUDA_HEADS_PACKED;
    t.first_row = a.live->tile[2 * tile];
    t.n_rows = a.live->tile[2 * tile + 1];
    t.kv_head = pack / packs;
    t.first_head = t.kv_head * group + pack % packs * CUDA_HEADS_PACKED;
    t.n_heads = left < CUDA_HEADS_PACKED ? left : (int)CUDA_HEADS_PACKED;
    t.last = a.live->position[t.first_row + t.n_rows - 1];
    t.pages = a.live->page_table + (int64_t)a.live->seq[t.first_row] * a.live->pages_max;
    return t;
}

template <int TYPE> struct kv_traits {
    static constexpr int chunk = TYPE == KV_BF16 ? 8 : 16; /* elements in 16 bytes */
    static constexpr int words = chunk / 2;                /* of two fp16 */
    static constexpr float scale = TYPE == KV_BF16 ? 1.0f : 1 / 32.0f;
};

/* 16 bytes of K or V as pairs of fp16; E4M3's 32 stays in. NaN stays NaN. */
template <int TYPE> DEVICE void kv_widen(uint32_t *out, const struct quad &q)
{
    if (TYPE == KV_BF16) {
        UNROLL for (int i = 0; i < 4; i++)
            out[i] = floats_to_f16x2(bits_float(q.word[i] << 16), bits_float(q.word[i] & 0xFFFF0000u));
        return;
    }
    uint32_t nan = 0;
    UNROLL for (int i = 0; i < 8; i++)
    {
        uint32_t two = q.word[i / 2] >> (i % 2 * 16);
        uint32_t wide = (two & 0x7Fu) << 7 | (two & 0x7F00u) << 15;
        wide |= (two & 0x80u) << 8 | (two & 0x8000u) << 16;
        out[i] = f16x2_multiply(wide, 0x5C005C00u); /* times 2^8 */
        if (i % 2 == 0) nan |= (q.word[i / 2] & 0x7F7F7F7Fu) + 0x01010101u;
    }
    if (nan & 0x80808080u) {
        UNROLL for (int i = 0; i < 16; i++)
        {
            uint32_t code = q.word[i / 4] >> (i % 4 * 8) & 0x7Fu;
            if (code == 0x7Fu) out[i / 2] |= 0x7E00u << (i % 2 * 16);
        }
    }
}

DEVICE struct quad quad_zero(void)
{
    struct quad q = {{0, 0, 0, 0}};
    return q;
}

#endif
