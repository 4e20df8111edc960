/* What both kernels of attention over many rows share: a warp's 16 queries in registers, as products leave
 * them and read them, and their softmax as positions come (Dao 2023, FlashAttention-2). A lane has rows g
 * and g + 8 and two columns of every eight, by mma.sync and by wgmma alike. A query is a row of its own and
 * a tile beyond its position changes nothing: its bits do not depend on company. */
#ifndef KERNELS_CUDA_ATTENTION_FLASH_CUH
#define KERNELS_CUDA_ATTENTION_FLASH_CUH

#include "kernels/cuda/attention.cuh"

enum { FLASH_KEYS = 64, FLASH_SCORES = FLASH_KEYS / 2 };

template <int HD> struct flash_state {
    uint32_t q[HD / 16][4];
    float sum[HD / 2];         /* four of every eight elements of the head */
    float largest[2], total[2]; /* total: this lane's part */
    float scale[2];            /* what sums up to here are to be multiplied with */
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
            s->sum[4 * i + 2 * half] = s->sum[4 * i + 2 * half + 1] = 0;
        }
    }
}

/* Products of q and the K of positions from `from` on to exp2(score - largest), 0 beyond a row's own
 * position; `factor` makes them powers of two. */
template <int HD>
DEVICE void flash_softmax(float (&score)[FLASH_SCORES], struct flash_state<HD> *s, int from,
                          float factor)
{
    UNROLL for (int half = 0; half < 2; half++)
    {
        float most = s->largest[half], total = 0;
        UNROLL for (int i = 0; i < FLASH_SCORES; i++)
        {
            if (i / 2 % 2 != half) continue;
            bool seen = from + i / 4 * 8 + lane_index() % 4 * 2 + i % 2 <= s->position[half];
            score[i] = seen ? score[i] * factor : -INFINITY;
            most = fmaxf(most, score[i]);
        }
        most = fmaxf(most, warp_shuffle_xor(most, 1));
        most = fmaxf(most, warp_shuffle_xor(most, 2));
        s->scale[half] = exp2_near(s->largest[half] - most);
        s->largest[half] = most;
        UNROLL for (int i = 0; i < FLASH_SCORES; i++)
        {
            if (i / 2 % 2 != half) continue;
            score[i] = exp2_near(score[i] - most);
            total += score[i];
        }
        s->total[half] = s->total[half] * s->scale[half] + total;
    }
}

/* What was summed up before the last softmax to its largest. */
template <int HD> DEVICE void flash_rescale(struct flash_state<HD> *s)
{
    UNROLL for (int i = 0; i < HD / 2; i++) s->sum[i] *= s->scale[i / 2 % 2];
}

/* Weights of 16 positions as the left operand of the next product: fragments are those of scores. */
DEVICE void flash_weights(uint32_t (&p)[4], const float (&score)[FLASH_SCORES], int step)
{
    UNROLL for (int i = 0; i < 4; i++) p[i] =
        floats_to_f16x2(score[8 * step + 2 * i], score[8 * step + 2 * i + 1]);
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
            float v = divide(s->sum[i / 2 * 4 + 2 * half + i % 2], total) * scale;
            if (m < t.n_rows * t.n_heads && d < hd)
                operand_store(a.out, flash_row(t, m), flash_head(t, m) * hd + d, v);
        }
    }
}

#endif
