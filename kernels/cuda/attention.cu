/* a = softmax(q K / sqrt(n)) V, causal, over K and V as they lie in pages, exact to fp32: for steps
 * whose activations are fp32. Rounded activations have tensor cores, see attention_rows.cu.
 *
 * Positions are cut into chunks of 256 at multiples of 256. A block owns one row, one KV head and up
 * to eight of its query heads, which share every byte of K and V, and walks its chunks in ascending
 * order. A thread owns a position for the scores and an element of the head for the sums. Bytes: K and V
 * once per row and KV head. Bound: multiply-adds in fp32, two per element of K and V and query head. */
#include "kernels/cuda/attention.cuh"

enum { ATTENTION_THREADS = 128, HEAD_DIM_MAX = 128, PACKED = CUDA_HEADS_PACKED };

/* Where a block stands. */
struct attention_place {
    int row, kv_head, first_head, n_heads; /* query heads [first_head, first_head + n_heads) */
    int position;
    const int32_t *pages;
};

/* What one or more chunks gave a query head: values weighted by exp(score - largest). */
struct attention_fold {
    float largest, total, sum; /* sum: of this thread's element of the head */
};

DEVICE struct attention_place attention_at(const struct cuda_attention &a, int row, int pack)
{
    struct attention_place p;
    int group = a.heads / a.pool.kv_heads, packs = (group + PACKED - 1) / PACKED;
    p.row = row;
    p.kv_head = pack / packs;
    p.first_head = p.kv_head * group + pack % packs * PACKED;
    p.n_heads = group - pack % packs * PACKED < PACKED ? group - pack % packs * PACKED : PACKED;
    p.position = a.live->position[row];
    p.pages = a.live->page_table + (int64_t)a.live->seq[row] * a.live->pages_max;
    return p;
}

template <int TYPE> DEVICE float kv_value(const unsigned char *vector, int i)
{
    if (TYPE == KV_BF16) return bf16_to_float(((const uint16_t *)vector)[i]);
    return e4m3_to_float(vector[i]) * (1 / 32.0f);
}

/* Scores of the chunk's positions: one thread owns a position and reads its K once for all heads. */
template <int TYPE>
DEVICE void attention_scores(float *score, const float *q, const struct cuda_attention &a,
                             const struct attention_place &p, int from, int n)
{
    constexpr int FORMAT = TYPE == KV_BF16 ? WEIGHT_BF16 : WEIGHT_FP8_ROW;
    constexpr int CHUNK = format_traits<FORMAT>::chunk;
    int hd = a.pool.head_dim;
    float factor = TYPE == KV_BF16 ? a.factor : a.factor * (1 / 32.0f);
    for (int j = thread_index(); j < n; j += ATTENTION_THREADS) {
        const unsigned char *k = kv_vector(a, p.pages, p.kv_head, from + j, 0);
        float dot[PACKED] = {0};
        for (int c = 0; c < hd / CHUNK; c++) {
            struct quad codes = load_quad(k + 16 * c);
            UNROLL for (int i = 0; i < CHUNK; i++)
            {
                float v = chunk_value<FORMAT>(codes, i);
                UNROLL for (int h = 0; h < PACKED; h++)
                    dot[h] += v * q[h * HEAD_DIM_MAX + c * CHUNK + i];
            }
        }
        UNROLL for (int h = 0; h < PACKED; h++) score[h * ATTENTION_CHUNK + j] = dot[h] * factor;
    }
}

/* Scores to exp(score - largest) in place; a warp owns every fourth head. */
DEVICE void attention_softmax(float *score, float *largest, float *total, int n_heads, int n)
{
    for (int h = warp_index(); h < n_heads; h += ATTENTION_THREADS / WARP) {
        float most = -INFINITY, sum = 0;
        for (int j = lane_index(); j < n; j += WARP) most = fmaxf(most, score[h * ATTENTION_CHUNK + j]);
        most = warp_max(most);
        for (int j = lane_index(); j < n; j += WARP) {
            float e = expf(score[h * ATTENTION_CHUNK + j] - most);
            score[h * ATTENTION_CHUNK + j] = e;
            sum += e;
        }
        sum = warp_sum(sum);
        if (lane_index() == 0) {
            largest[h] = most;
            total[h] = sum;
        }
    }
}

DEVICE void attention_add(struct attention_fold *to, float largest, float total, float sum)
{
    float most = fmaxf(to->largest, largest);
    float old = expf(to->largest - most), now = expf(largest - most);
    to->largest = most;
    to->total = to->total * old + total * now;
    to->sum = to->sum * old + sum * now;
}

/* One chunk for the heads of a block: fold[h] of this thread's element takes it in. */
template <int TYPE>
DEVICE void attention_chunk(struct attention_fold fold[PACKED], const struct cuda_attention &a,
                            const struct attention_place &p, int chunk, const float *q,
                            float *score, float *largest, float *total)
{
    int from = chunk * ATTENTION_CHUNK, i = thread_index();
    int n = p.position + 1 - from < ATTENTION_CHUNK ? p.position + 1 - from : (int)ATTENTION_CHUNK;
    attention_scores<TYPE>(score, q, a, p, from, n);
    block_sync();
    attention_softmax(score, largest, total, p.n_heads, n);
    block_sync();
    float sum[PACKED] = {0};
    for (int j = 0; j < n && i < a.pool.head_dim; j++) {
        float v = kv_value<TYPE>(kv_vector(a, p.pages, p.kv_head, from + j, 1), i);
        UNROLL for (int h = 0; h < PACKED; h++)
            if (h < p.n_heads) sum[h] += score[h * ATTENTION_CHUNK + j] * v;
    }
    UNROLL for (int h = 0; h < PACKED; h++)
        if (h < p.n_heads) attention_add(&fold[h], largest[h], total[h], sum[h]);
    block_sync(); /* the next chunk writes score again */
}

/* grid: rows, packs of heads. */
template <int TYPE> KERNEL(ATTENTION_THREADS) attention_kernel(struct cuda_attention a)
{
    SHARED(float, q, PACKED * HEAD_DIM_MAX);
    SHARED(float, score, PACKED * ATTENTION_CHUNK);
    SHARED(float, largest, PACKED);
    SHARED(float, total, PACKED);
    int row = block_x(), i = thread_index(), hd = a.pool.head_dim;
    if (row >= a.live->n_rows || a.live->seq[row] < 0) return;
    struct attention_place p = attention_at(a, row, block_y());
    struct attention_fold fold[PACKED];
    UNROLL for (int h = 0; h < PACKED; h++)
    {
        fold[h] = {-INFINITY, 0, 0};
        const float *from = a.q + ((int64_t)row * a.heads + p.first_head + h) * hd;
        if (i < hd) q[h * HEAD_DIM_MAX + i] = h < p.n_heads ? from[i] : 0.0f;
    }
    block_sync();
    for (int chunk = 0; chunk <= p.position / ATTENTION_CHUNK; chunk++)
        attention_chunk<TYPE>(fold, a, p, chunk, q, score, largest, total);
    UNROLL for (int h = 0; h < PACKED; h++)
    {
        if (h >= p.n_heads || i >= hd) continue;
        operand_store(a.out, row, (p.first_head + h) * hd + i, divide(fold[h].sum, fold[h].total));
    }
}

template <int TYPE> static void attention(const struct cuda_attention *a, void *stream)
{
    int group = a->heads / a->pool.kv_heads;
    struct grid g = {a->rows_bound, a->pool.kv_heads * ((group + PACKED - 1) / PACKED), 1};
    LAUNCH(attention_kernel<TYPE>, g, ATTENTION_THREADS, stream, *a);
}

void EXPORT(launch_attention)(const struct cuda_attention *a, void *stream)
{
    if (a->pool.type == KV_BF16)
        attention<KV_BF16>(a, stream);
    else
        attention<KV_E4M3>(a, stream);
}
